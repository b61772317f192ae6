//! What `kmi run` and `kmi env` set.

/// What clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    /// The model for clients that need one named.
    pub(crate) model: String,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { model: "kimi-for-coding".into() }
    }
}
