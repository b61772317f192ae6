//! What can go wrong with a rotor.

use std::sync::Arc;

use kmi_core::ring::RingError;

use crate::{home::HomeError, ledger::LedgerError, upstream::UpstreamError};

/// Why a rotor cannot be opened or reloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotorError {
    /// The home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The keys make no ring.
    #[error("the keys of upstream `{upstream}` make no ring: {source}")]
    Ring {
        /// The upstream.
        upstream: Arc<str>,
        /// Why not.
        source: RingError,
    },
    /// An upstream cannot be used.
    #[error("upstream `{upstream}`: {source}")]
    Upstream {
        /// The upstream.
        upstream: Arc<str>,
        /// Why not.
        source: UpstreamError,
    },
}
