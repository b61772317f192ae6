//! Carries out what the user wishes, one wish after the other.

use std::sync::mpsc::Receiver;

use anyhow::Context as _;
use kmi_core::{
    display::visible,
    state::Mode,
    trace::{Line, Record},
};
use kmi_proxy::{
    control::{self, CallError, Reply, Request, Tested},
    ledger::{LedgerError, Reader},
};
use kmi_tui::{
    explain_text::explain_text,
    feed::{Action, Answer, Page, Wish},
    paint::Paint,
};

use super::{Place, Shared, export, resting, status};
use crate::desk;

/// Columns of an explanation.
const EXPLAINED: u16 = 74;

/// Works until nobody wishes anything any more.
pub(super) fn carry_out(shared: &Shared, wishes: &Receiver<Wish>) {
    for wish in wishes {
        let mailbox = &shared.mailbox;
        match wish {
            Wish::Act(action) => {
                mailbox.answer(done(act(&shared.place, &action)));
                look(shared);
            }
            Wish::Explain(seq) => {
                let text = explain(&shared.place, seq);
                let text = text.unwrap_or_else(|error| format!("not known: {error}"));
                mailbox.answer(Answer::Explained { seq, text });
            }
            Wish::Export { lines, by } => {
                mailbox.answer(done(export::write(&shared.place.home, &lines, by.as_deref())));
            }
            Wish::Page { before } => match page(&shared.place, before) {
                Ok(page) => mailbox.page(page),
                Err(error) => {
                    mailbox.page(Page { before, lines: Vec::new() });
                    mailbox.answer(Answer::Failed(format!("the trace cannot be read: {error}")));
                }
            },
        }
    }
}

fn done(result: anyhow::Result<String>) -> Answer {
    match result {
        Ok(text) => Answer::Done(text),
        Err(error) => Answer::Failed(format!("{error:#}")),
    }
}

/// What was done is to be seen at once, and not with the next picture only.
fn look(shared: &Shared) {
    match control::call(&shared.place.home.socket(), &Request::Status) {
        Ok(Reply::Status(now)) => shared.mailbox.status(status(*now)),
        Err(CallError::NotRunning) => shared.mailbox.status(resting::state(&shared.place)),
        // It is stopping: the feed will tell.
        _ => {}
    }
}

fn page(place: &Place, before: Option<u64>) -> Result<Page, LedgerError> {
    let lines = match Reader::open(place.home.state_dir()) {
        Ok(reader) => reader.page(before, Reader::PAGE_LINES)?,
        Err(LedgerError::Missing(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(Page { before, lines: lines.into_iter().map(|line| line.text).collect() })
}

fn act(place: &Place, action: &Action) -> anyhow::Result<String> {
    let request = match action {
        Action::Disable { key } => Request::Switch { key: key.clone(), on: false },
        Action::Enable { key } => Request::Switch { key: key.clone(), on: true },
        Action::Mode(mode) => Request::Mode { mode: *mode },
        Action::Reset { key } => Request::Reset { key: key.clone() },
        Action::Rotate { key } => Request::Rotate { key: Some(key.clone()) },
        Action::Test { key } => Request::Test { key: Some(key.clone()) },
    };
    let reply = match place.resting.as_deref() {
        Some((config, env)) => desk::ask_silently(config, env, &request)?,
        None => desk::checked(control::call(&place.home.socket(), &request)?)?,
    };
    Ok(match (action, reply) {
        (Action::Mode(Mode::Auto), Reply::Done) => "every request takes the next key".to_owned(),
        (Action::Mode(Mode::Manual), Reply::Done) => {
            "automatic rotation is off: the active key serves".to_owned()
        }
        (Action::Rotate { .. }, Reply::Key(key)) => {
            format!("{} serves every request now", visible(&key.label))
        }
        (Action::Reset { .. }, Reply::Key(key)) => {
            format!("what blocked {} is over", visible(&key.label))
        }
        (Action::Enable { .. }, Reply::Key(key)) => format!("{} serves again", visible(&key.label)),
        (Action::Disable { .. }, Reply::Key(key)) => format!("{} is off", visible(&key.label)),
        (Action::Test { .. }, Reply::Tested(tested)) => return tested_in_words(&tested),
        (_, reply) => return Err(desk::unexpected(&reply)),
    })
}

fn tested_in_words(tested: &[Tested]) -> anyhow::Result<String> {
    let mut words = Vec::new();
    for key in tested {
        let label = visible(&key.label);
        if let Some(error) = key.error.as_deref().filter(|_| !key.ok) {
            anyhow::bail!("{label} does not work: {}", visible(error));
        }
        let left = key.quota.remaining_ratio;
        let left = left.map(|left| format!(", {:.0} % of its quota left", (left * 100.0).floor()));
        words.push(format!("{label} works{}", left.unwrap_or_default()));
    }
    Ok(words.join("; "))
}

/// Why the attempt of a line got its key, from the trace alone.
fn explain(place: &Place, seq: u64) -> anyhow::Result<String> {
    let reader = Reader::open(place.home.state_dir())?;
    let line = reader.line(seq)?.context("the ledger does not have it any more")?;
    let Some(Record::Attempt(attempt)) = Line::parse(line.text.as_bytes())?.record else {
        anyhow::bail!("it is no attempt");
    };
    let explanation = reader.explain(seq, attempt)?;
    Ok(explain_text(&explanation, EXPLAINED, Paint::default()))
}
