//! What can be asked of a rotor, whether a proxy runs around it or not.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::inventory::Key;

use super::protocol::{Failure, KeyName, Problem, Reply, Request, Status};
use crate::{pool::RotateError, rotor::Rotor};

impl Rotor {
    /// Answers a request; those that need a running proxy are refused. May block.
    pub fn answer(&self, request: Request, now: Timestamp) -> Reply {
        match request {
            Request::InFlight => match self.settle() {
                Ok(turns) => Reply::InFlight(turns),
                Err(error) => failed(error, "`kmi status` shows whether the trace is written"),
            },
            Request::Lines { before, limit } => match self.past(before, limit) {
                Ok(lines) => Reply::Lines(lines),
                Err(error) => failed(error, "`kmi verify` shows what is wrong with the trace"),
            },
            Request::Mode { mode } => {
                self.set_mode(mode, now);
                Reply::Done
            }
            Request::Reset { key } => named(self.reset(&key, now).ok_or(RotateError::Unknown(key))),
            Request::Rotate { key } => named(self.rotate(key.as_deref(), now)),
            Request::Status => Reply::Status(Box::new(self.status(now))),
            Request::Test { key } => match block_on(self.test(key.as_deref())) {
                Ok(tested) => Reply::Tested(tested),
                Err(error) => failed(error, "`kmi keys list` shows all labels"),
            },
            Request::Switch { key, on } => match self.set_disabled(&key, !on, now) {
                Some(key) if on && key.disabled => failed(
                    format_args!("`{}` stays disabled: its file says so", key.label),
                    &format!("take `disabled` out of {}", key.origin),
                ),
                switched => named(switched.ok_or(RotateError::Unknown(key))),
            },
            Request::Feed { .. }
            | Request::Follow { .. }
            | Request::HandOver
            | Request::KeysChanged
            | Request::Reload
            | Request::Stop => failed("no proxy runs on this home", "start one with `kmi serve`"),
        }
    }

    /// What is wrong with key files, as callers hear of it.
    pub(crate) fn told_problems(&self) -> Vec<Problem> {
        self.problems().iter().map(Problem::from).collect()
    }

    pub(crate) fn status(&self, now: Timestamp) -> Status {
        Status {
            snapshot: self.snapshot(now),
            problems: self.told_problems(),
            trace_failure: self.proxy().sink.failure(),
            siblings: self.siblings(),
            outages: self.outages(),
            since: self.opened_at(),
            transient: false,
        }
    }
}

/// Answers are given on threads that may block, with a runtime around them or without.
fn block_on<F: Future>(future: F) -> F::Output {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        return runtime.block_on(future);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime without threads of its own starts").block_on(future)
}

fn named(key: Result<Arc<Key>, RotateError>) -> Reply {
    match key {
        Ok(key) => {
            Reply::Key(KeyName { label: key.label.to_string(), masked: key.secret.masked() })
        }
        Err(error) => {
            let hint = match error {
                RotateError::NoKeys => "add one with `kmi keys add LABEL`",
                RotateError::Unknown(_) => "`kmi keys list` shows all labels",
                RotateError::NoneUsable => "`kmi status` shows why, and until when",
            };
            failed(error, hint)
        }
    }
}

fn failed(message: impl std::fmt::Display, hint: &str) -> Reply {
    Reply::Failed(Failure { message: message.to_string(), hint: Some(hint.to_owned()) })
}
