//! The fields of usage objects, of all dialects, read leniently: what is no count is no error.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Usage;

/// The newest count of every kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// `prompt_tokens`: cached ones are included.
    prompt: Option<u64>,
    /// `input_tokens`: Anthropic leaves cached ones out, OpenAI's Responses do not.
    input: Option<u64>,
    /// `input_tokens` is known to include cached ones.
    input_is_whole: bool,
    /// `completion_tokens` or `output_tokens`.
    completion: Option<u64>,
    /// `cached_tokens`, or the same in `…_details`, or `cache_read_input_tokens`.
    cached: Option<u64>,
    /// `cache_creation_input_tokens`.
    written: Option<u64>,
}

impl Counts {
    /// Takes over what one usage object says.
    pub(super) fn read(&mut self, object: &[u8]) {
        if let Ok(newer) = serde_json::from_slice(object) {
            self.take(newer);
        }
    }

    /// Takes over what an event says at its usual places.
    pub(super) fn read_event(&mut self, event: &[u8]) {
        let mut json = serde_json::Deserializer::from_slice(event);
        // A malformed rest does not undo what stood before it.
        let _ = Event { counts: self, inner: false }.deserialize(&mut json);
    }

    fn take(&mut self, newer: Self) {
        self.prompt = newer.prompt.or(self.prompt);
        self.input = newer.input.or(self.input);
        self.input_is_whole |= newer.input_is_whole;
        self.completion = newer.completion.or(self.completion);
        self.cached = newer.cached.or(self.cached);
        self.written = newer.written.or(self.written);
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        let input = self.input.map(|input| {
            let beside = [self.cached, self.written].into_iter().flatten();
            if self.input_is_whole { input } else { beside.fold(input, u64::saturating_add) }
        });
        let usage = Usage {
            prompt: self.prompt.or(input),
            completion: self.completion,
            cached: self.cached,
        };
        (usage != Usage::default()).then_some(usage)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    CachedTokens,
    CacheCreationInputTokens,
    CacheReadInputTokens,
    CompletionTokens,
    InputTokens,
    InputTokensDetails,
    OutputTokens,
    PromptTokens,
    PromptTokensDetails,
    TotalTokens,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(CountsVisitor)
    }
}

/// What a visitor makes of values that it does not look for.
macro_rules! otherwise {
    ($value:expr; $($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Ok($value)
        })*

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

struct CountsVisitor;

impl<'de> Visitor<'de> for CountsVisitor {
    type Value = Counts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a usage object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
        let mut counts = Counts::default();
        let mut in_details = None;
        while let Some(field) = map.next_key()? {
            match field {
                Field::CachedTokens | Field::CacheReadInputTokens => {
                    counts.cached = map.next_value::<Count>()?.0.or(counts.cached);
                }
                Field::CacheCreationInputTokens => counts.written = map.next_value::<Count>()?.0,
                Field::CompletionTokens | Field::OutputTokens => {
                    counts.completion = map.next_value::<Count>()?.0.or(counts.completion);
                }
                Field::InputTokens => counts.input = map.next_value::<Count>()?.0,
                Field::PromptTokens => counts.prompt = map.next_value::<Count>()?.0,
                Field::InputTokensDetails => {
                    counts.input_is_whole = true;
                    in_details = map.next_value::<Self::Value>()?.cached.or(in_details);
                }
                Field::PromptTokensDetails => {
                    in_details = map.next_value::<Self::Value>()?.cached.or(in_details);
                }
                Field::TotalTokens => {
                    // Anthropic's usage has no total.
                    counts.input_is_whole = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        counts.cached = counts.cached.or(in_details);
        Ok(counts)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Counts, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Counts::default())
    }

    otherwise!(Counts::default();
        visit_bool: bool, visit_f64: f64, visit_i64: i64, visit_str: &str, visit_u64: u64);
}

/// A whole number, also as a text or a float; anything else is none.
struct Count(Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of tokens")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Count, E> {
        Ok(Count(Some(count)))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(count).ok()))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range here")]
    fn visit_f64<E: Error>(self, count: f64) -> Result<Count, E> {
        // Up to 2^53 every whole number is exact.
        Ok(Count((0.0..=9_007_199_254_740_992.0).contains(&count).then_some(count as u64)))
    }

    fn visit_str<E: Error>(self, count: &str) -> Result<Count, E> {
        Ok(Count(count.parse().ok()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    otherwise!(Count(None); visit_bool: bool);
}

/// An event of a stream; `inner`: one of the objects in it that may have a usage.
struct Event<'a> {
    counts: &'a mut Counts,
    inner: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Place {
    Choices,
    Message,
    Response,
    Usage,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for Event<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Event<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // The event's own usage counts before those inside it, wherever it stands.
        let mut own = Counts::default();
        while let Some(place) = map.next_key()? {
            match place {
                Place::Usage => own.take(map.next_value()?),
                Place::Choices | Place::Message | Place::Response if !self.inner => {
                    map.next_value_seed(Event { counts: self.counts, inner: true })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.counts.take(own);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Event { counts: self.counts, inner: true })?.is_some() {}
        Ok(())
    }

    otherwise!(();
        visit_bool: bool, visit_f64: f64, visit_i64: i64, visit_str: &str, visit_u64: u64);
}
