//! What Kimi's answers say about a key. Pure: no clock, no I/O.
#![forbid(unsafe_code)]

pub mod classify;
pub mod kimi_error;
pub mod policy;
pub mod retry_after;

use serde::{Deserialize, Serialize};

pub use policy::Policy;

/// How an upstream's quota is asked and its errors are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamKind {
    /// Kimi Code membership.
    #[default]
    KimiCode,
    /// Moonshot AI Open Platform.
    OpenPlatform,
    /// Anything that speaks OpenAI's API.
    #[serde(rename = "openai")]
    OpenAi,
}
