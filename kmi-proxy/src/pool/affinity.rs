//! What ties a request to a key, so that it is no turn (FAIRNESS section 1, "Not turns").

use std::sync::Arc;

use super::files::Owner;

/// What ties a request to a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Nothing: in auto mode it takes a turn.
    #[default]
    None,
    /// Its session, which in auto mode keeps the key of its first request while that key can
    /// serve.
    Session(Arc<str>),
    /// A file that it names, which in both modes only keys of its owner's account can serve.
    File(Owner),
}
