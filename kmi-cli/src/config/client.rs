//! What can be set for the clients that kmi starts.

/// What `kmi run` and `kmi env` need to know.
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
