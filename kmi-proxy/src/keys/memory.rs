//! Answers of other programs, kept between loads.
//!
//! Whenever any key file changes, all of them are read again. Asking a secret manager again as
//! well would be slow, may ask the user something each time, and would cost a working key
//! whenever the manager happens to be locked. So an answer is kept while the key file that asks
//! stays as it is.

use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use kmi_core::key::ApiKey;
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// The keys that `api_key_cmd` and `api_key_keyring` gave so far; clones share them.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<HashMap<Question, Zeroizing<String>>>>);

/// Who asks, in which version, and what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub file: Arc<str>,
    pub modified: Option<SystemTime>,
    /// A hash, so that no argument is kept.
    pub source: [u8; 32],
}

impl Answers {
    /// Forgets everything: the next load asks again. For a reload that the user wants.
    pub fn forget(&self) {
        self.0.lock().clear();
    }

    pub(super) fn get(&self, question: &Question) -> Option<ApiKey> {
        ApiKey::parse(self.0.lock().get(question)?).ok()
    }

    /// Keeps these answers, and of others those to files that may `still` ask.
    pub(super) fn keep<'k>(
        &self,
        answers: impl Iterator<Item = (Question, &'k ApiKey)>,
        still: impl Fn(&str) -> bool,
    ) {
        let mut known = self.0.lock();
        known.retain(|question, _| still(&question.file));
        let kept = |(question, key): (Question, &ApiKey)| {
            (question, Zeroizing::new(key.expose().to_owned()))
        };
        known.extend(answers.map(kept));
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answers({})", self.0.lock().len())
    }
}
