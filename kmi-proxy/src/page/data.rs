//! What the page shows, as JSON: the feed, lines of the past, and why a key was chosen.

use http::{Response, StatusCode};
use http_body_util::Either;
use kmi_core::trace::{Line, Record};
use kmi_stats::explain::Explanation;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Body, Stream};
use crate::{
    feed::{Begin, Feed},
    ledger::{LedgerError, Reader},
    reply::{self, Refusal},
};

/// Lines of the past that the feed begins with, unless it is told otherwise.
const BACK: u64 = 500;
/// … and at most.
const BACK_LIMIT: u64 = 10_000;

/// One of the data endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// Trace lines as they are committed, and the whole picture now and then; `?after=SEQ` resumes,
    /// `?back=N` begins with the newest lines.
    Feed,
    /// `?before=SEQ&limit=N`: older lines, the oldest first.
    Lines,
    /// `?seq=SEQ`: why the key of this attempt was chosen.
    Why,
}

/// Why a key was chosen, in words.
#[derive(Serialize)]
struct Why<'a> {
    sentence: String,
    /// Whether a replay leads to the same key.
    follows_rule: Option<bool>,
    turn: Option<u64>,
    others: Vec<Other<'a>>,
}

#[derive(Serialize)]
struct Other<'a> {
    key: &'a str,
    label: &'a str,
    passed_over: bool,
    why_not: String,
}

impl Data {
    /// What is at a path below the page's.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/feed" => Some(Self::Feed),
            "/lines" => Some(Self::Lines),
            "/why" => Some(Self::Why),
            _ => None,
        }
    }

    /// Answers a request that had the token.
    pub(super) async fn answer(self, feed: &Feed, query: &str) -> Result<Response<Body>, Refusal> {
        let number = |name| number(query, name);
        match self {
            Self::Feed => {
                let back = number("back")?.unwrap_or(BACK).min(BACK_LIMIT);
                stream(feed, number("after")?.map_or(Begin::Back(back), Begin::After)).await
            }
            Self::Lines => {
                let limit = number("limit")?.unwrap_or(BACK);
                let before = number("before")?;
                read(feed, move |reader| lines(reader, before, limit)).await
            }
            Self::Why => {
                let seq = number("seq")?.ok_or_else(|| bad("seq"))?;
                read(feed, move |reader| why(reader, seq)).await
            }
        }
    }
}

async fn stream(feed: &Feed, begin: Begin) -> Result<Response<Body>, Refusal> {
    let shared = feed.clone();
    let watching = tokio::task::spawn_blocking(move || shared.watch(begin, true));
    let watcher = match watching.await {
        Ok(Ok(watcher)) => watcher,
        Ok(Err(refused)) => return Err(Refusal::cannot_watch(refused)),
        Err(_) => return Err(Refusal::not_now()),
    };
    Ok(Response::new(Either::Right(Stream::new(watcher, feed.ending()))))
}

/// What a look into the ledger brings: JSON, or nothing.
type Found = Result<Option<String>, LedgerError>;

async fn read(
    feed: &Feed,
    look: impl FnOnce(&Reader) -> Found + Send + 'static,
) -> Result<Response<Body>, Refusal> {
    let source = feed.source().ok_or_else(Refusal::not_now)?;
    let _turn = feed.reading().await;
    let looking = tokio::task::spawn_blocking(move || match source.reader() {
        Some(reader) => look(&reader),
        None => Ok(None),
    });
    match looking.await {
        Ok(Ok(Some(json))) => Ok(reply::json_text(StatusCode::OK, json).map(Either::Left)),
        Ok(Ok(None)) => Err(Refusal::not_in_the_trace()),
        Ok(Err(_)) | Err(_) => Err(Refusal::not_now()),
    }
}

fn lines(reader: &Reader, before: Option<u64>, limit: u64) -> Found {
    let lines = reader.page(before, limit)?;
    let lines = lines.into_iter().filter_map(|line| RawValue::from_string(line.text).ok());
    Ok(serde_json::to_string(&lines.collect::<Vec<_>>()).ok())
}

fn why(reader: &Reader, seq: u64) -> Found {
    let Some(line) = reader.line(seq)? else { return Ok(None) };
    let Ok(Line { record: Some(Record::Attempt(attempt)), .. }) = Line::parse(line.text.as_bytes())
    else {
        return Ok(None);
    };
    let it = reader.explain(seq, attempt)?;
    Ok(serde_json::to_string(&in_words(&it)).ok())
}

fn in_words(it: &Explanation) -> Why<'_> {
    let others = it.others.iter().map(|other| Other {
        key: &other.key,
        label: &other.label,
        passed_over: other.passed_over,
        why_not: it.why_not(other),
    });
    Why {
        sentence: it.sentence(),
        follows_rule: it.follows_rule,
        turn: it.turn,
        others: others.collect(),
    }
}

/// A number out of a query; `None` where it is not given.
fn number(query: &str, name: &'static str) -> Result<Option<u64>, Refusal> {
    let mut given = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = given.find(|(key, _)| *key == name) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| bad(name))
}

fn bad(name: &'static str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad_query",
        format!("`{name}` must be a number in the query."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_out_of_queries() {
        assert_eq!(number("", "seq"), Ok(None));
        assert_eq!(number("a=1&seq=7&seq=8", "seq"), Ok(Some(7)));
        for query in ["seq=", "seq=-1", "seq=1x", "seq=99999999999999999999"] {
            assert_eq!(number(query, "seq").unwrap_err().status(), 400, "{query}");
        }
    }
}
