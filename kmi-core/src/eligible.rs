//! Which keys may serve now, as bit sets.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ring::Ring;

/// A set of small numbers: key indices, or slot indices.
///
/// Sets of numbers below 64 live in one word and never allocate.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct KeySet {
    first: u64,
    rest: Vec<u64>,
}

impl KeySet {
    /// The set of all numbers below `len`.
    pub fn full(len: usize) -> Self {
        (0..len).collect()
    }

    /// Adds a number; `true` when it was not in before.
    pub fn insert(&mut self, n: usize) -> bool {
        if n >= 64 && n / 64 > self.rest.len() {
            self.rest.resize(n / 64, 0);
        }
        let word = if n < 64 { &mut self.first } else { &mut self.rest[n / 64 - 1] };
        let before = *word;
        *word |= 1 << (n % 64);
        *word != before
    }

    /// Takes a number out; `true` when it was in.
    pub fn remove(&mut self, n: usize) -> bool {
        let word = match n / 64 {
            0 => &mut self.first,
            w => match self.rest.get_mut(w - 1) {
                Some(word) => word,
                None => return false,
            },
        };
        let before = *word;
        *word &= !(1 << (n % 64));
        self.trim();
        before & (1 << (n % 64)) != 0
    }

    /// Whether a number is in the set.
    #[inline]
    pub fn contains(&self, n: usize) -> bool {
        self.word(n / 64) & (1 << (n % 64)) != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.first == 0 && self.rest.is_empty()
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> usize {
        (0..=self.rest.len()).map(|w| self.word(w).count_ones() as usize).sum()
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let n = self.at_or_after(from)?;
            from = n + 1;
            Some(n)
        })
    }

    /// The smallest number of the set that is at least `from`.
    #[inline]
    pub fn at_or_after(&self, from: usize) -> Option<usize> {
        let mut w = from / 64;
        let mut word = self.word(w) & (u64::MAX << (from % 64));
        while word == 0 {
            w += 1;
            if w > self.rest.len() {
                return None;
            }
            word = self.rest[w - 1];
        }
        Some(w * 64 + word.trailing_zeros() as usize)
    }

    /// The numbers of this set that are not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        if self.rest.is_empty() {
            return Self { first: self.first & !other.first, rest: Vec::new() };
        }
        let words = self.rest.iter().enumerate().map(|(w, word)| word & !other.word(w + 1));
        let mut set = Self { first: self.first & !other.first, rest: words.collect() };
        set.trim();
        set
    }

    /// Equal sets must compare equal, so no empty words are kept at the end.
    fn trim(&mut self) {
        while self.rest.last() == Some(&0) {
            self.rest.pop();
        }
    }

    #[inline]
    fn word(&self, w: usize) -> u64 {
        if w == 0 { self.first } else { self.rest.get(w - 1).copied().unwrap_or(0) }
    }
}

impl FromIterator<usize> for KeySet {
    fn from_iter<T: IntoIterator<Item = usize>>(numbers: T) -> Self {
        let mut set = Self::default();
        for n in numbers {
            set.insert(n);
        }
        set
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Hexadecimal, bit `i` = number `i`, as in the trace's masks: `{0, 1, 4}` is `13`.
impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rest.split_last() {
            None => write!(f, "{:x}", self.first),
            Some((top, middle)) => {
                write!(f, "{top:x}")?;
                middle.iter().rev().try_for_each(|word| write!(f, "{word:016x}"))?;
                write!(f, "{:016x}", self.first)
            }
        }
    }
}

/// A trace mask that is not a hexadecimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mask must be 1 to 65536 hexadecimal digits")]
pub struct MaskError;

impl std::str::FromStr for KeySet {
    type Err = MaskError;

    fn from_str(text: &str) -> Result<Self, MaskError> {
        Self::from_hex(text.as_bytes())
    }
}

impl KeySet {
    /// As [`FromStr`](std::str::FromStr), from bytes; allocates nothing for sets of numbers below
    /// 64.
    pub(crate) fn from_hex(digits: &[u8]) -> Result<Self, MaskError> {
        if digits.is_empty() || digits.len() > 65_536 {
            return Err(MaskError);
        }
        let digit = |digit: &u8| char::from(*digit).to_digit(16).ok_or(MaskError);
        let word = |digits: &[u8]| {
            digits.iter().try_fold(0, |word, it| digit(it).map(|it| word << 4 | u64::from(it)))
        };
        let mut words = digits.rchunks(16).map(word);
        let first = words.next().transpose()?.unwrap_or(0);
        let mut set = Self { first, rest: words.collect::<Result<_, _>>()? };
        set.trim();
        Ok(set)
    }
}

impl Serialize for KeySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeySet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Mask;
        impl de::Visitor<'_> for Mask {
            type Value = KeySet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a hexadecimal mask")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeySet, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Mask)
    }
}

/// The keys of a ring that may serve now.
///
/// It is changed when a key's health changes, which is rare, and read at every turn: so what a
/// turn needs (the slots of the best tier that has a usable key, and the mask for the trace) is
/// kept ready. Cloning the mask costs a reference count.
#[derive(Debug, Clone)]
pub struct Eligible {
    ring: Arc<Ring>,
    usable: KeySet,
    mask: Arc<KeySet>,
    slots: KeySet,
}

impl Eligible {
    /// Every key may serve.
    pub fn all(ring: Arc<Ring>) -> Self {
        Self::of(&KeySet::full(ring.keys()), ring)
    }

    /// The given keys may serve; numbers that are no key of the ring are left out.
    pub fn of(usable: &KeySet, ring: Arc<Ring>) -> Self {
        let usable = usable.iter().take_while(|key| *key < ring.keys()).collect();
        let mut eligible = Self { ring, usable, mask: Arc::default(), slots: KeySet::default() };
        eligible.settle();
        eligible
    }

    /// Lets a key serve, or not.
    pub fn set(&mut self, key: usize, usable: bool) {
        let changed = if !usable {
            self.usable.remove(key)
        } else if key < self.ring.keys() {
            self.usable.insert(key)
        } else {
            false
        };
        if changed {
            self.settle();
        }
    }

    /// Whether a key may serve at all (its tier may still have to wait).
    pub fn is_usable(&self, key: usize) -> bool {
        self.usable.contains(key)
    }

    /// All keys that may serve, of whatever tier.
    pub fn usable(&self) -> &KeySet {
        &self.usable
    }

    /// The set E of FAIRNESS section 1 before tried keys are left out: the usable keys of the
    /// best tier that has one.
    pub fn mask(&self) -> &Arc<KeySet> {
        &self.mask
    }

    /// The slots of [`Self::mask`]'s keys.
    pub(crate) fn slots(&self) -> &KeySet {
        &self.slots
    }

    /// The usable keys of the best tier that still has one outside `tried`.
    pub fn best_tier_without(&self, tried: &KeySet) -> KeySet {
        let left = || self.usable.iter().filter(|key| !tried.contains(*key));
        let best = left().map(|key| self.ring.tier(key)).min();
        self.usable.iter().filter(|key| Some(self.ring.tier(*key)) == best).collect()
    }

    fn settle(&mut self) {
        let mask = self.best_tier_without(&KeySet::default());
        self.slots = if self.ring.is_plain() {
            mask.clone()
        } else {
            (0..self.ring.slots()).filter(|slot| mask.contains(self.ring.key_at(*slot))).collect()
        };
        self.mask = Arc::new(mask);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ring::Seat;

    proptest! {
        #[test]
        fn a_key_set_is_a_set(ops in prop::collection::vec((any::<bool>(), 0usize..300), 0..80)) {
            let (mut set, mut model) = (KeySet::default(), BTreeSet::new());
            for (add, n) in ops {
                if add {
                    prop_assert_eq!(set.insert(n), model.insert(n));
                } else {
                    prop_assert_eq!(set.remove(n), model.remove(&n));
                }
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(&set, &model.iter().copied().collect::<KeySet>());
            for from in 0..310 {
                prop_assert_eq!(set.at_or_after(from), model.range(from..).next().copied());
                prop_assert_eq!(set.contains(from), model.contains(&from));
            }
            let odd: KeySet = (1..310).step_by(2).collect();
            let even = model.iter().copied().filter(|n| n % 2 == 0).collect::<KeySet>();
            prop_assert_eq!(set.without(&odd), even);
            // Unlike every second number, every third one differs from word to word.
            let thirds: KeySet = (0..310).step_by(3).collect();
            let others = model.iter().copied().filter(|n| n % 3 != 0).collect::<KeySet>();
            prop_assert_eq!(set.without(&thirds), others);
            prop_assert_eq!(&set.to_string().parse::<KeySet>().unwrap(), &set);
        }
    }

    #[test]
    fn masks_are_hexadecimal_numbers() {
        assert_eq!(KeySet::full(7).to_string(), "7f");
        assert_eq!(KeySet::default().to_string(), "0");
        assert_eq!(KeySet::from_iter([0, 64]).to_string(), "10000000000000001");
        assert_eq!("0007F".parse(), Ok(KeySet::full(7)));
        for bad in ["", "0x1", "g", "-1", "1 "] {
            assert_eq!(bad.parse::<KeySet>(), Err(MaskError), "{bad:?}");
        }
        assert_eq!("0".repeat(65_536).parse(), Ok(KeySet::default()));
        assert_eq!("0".repeat(65_537).parse::<KeySet>(), Err(MaskError));
    }

    #[test]
    fn masks_are_strings_in_json() {
        let set = KeySet::from_iter([0, 64]);
        assert_eq!(serde_json::to_string(&set).unwrap(), r#""10000000000000001""#);
        assert_eq!(serde_json::from_str::<KeySet>(r#""10000000000000001""#).unwrap(), set);
        let number = serde_json::from_str::<KeySet>("7").unwrap_err().to_string();
        assert!(number.contains("expected a hexadecimal mask"), "{number}");
        assert_eq!(format!("{set:?}"), "{0, 64}");
    }

    #[test]
    fn only_the_best_tier_that_has_a_usable_key_is_eligible() {
        let seat = |tier| Seat { tier, ..Seat::default() };
        let ring = Arc::new(Ring::new(&[seat(0), seat(0), seat(1)]).unwrap());
        let mut eligible = Eligible::all(ring);
        assert_eq!(**eligible.mask(), KeySet::from_iter([0, 1]));
        eligible.set(0, false);
        eligible.set(1, false);
        assert_eq!(**eligible.mask(), KeySet::from_iter([2]));
        eligible.set(1, true);
        assert_eq!(**eligible.mask(), KeySet::from_iter([1]));
        assert_eq!([0, 1, 2].map(|key| eligible.is_usable(key)), [false, true, true]);
    }

    /// A ring of three has keys 0 to 2, whoever names more.
    #[test]
    fn what_is_no_key_of_the_ring_cannot_serve() {
        let ring = Arc::new(Ring::new(&[Seat::default(); 3]).unwrap());
        let mut eligible = Eligible::of(&KeySet::full(4), ring);
        assert_eq!(*eligible.usable(), KeySet::full(3));
        for other in [3, 64, 99] {
            eligible.set(other, true);
            assert_eq!(*eligible.usable(), KeySet::full(3));
            eligible.set(other, false);
            assert_eq!(*eligible.usable(), KeySet::full(3));
        }
    }
}
