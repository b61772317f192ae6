//! Uploaded files: which ones a request names, and what an upload's answer calls its file.

use std::{sync::Arc, time::Duration};

use http::{Method, response::Parts};
use jiff::Timestamp;
use kmi_core::inventory::Key;
use kmi_health::board::Exhausted;
use serde::Deserialize;

use super::{attempt::Attempt, facts::Facts, redact::has_key};
use crate::{
    body::Coding,
    pool::{Affinity, Owner, Pool, SeveralAccounts, is_file_id},
    reply::Refusal,
};

/// How much of an upload's answer is kept to read the id from it.
const ANSWER_LIMIT: usize = 64 << 10;

/// What ties a request to a key: the files in its path or (`named`) its body before its session.
pub(super) fn affinity(pool: &Pool, facts: &Facts, named: &[String]) -> Result<Affinity, Refusal> {
    match pool.owner(in_path(&facts.path).into_iter().chain(named.iter().map(String::as_str))) {
        Ok(Some(owner)) => Ok(Affinity::File(owner)),
        Ok(None) => Ok(facts.session_affinity()),
        Err(SeveralAccounts) => Err(Refusal::files_of_several_accounts()),
    }
}

/// kmi's own answer when no key of the files' account can serve.
pub(super) fn refusal(pool: &Pool, owner: &Owner, why: Exhausted, now: Timestamp) -> Refusal {
    let key = pool.owner_name(owner);
    match why {
        Exhausted::ShortWait { at } => {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Refusal::file_account_must_wait(&key, seconds)
        }
        Exhausted::QuotaSpent { at } | Exhausted::NoneWorking { at } => {
            Refusal::file_account_unavailable(&key, at)
        }
    }
}

/// The id in `/files/ID` and in everything below it.
fn in_path(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/files/")?.split('/').next()?;
    is_file_id(id).then_some(id)
}

/// A good answer has come: a file that was deleted is forgotten.
pub(super) fn answered(pool: &Pool, facts: &Facts, answer: &Parts) {
    if *facts.method == *Method::DELETE.as_str()
        && answer.status.is_success()
        && let Some(id) = in_path(&facts.path)
        && facts.path.len() == "/files/".len() + id.len()
    {
        pool.forget_file(id);
    }
}

/// Reads the id out of the answer to an upload while it passes by.
#[derive(Debug)]
pub(crate) struct UploadScan {
    pool: Arc<Pool>,
    key: Arc<Key>,
    coding: Coding,
    answer: Vec<u8>,
}

impl UploadScan {
    /// For the answer of this attempt; `None` when it was no upload, failed, or comes in a coding
    /// that is not known here: such a file ties nothing.
    pub(super) fn of(pool: &Arc<Pool>, attempt: &Attempt, answer: &Parts) -> Option<Self> {
        let facts = attempt.facts();
        let upload = *facts.method == *Method::POST.as_str() && &*facts.path == "/files";
        if !upload || !answer.status.is_success() {
            return None;
        }
        let coding = Coding::of(&answer.headers)?;
        let (pool, key) = (Arc::clone(pool), Arc::clone(&attempt.picked().key));
        Some(Self { pool, key, coding, answer: Vec::new() })
    }

    /// The next piece. An answer that is too long to be one about a file is cut, and then no JSON.
    pub(super) fn feed(&mut self, data: &[u8]) {
        let room = ANSWER_LIMIT - self.answer.len();
        self.answer.extend_from_slice(&data[..data.len().min(room)]);
    }

    /// The answer has ended: its file belongs to the account of the key from now on.
    pub(super) fn finish(self) {
        // What a hostile upstream calls a file is written to the disk.
        let id = id(&self.coding.decoded(&self.answer, ANSWER_LIMIT))
            .filter(|id| !has_key(id, &self.pool));
        if let Some(id) = id {
            self.pool.remember_file(&id, &self.key, Timestamp::now());
        }
    }
}

fn id(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct File {
        id: String,
    }
    serde_json::from_slice::<File>(answer).ok().map(|file| file.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_one_file() {
        for (path, id) in [
            ("/files/file-1", Some("file-1")),
            ("/files/file-1/content", Some("file-1")),
            ("/files/a.b_C-9", Some("a.b_C-9")),
            ("/files", None),
            ("/files/", None),
            ("/files/a%62", None),
            ("/files//a", None),
            ("/filesx/a", None),
            ("/other/files/a", None),
        ] {
            assert_eq!(in_path(path), id, "{path}");
        }
        assert_eq!(in_path(&format!("/files/{}", "a".repeat(129))), None);
    }

    #[test]
    fn the_id_is_that_of_the_answer_itself() {
        let found = |answer: &str| id(answer.as_bytes());
        assert_eq!(found(r#"{"object":"file","id":"f-1","more":{"id":"x"}}"#), Some("f-1".into()));
        for bad in ["", "{", "[]", r#"{"id":1}"#, r#"{"file":{"id":"x"}}"#, r#"{"id":"x""#] {
            assert_eq!(found(bad), None, "{bad}");
        }
    }
}
