//! A home on which no proxy runs: its keys, and what its ledger proves.

use kmi_proxy::{
    control::{Reply, Request},
    ledger::LedgerError,
};
use kmi_stats::verify::{InFlight, Options, Verifier};
use kmi_tui::feed::{Answer, Status};

use super::{Place, Shared, status};
use crate::{commands::newest_proof, desk};

/// Looks once.
pub(super) fn look(shared: &Shared) {
    let Shared { place, mailbox } = shared;
    mailbox.status(state(place));
    match newest_proof(&place.home) {
        Ok(report) => mailbox.proof(report),
        // Before the first start: no turns.
        Err(LedgerError::Missing(_)) => {
            mailbox.proof(Verifier::new(Options::default()).report(&InFlight::None));
        }
        Err(error) => mailbox.answer(Answer::Failed(format!("the trace cannot be read: {error}"))),
    }
}

/// The state of proxy and keys.
pub(super) fn state(place: &Place) -> Status {
    let Some(resting) = place.resting.as_deref() else { return Status::default() };
    let (config, env) = resting;
    // Looking around makes no home.
    if config.env_keys.is_empty() && !config.home.root().exists() {
        return Status::default();
    }
    match desk::ask_silently(config, env, &Request::Status) {
        Ok(Reply::Status(it)) => status(*it),
        Ok(_) => Status::default(),
        Err(error) => Status { problems: vec![error.to_string()], ..Status::default() },
    }
}
