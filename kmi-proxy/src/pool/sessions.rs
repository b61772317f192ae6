//! Which key serves which session, under `rotation.policy = "session"`.
//!
//! Kept in memory only: after a restart a session takes a turn again.

use std::sync::Arc;

use hashlink::LruCache;
use kmi_core::key::KeyId;

/// Sessions that are remembered; the least recently used one leaves for a new one.
const CAPACITY: usize = 10_000;

/// The sessions of one pool, and the key of each.
#[derive(Debug)]
pub(super) struct Sessions(LruCache<Arc<str>, KeyId>);

impl Sessions {
    /// The key of a session, which counts as its use.
    pub(super) fn key(&mut self, session: &str) -> Option<KeyId> {
        self.0.get(session).copied()
    }

    /// From now on this key serves the session.
    pub(super) fn keep(&mut self, session: &Arc<str>, key: KeyId) {
        self.0.insert(Arc::clone(session), key);
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self(LruCache::new(CAPACITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> KeyId {
        KeyId::parse(&format!("k-{n:08x}")).unwrap()
    }

    #[test]
    fn a_session_has_the_key_that_it_was_given_last() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.key("a"), None);
        sessions.keep(&"a".into(), id(1));
        sessions.keep(&"b".into(), id(2));
        sessions.keep(&"a".into(), id(3));
        assert_eq!((sessions.key("a"), sessions.key("b")), (Some(id(3)), Some(id(2))));
    }

    #[test]
    fn the_least_recently_used_session_leaves() {
        let mut sessions = Sessions::default();
        for n in 0..u32::try_from(CAPACITY).unwrap() {
            sessions.keep(&n.to_string().into(), id(n));
        }
        assert_eq!(sessions.key("0"), Some(id(0)), "it was used, so the next one is the oldest");
        sessions.keep(&"new".into(), id(7));
        assert_eq!((sessions.key("0"), sessions.key("1")), (Some(id(0)), None));
        assert_eq!((sessions.key("2"), sessions.key("new")), (Some(id(2)), Some(id(7))));
        assert_eq!(sessions.0.len(), CAPACITY);
    }
}
