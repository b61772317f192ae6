//! What Kimi's answers say about a key. Pure: no clock, no I/O.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// When keys are blocked, and for how long.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {}

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
