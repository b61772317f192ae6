//! What a request's body says about itself, read without building a tree: the model, whether a
//! stream is asked for, the session, and which uploaded files are named.
//!
//! A body that breaks off, or that stops being a JSON object, tells what stood before that. Of a
//! field that is given twice the last one counts, as in nearly every JSON reader behind the upstream;
//! a value of another type, or a longer one than is bearable, is as good as none.

mod members;

use memchr::memmem;
use serde::Deserialize;

use self::members::Members;

/// Longest model name that is read, in bytes.
const MODEL_LIMIT: usize = 256;
/// Longest session id that is read, in bytes.
const SESSION_LIMIT: usize = 512;
/// Longest id of an uploaded file that is read, in bytes.
const FILE_LIMIT: usize = 128;
/// Most uploaded files that are listed.
const FILES_LIMIT: usize = 16;

/// What a body says about itself, in its own words: they are foreign strings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peek {
    /// `model`.
    pub model: Option<String>,
    /// `stream`.
    pub stream: Option<bool>,
    /// `prompt_cache_key`, else `metadata.user_id`, or the `session_id` in the JSON that the
    /// latter may hold.
    pub session: Option<String>,
    /// The ids behind `ms://`, each once, in order; 16 at most. Somebody who merely writes about
    /// such an id is not told apart.
    pub files: Vec<String>,
}

/// Reads what `body` says about itself; nothing from a body that is no JSON object.
pub(crate) fn peek(body: &[u8]) -> Peek {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Peek::default();
    }
    let mut peek = Peek { files: files(body), ..Peek::default() };
    let (mut cache_key, mut user_id) = (None, None);
    for (name, value) in Members::of(body) {
        match &*name {
            "model" => peek.model = text(value, MODEL_LIMIT),
            "stream" => peek.stream = serde_json::from_slice(value).ok(),
            "prompt_cache_key" => cache_key = text(value, SESSION_LIMIT),
            "metadata" => {
                let named = Members::of(value).filter(|(name, _)| name == "user_id").last();
                user_id = named.and_then(|(_, value)| text(value, SESSION_LIMIT));
            }
            _ => {}
        }
    }
    peek.session = cache_key.or(user_id.map(session_in));
    peek
}

/// A text of 1 to so many bytes.
fn text(value: &[u8], limit: usize) -> Option<String> {
    // No byte of a text takes more than six in JSON.
    if value.len() > 6 * limit + 2 {
        return None;
    }
    serde_json::from_slice(value).ok().filter(|text: &String| (1..=limit).contains(&text.len()))
}

/// Claude Code's `user_id` is a JSON object with a `session_id`; elsewhere it is the session.
fn session_in(user_id: String) -> String {
    #[derive(Deserialize)]
    struct User {
        session_id: String,
    }
    if !user_id.starts_with('{') {
        return user_id;
    }
    match serde_json::from_str::<User>(&user_id) {
        Ok(user) if !user.session_id.is_empty() => user.session_id,
        _ => user_id,
    }
}

fn files(body: &[u8]) -> Vec<String> {
    const SCHEME: &[u8; 3] = b"ms:";
    let mut ids = Vec::new();
    let mut rest = body;
    while let Some(at) = memmem::find(rest, SCHEME) {
        rest = &rest[at + SCHEME.len()..];
        // JSON may write a slash with a backslash before it.
        let Some(id) = rest.strip_prefix(b"//").or_else(|| rest.strip_prefix(br"\/\/")) else {
            continue;
        };
        let end = id.iter().position(|b| !(b.is_ascii_alphanumeric() || b"-_.".contains(b)));
        let id = &id[..end.unwrap_or(id.len())];
        let Ok(id) = std::str::from_utf8(id) else { continue };
        if (1..=FILE_LIMIT).contains(&id.len()) && !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
            if ids.len() == FILES_LIMIT {
                break;
            }
        }
    }
    ids
}

#[cfg(test)]
mod tests;
