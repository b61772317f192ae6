//! What was used, and what the rotation cost in lost cache: sums over the trace's attempts.
//!
//! # How the lost cache is estimated
//!
//! Providers keep the beginning of a prompt in a cache that belongs to an account, so a session's
//! next request finds more of its prompt there when it goes out on the same key as the one before.
//! Requests that have a predecessor in their session are counted in two groups: those whose
//! predecessor was on the *same* key, and those whose predecessor was on *another*. The cached
//! share of the first group is what staying gives. What the second group would have found with
//! that share, less what it did find, is the estimate; without [`MIN_SAMPLE`] requests in the
//! first group there is none. Apart from that there is a bound: the predecessor's prompt is the
//! most of a prompt that can be in the cache. Keys of one account share a cache, but the trace
//! does not know accounts, so they count as different keys.
//!
//! Memory is bounded: see [`MAX_SESSIONS`] and [`MAX_ROWS`].

mod sessions;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use kmi_core::{
    outcome::{Fault, Outcome},
    trace::Attempt,
};
use serde::Serialize;

pub use self::sessions::MAX_SESSIONS;
use self::sessions::{Predecessor, Sessions};

/// Fewer requests that stayed on their key say nothing about what staying gives.
pub const MIN_SAMPLE: u64 = 20;

/// Most rows of a report; the names of models come from clients. What is beyond them is one row
/// without a name.
pub const MAX_ROWS: usize = 4_096;

/// What a row stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A key of an upstream.
    #[default]
    Key,
    /// A model as requests name it.
    Model,
    /// A day in UTC.
    Day,
}

/// Sums the attempts of a trace.
#[derive(Debug, Clone)]
pub struct Usage {
    by: By,
    rows: BTreeMap<Name, Row>,
    total: Sums,
    sessions: Sessions,
    stayed: Sums,
    moved: Sums,
}

/// What a row is about: in the order in which rows are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Key {
        upstream: Arc<str>,
        key: Arc<str>,
    },
    Word(Arc<str>),
    /// No model, or more rows than are kept.
    None,
}

#[derive(Debug, Clone, Default)]
struct Row {
    /// The newest label of a key.
    label: Option<Arc<str>>,
    sums: Sums,
}

/// Counts of attempts and tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    requests: u64,
    retries: u64,
    errors: u64,
    prompt: u64,
    completion: u64,
    cached: u64,
    /// Of the requests that moved to another key: their number, their prompts, what they found in
    /// the cache, and what they could have found at most.
    moved: u64,
    moved_prompt: u64,
    moved_cached: u64,
    at_most: u64,
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UsageReport {
    /// What a row stands for.
    pub by: By,
    /// The rows: keys by upstream and label, models by name, days by date.
    pub rows: Vec<UsageRow>,
    /// All rows together.
    pub total: UsageRow,
    /// What the rotation cost.
    pub cache: CacheCost,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UsageRow {
    /// The key's label, the model, the day; `None` in the total, for requests without a model, and
    /// for what is beyond [`MAX_ROWS`].
    pub name: Option<Arc<str>>,
    /// The key's upstream.
    pub upstream: Option<Arc<str>>,
    /// The key's id.
    pub key: Option<Arc<str>>,
    /// Attempts that were sent upstream: a request that needed two keys counts for both.
    pub requests: u64,
    /// Attempts that were not their request's first.
    pub retries: u64,
    /// Attempts that did not end well, the client's own faults left out.
    pub errors: u64,
    /// Prompt tokens, cached ones included, as the upstream counted them.
    pub prompt_tokens: u64,
    /// Completion tokens.
    pub completion_tokens: u64,
    /// Prompt tokens that came out of the provider's cache.
    pub cached_tokens: u64,
    /// The cached part of the prompt tokens; `None` without any.
    pub cached_ratio: Option<f64>,
    /// The estimate of cached tokens that the rotation gave up; `None` where there is none.
    pub lost_cached_tokens: Option<u64>,
    /// The most that it can have given up.
    pub lost_at_most: u64,
}

/// What the rotation cost in lost cache, and what the estimate stands on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CacheCost {
    /// Requests whose predecessor in their session was on the same key.
    pub stayed: Share,
    /// Requests whose predecessor in their session was on another key.
    pub moved: Share,
    /// The estimate, in tokens; `None` with fewer than [`MIN_SAMPLE`] requests that stayed.
    pub lost_cached_tokens: Option<u64>,
    /// The bound, in tokens.
    pub lost_at_most: u64,
}

/// A group of requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub requests: u64,
    /// Their prompt tokens.
    pub prompt_tokens: u64,
    /// Those of them that were cached.
    pub cached_tokens: u64,
    /// The cached part; `None` without prompt tokens.
    pub cached_ratio: Option<f64>,
}

impl Usage {
    /// Nothing summed yet.
    pub fn new(by: By) -> Self {
        Self {
            by,
            rows: BTreeMap::new(),
            total: Sums::default(),
            sessions: Sessions::default(),
            stayed: Sums::default(),
            moved: Sums::default(),
        }
    }

    /// Adds an attempt; they come in the order of the trace.
    pub fn add(&mut self, attempt: &Attempt) {
        let mut sums = Sums::of(attempt);
        if let (Some(prompt), Outcome::Ok) = (attempt.prompt_tokens, attempt.outcome)
            && let Some(before) = self.sessions.follow(attempt, prompt)
        {
            let Predecessor { same_key, prompt: before } = before;
            if same_key {
                self.stayed.add(&sums);
            } else {
                (sums.moved, sums.moved_prompt, sums.moved_cached) = (1, prompt, sums.cached);
                sums.at_most = prompt.min(before).saturating_sub(sums.cached);
                self.moved.add(&sums);
            }
        }
        let row = self.row(attempt);
        row.sums.add(&sums);
        if row.label.as_ref() != Some(&attempt.label) {
            row.label = Some(Arc::clone(&attempt.label));
        }
        self.total.add(&sums);
    }

    fn row(&mut self, attempt: &Attempt) -> &mut Row {
        let name = match self.by {
            By::Key => {
                let (upstream, key) = (Arc::clone(&attempt.upstream), Arc::clone(&attempt.key));
                Name::Key { upstream, key }
            }
            By::Model => attempt.model.clone().map_or(Name::None, Name::Word),
            By::Day => Name::Word(attempt.ts.strftime("%Y-%m-%d").to_string().into()),
        };
        let full = self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&name);
        self.rows.entry(if full { Name::None } else { name }).or_default()
    }

    /// What has been summed so far.
    pub fn report(&self) -> UsageReport {
        let kept = self.kept_by_staying();
        let mut rows: Vec<UsageRow> =
            self.rows.iter().map(|(name, row)| row.of(name, kept)).collect();
        let place = |row: &UsageRow| (row.name.is_none(), row.upstream.clone(), row.name.clone());
        rows.sort_by_cached_key(place);
        let total = self.total.row(kept);
        let cache = CacheCost {
            stayed: self.stayed.share(),
            moved: self.moved.share(),
            lost_cached_tokens: total.lost_cached_tokens,
            lost_at_most: total.lost_at_most,
        };
        UsageReport { by: self.by, rows, total, cache }
    }

    /// The cached share of requests that stayed on their key; `None` without enough of them.
    fn kept_by_staying(&self) -> Option<f64> {
        ratio(self.stayed.cached, self.stayed.prompt).filter(|_| self.stayed.requests >= MIN_SAMPLE)
    }
}

impl Row {
    fn of(&self, name: &Name, kept: Option<f64>) -> UsageRow {
        let row = self.sums.row(kept);
        match name {
            Name::Key { upstream, key } => UsageRow {
                name: self.label.clone(),
                upstream: Some(Arc::clone(upstream)),
                key: Some(Arc::clone(key)),
                ..row
            },
            Name::Word(word) => UsageRow { name: Some(Arc::clone(word)), ..row },
            Name::None => row,
        }
    }
}

impl Sums {
    fn of(attempt: &Attempt) -> Self {
        let fault = matches!(attempt.outcome.fault(), Some(Fault::Key | Fault::Upstream));
        Self {
            requests: 1,
            retries: u64::from(attempt.attempt > 1),
            errors: u64::from(fault),
            prompt: attempt.prompt_tokens.unwrap_or(0),
            completion: attempt.completion_tokens.unwrap_or(0),
            // More than the prompt cannot have been cached, whatever an answer claims.
            cached: attempt.cached_tokens.unwrap_or(0).min(attempt.prompt_tokens.unwrap_or(0)),
            ..Self::default()
        }
    }

    /// An answer may claim any number: sums stop at the largest one.
    fn add(&mut self, more: &Self) {
        let pairs = [
            (&mut self.requests, more.requests),
            (&mut self.retries, more.retries),
            (&mut self.errors, more.errors),
            (&mut self.prompt, more.prompt),
            (&mut self.completion, more.completion),
            (&mut self.cached, more.cached),
            (&mut self.moved, more.moved),
            (&mut self.moved_prompt, more.moved_prompt),
            (&mut self.moved_cached, more.moved_cached),
            (&mut self.at_most, more.at_most),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
    }

    fn row(&self, kept: Option<f64>) -> UsageRow {
        UsageRow {
            name: None,
            upstream: None,
            key: None,
            requests: self.requests,
            retries: self.retries,
            errors: self.errors,
            prompt_tokens: self.prompt,
            completion_tokens: self.completion,
            cached_tokens: self.cached,
            cached_ratio: ratio(self.cached, self.prompt),
            lost_cached_tokens: kept.map(|kept| self.lost(kept)),
            lost_at_most: self.at_most,
        }
    }

    /// What the requests that moved would have found cached by staying, less what they found;
    /// never more than they could have found.
    fn lost(&self, kept: f64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate; a cast to an integer saturates"
        )]
        let lost = (kept * self.moved_prompt as f64 - self.moved_cached as f64).round() as u64;
        lost.min(self.at_most)
    }

    fn share(&self) -> Share {
        Share {
            requests: self.requests,
            prompt_tokens: self.prompt,
            cached_tokens: self.cached,
            cached_ratio: ratio(self.cached, self.prompt),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn ratio(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
