//! The caller's side of what goes on and on: trace lines, and pictures between them.

use std::{
    io::{self, BufRead as _, BufReader},
    os::unix::net::UnixStream,
    path::Path,
};

use serde::Deserialize;

use super::{
    client::{CallError, connect},
    protocol::{Failure, Reply, Request},
};
use crate::feed::Overview;

/// Trace lines of the running proxy, as they are committed; ends when the proxy does. Lines that
/// were missed are told by a line of their own, `{"type":"missed","lines":n}`.
pub fn follow(socket: &Path, after: Option<u64>) -> Result<Follow, CallError> {
    let stream = connect(socket, &Request::Follow { after })?;
    Ok(Follow(BufReader::new(stream)))
}

/// The lines of [`follow`].
#[derive(Debug)]
pub struct Follow(BufReader<UnixStream>);

impl Iterator for Follow {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return None,
                // An empty line says that the proxy is still there.
                Ok(1) => {}
                Ok(_) => {
                    line.truncate(line.trim_end_matches('\n').len());
                    return Some(Ok(line));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Everything that a dashboard of the running proxy shows, as it changes: trace lines from the one
/// after `after`, or else the newest `back` lines and what follows, and pictures between them. Ends
/// when the proxy does.
///
/// Reading may be as slow as it likes: what it misses is told by [`FeedItem::Missed`].
pub fn feed(socket: &Path, after: Option<u64>, back: u64) -> Result<Feed, CallError> {
    let stream = connect(socket, &Request::Feed { after, back })?;
    Ok(Feed(Follow(BufReader::new(stream))))
}

/// The items of [`feed`]; reading one waits for it.
#[derive(Debug)]
pub struct Feed(Follow);

/// One item of a [`Feed`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FeedItem {
    /// A trace line, as it is stored.
    Line(String),
    /// The reader was too slow, or too long away: so many lines were left out here.
    Missed(u64),
    /// The whole picture; at most about two a second, and only when something has changed.
    Picture(Box<Overview>),
    /// The proxy does not give a feed.
    Refused(Failure),
}

impl Iterator for Feed {
    type Item = io::Result<FeedItem>;

    fn next(&mut self) -> Option<io::Result<FeedItem>> {
        Some(self.0.next()?.and_then(|line| item(line).map_err(io::Error::from)))
    }
}

/// kmi writes the type first, so one look tells what a line is.
fn item(line: String) -> serde_json::Result<FeedItem> {
    #[derive(Deserialize)]
    struct Missed {
        lines: u64,
    }
    if line.starts_with(r#"{"type":"snapshot""#) {
        return serde_json::from_str(&line).map(FeedItem::Picture);
    }
    if line.starts_with(r#"{"type":"missed""#) {
        return serde_json::from_str(&line).map(|Missed { lines }| FeedItem::Missed(lines));
    }
    if line.starts_with(r#"{"failed""#)
        && let Reply::Failed(failure) = serde_json::from_str(&line)?
    {
        return Ok(FeedItem::Refused(failure));
    }
    Ok(FeedItem::Line(line))
}
