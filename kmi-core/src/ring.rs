//! The ring: the fixed cyclic list of slots that the keys stand in (FAIRNESS section 1).

/// Most slots that a ring may have; the trace spells every ring out.
pub const MAX_SLOTS: usize = 65_536;

/// What the ring needs to know of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seat {
    /// In how many slots the key stands; at least 1.
    pub weight: u32,
    /// Priority: a lower number serves first.
    pub tier: i32,
}

impl Default for Seat {
    fn default() -> Self {
        Self { weight: 1, tier: 0 }
    }
}

/// A fixed cyclic list of slots; key `i` (an index into the inventory) stands in `weight` of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    seats: Vec<Seat>,
    slots: Vec<u32>,
    plain: bool,
}

/// Why there is no ring for these keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// A ring has at least one key.
    #[error("a ring needs at least one key")]
    Empty,
    /// A weight of 0 would be a key that never serves; disable it instead.
    #[error("key {0} has weight 0")]
    NoWeight(usize),
    /// The weights add up to more than [`MAX_SLOTS`].
    #[error("the weights add up to {0}; at most {MAX_SLOTS} slots are possible")]
    TooManySlots(u64),
    /// A ring that was read does not hold this key exactly `weight` times.
    #[error("the ring does not hold key {0} exactly as often as its weight says")]
    WrongCount(usize),
    /// A ring of equal weights that was read is not in inventory order.
    #[error("slot {0} is not in inventory order though all weights are equal")]
    WrongOrder(usize),
}

impl Ring {
    /// Lays the keys out, in inventory order for equal weights, by smooth weighted round robin
    /// otherwise.
    pub fn new(seats: &[Seat]) -> Result<Self, RingError> {
        let total = check(seats)?;
        let slots = if equal(seats) { in_order(seats, total) } else { smooth(seats, total) };
        Ok(Self::assemble(seats, slots))
    }

    /// Takes a ring as a trace spells it out and checks what FAIRNESS section 5 demands of it.
    pub fn from_slots(seats: &[Seat], slots: &[u32]) -> Result<Self, RingError> {
        check(seats)?;
        let mut count = vec![0u32; seats.len()];
        for slot in slots {
            *count.get_mut(*slot as usize).ok_or(RingError::WrongCount(*slot as usize))? += 1;
        }
        if let Some(key) = (0..seats.len()).find(|key| count[*key] != seats[*key].weight) {
            return Err(RingError::WrongCount(key));
        }
        if equal(seats)
            && let Some(at) = (0..slots.len()).find(|at| slots[*at] as usize != at % seats.len())
        {
            return Err(RingError::WrongOrder(at));
        }
        Ok(Self::assemble(seats, slots.to_vec()))
    }

    fn assemble(seats: &[Seat], slots: Vec<u32>) -> Self {
        Self { plain: slots.len() == seats.len(), seats: seats.to_vec(), slots }
    }

    /// How many keys stand in the ring.
    pub fn keys(&self) -> usize {
        self.seats.len()
    }

    /// How many slots the ring has.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The whole list: the key index of every slot.
    pub fn layout(&self) -> &[u32] {
        &self.slots
    }

    /// The key that stands in a slot.
    ///
    /// # Panics
    /// When the ring has no such slot.
    #[inline]
    pub fn key_at(&self, slot: usize) -> usize {
        self.slots[slot] as usize
    }

    /// The first slot that a key stands in.
    pub fn first_slot(&self, key: usize) -> Option<usize> {
        self.slots.iter().position(|k| *k as usize == key)
    }

    /// A key's priority tier.
    pub fn tier(&self, key: usize) -> i32 {
        self.seats[key].tier
    }

    /// A key's weight.
    pub fn weight(&self, key: usize) -> u32 {
        self.seats[key].weight
    }

    /// Whether slot `i` is key `i` throughout (all weights 1).
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The slot before a slot, going round.
    pub fn before(&self, slot: usize) -> usize {
        (slot + self.slots.len() - 1) % self.slots.len()
    }
}

fn check(seats: &[Seat]) -> Result<usize, RingError> {
    if seats.is_empty() {
        return Err(RingError::Empty);
    }
    if let Some(key) = seats.iter().position(|seat| seat.weight == 0) {
        return Err(RingError::NoWeight(key));
    }
    let total: u64 = seats.iter().map(|seat| u64::from(seat.weight)).sum();
    match usize::try_from(total) {
        Ok(total) if total <= MAX_SLOTS => Ok(total),
        _ => Err(RingError::TooManySlots(total)),
    }
}

fn equal(seats: &[Seat]) -> bool {
    seats.iter().all(|seat| seat.weight == seats[0].weight)
}

/// What [`smooth`] gives for equal weights, without its steps: keys times slots of them.
fn in_order(seats: &[Seat], total: usize) -> Vec<u32> {
    (0..total).map(|at| u32::try_from(at % seats.len()).unwrap_or(u32::MAX)).collect()
}

/// Smooth weighted round robin (as nginx does it): each key gains its weight at every step, the
/// richest is taken and pays the total. Ties go to the key that stands first.
fn smooth(seats: &[Seat], total: usize) -> Vec<u32> {
    let pay = i64::try_from(total).unwrap_or(i64::MAX);
    let mut credit = vec![0i64; seats.len()];
    (0..total)
        .map(|_| {
            let mut best = 0;
            for (key, seat) in seats.iter().enumerate() {
                credit[key] += i64::from(seat.weight);
                if credit[key] > credit[best] {
                    best = key;
                }
            }
            credit[best] -= pay;
            u32::try_from(best).unwrap_or(u32::MAX)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(weights: &[u32]) -> Vec<Seat> {
        weights.iter().map(|weight| Seat { weight: *weight, tier: 0 }).collect()
    }

    #[test]
    fn equal_weights_give_the_inventory_order() {
        assert_eq!(Ring::new(&weights(&[1, 1, 1])).unwrap().layout(), [0, 1, 2]);
        assert_eq!(Ring::new(&weights(&[2, 2])).unwrap().layout(), [0, 1, 0, 1]);
        for (keys, weight) in [(1, 1), (1, 5), (7, 1), (6, 4), (64, 3)] {
            let seats = weights(&vec![weight; keys]);
            let total = keys * weight as usize;
            assert_eq!(in_order(&seats, total), smooth(&seats, total), "{keys} of {weight}");
        }
    }

    #[test]
    fn weights_are_spread_evenly() {
        // The example of nginx's own commit message.
        assert_eq!(Ring::new(&weights(&[5, 1, 1])).unwrap().layout(), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(Ring::new(&weights(&[2, 1])).unwrap().layout(), [0, 1, 0]);
    }

    #[test]
    fn impossible_rings_are_refused() {
        assert_eq!(Ring::new(&[]), Err(RingError::Empty));
        assert_eq!(Ring::new(&weights(&[1, 0])), Err(RingError::NoWeight(1)));
        assert_eq!(Ring::new(&weights(&[65_536, 1])), Err(RingError::TooManySlots(65_537)));
    }

    #[test]
    fn a_ring_that_was_read_is_checked() {
        let seats = weights(&[2, 1]);
        assert!(Ring::from_slots(&seats, &[0, 1, 0]).is_ok());
        assert!(Ring::from_slots(&seats, &[0, 0, 1]).is_ok(), "any spread of unequal weights");
        assert_eq!(Ring::from_slots(&seats, &[0, 1]), Err(RingError::WrongCount(0)));
        assert_eq!(Ring::from_slots(&seats, &[0, 1, 0, 7]), Err(RingError::WrongCount(7)));
        assert_eq!(Ring::from_slots(&weights(&[1, 1]), &[1, 0]), Err(RingError::WrongOrder(0)));
    }

    proptest! {
        #[test]
        fn every_key_stands_weight_times_and_evenly(w in prop::collection::vec(1u32..9, 1..12)) {
            let ring = Ring::new(&weights(&w)).unwrap();
            prop_assert_eq!(Ring::from_slots(&weights(&w), ring.layout()), Ok(ring.clone()));
            // At every prefix a key has its share to within the number of keys.
            let (n, bound) = (ring.slots(), w.len());
            let mut seen = vec![0usize; bound];
            for (at, key) in ring.layout().iter().enumerate() {
                let key = *key as usize;
                seen[key] += 1;
                prop_assert!((seen[key] * n).abs_diff((at + 1) * w[key] as usize) <= bound * n);
            }
        }
    }
}
