//! What Kimi's answers say about a key. Pure: no clock, no I/O; `now` is always an argument.
//!
//! * [`classify`] — an answer -> a verdict: one table for every error that providers are known
//!   to give. [`kimi_error`] reads error bodies, [`retry_after`] the waits they state.
//! * [`board`] — the health of all keys of one upstream: who is usable, until when not, and why.
//! * [`breaker`] — the three states of a key or an account; its documentation specifies them.
//!   [`window`] counts the failures that trip it.
//! * [`account`], [`quota`], [`limits`] — what keys share, what is left of it, and what is kept
//!   before the provider has to say so.
//! * [`upstream`] — outages: they block no key, and retries do not multiply them.
//! * [`policy`] — what can be set.
//!
//! # Example
//!
//! A request is refused, its key rests, and after that one request probes it:
//!
//! ```
//! use jiff::Timestamp;
//! use kmi_core::inventory::Inventory;
//! use kmi_health::{
//!     Board, Policy, UpstreamKind,
//!     board::Finished,
//!     classify::{Action, Answer, classify},
//!     retry_after::RetryHeaders,
//! };
//!
//! # use kmi_core::{inventory::{Key, Limits}, key::{ApiKey, HomeSecret, KeyId, Label}};
//! # let secret = ApiKey::parse("sk-example").unwrap();
//! # let key = Key {
//! #     id: KeyId::derive(&HomeSecret::new([0; 32]), &secret), label: Label::parse("a").unwrap(),
//! #     secret, upstream: "kimi".into(), priority: 0, weight: 1, account: None, tags: vec![],
//! #     disabled: false, limits: Limits::default(), origin: "example".into(),
//! # };
//! # let inventory = Inventory::new(vec![key.into()]);
//! let mut board = Board::new(&inventory, Policy::default());
//! let now = Timestamp::UNIX_EPOCH;
//!
//! let attempt = board.start(0, now);
//! let answer = Answer {
//!     kind: UpstreamKind::KimiCode,
//!     status: 429,
//!     retry: RetryHeaders { retry_after: Some(b"30"), retry_after_ms: None },
//!     body: b"",
//! };
//! let verdict = classify(&answer, now);
//! assert_eq!(verdict.action, Action::NextKey);
//! let changes = board.finish(0, attempt, &verdict, &Finished::default(), now);
//! assert_eq!(changes.len(), 1); // a line for the trace
//! assert!(board.usable().is_empty());
//!
//! let end = board.next_change().unwrap();
//! assert_eq!(end.as_second(), 30);
//! board.refresh(end);
//! assert!(board.usable().contains(0));
//! board.start(0, end);
//! assert!(board.usable().is_empty()); // a probe is under way
//! ```
#![forbid(unsafe_code)]

pub mod account;
pub mod board;
pub mod breaker;
pub mod classify;
mod cooldown;
pub mod kimi_error;
mod latency;
pub mod limits;
pub mod policy;
pub mod quota;
pub mod retry_after;
pub mod upstream;
pub mod window;

use serde::{Deserialize, Serialize};

pub use board::Board;
pub use policy::Policy;
pub use upstream::Upstream;

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
