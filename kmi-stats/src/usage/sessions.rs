//! The last request of each session.

use std::{collections::HashMap, sync::Arc};

use kmi_core::trace::Attempt;

/// Sessions that are remembered; when there are more, the older half is forgotten, and a request
/// that comes back to one of those counts as its first.
pub const MAX_SESSIONS: usize = 20_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    last: HashMap<(Arc<str>, Arc<str>), Last>,
    count: u64,
}

#[derive(Debug, Clone)]
struct Last {
    key: Arc<str>,
    prompt: u64,
    /// When it was seen, in requests.
    at: u64,
}

/// The request before in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Predecessor {
    /// Whether it was on the same key.
    pub(super) same_key: bool,
    /// Its prompt tokens.
    pub(super) prompt: u64,
}

impl Sessions {
    /// Notes a request and gives the one before in its session.
    pub(super) fn follow(&mut self, attempt: &Attempt, prompt: u64) -> Option<Predecessor> {
        let session = attempt.session_id.as_ref()?;
        self.count += 1;
        let last = Last { key: Arc::clone(&attempt.key), prompt, at: self.count };
        let name = (Arc::clone(&attempt.upstream), Arc::clone(session));
        let before = self.last.insert(name, last);
        if self.last.len() > MAX_SESSIONS {
            self.forget();
        }
        let before = before?;
        Some(Predecessor { same_key: before.key == attempt.key, prompt: before.prompt })
    }

    fn forget(&mut self) {
        let mut times: Vec<u64> = self.last.values().map(|last| last.at).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.last.retain(|_, last| last.at >= median);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.last.len()
    }
}
