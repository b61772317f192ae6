//! The whole picture: what `kmi status` shows, with the fairness of the last turns.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use kmi_stats::{
    confidence::shown,
    recent::Recent,
    report::Report,
    verify::{Flight, InFlight},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::Source;
use crate::{
    control::Status,
    ledger::{Live, Subscription},
    rotor,
};

/// Between two pictures at least.
const OFTEN: Duration = Duration::from_millis(500);
/// … and at most, where painting takes long.
const SELDOM: Duration = Duration::from_secs(3);
/// Painting may take this part of one core's time.
const SHARE: u32 = 1_000;
/// How often lines are fetched for the next picture, so that none is missed.
const FETCH: Duration = Duration::from_millis(100);
/// Lines of the past that the first picture knows.
const PAST: u64 = 1_000;

/// The whole picture at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// When.
    pub ts: Timestamp,
    /// What `kmi status` shows.
    #[serde(flatten)]
    pub status: Status,
    /// The fairness of the last turns stands in its `window`; its other numbers are those of
    /// the lines that the proxy happens to remember.
    pub fairness: Report,
    /// That window's confidence as people read it. The page shows this text, so that how it is
    /// rounded stands in one place.
    #[serde(default)]
    pub confidence: String,
}

impl Overview {
    /// Whether this one shows something that the other does not; time alone is no news.
    pub(super) fn is_news(&self, before: Option<&Self>) -> bool {
        let Some(before) = before else { return true };
        let mut same = Self { ts: before.ts, ..self.clone() };
        same.status.snapshot.proxy.uptime_s = before.status.snapshot.proxy.uptime_s;
        same != *before
    }
}

/// Paints for as long as somebody looks and the source lives.
pub(super) async fn paint(source: &Weak<dyn Source>, picture: &watch::Sender<Option<Arc<str>>>) {
    let Some(begun) = source.upgrade() else { return };
    let mut painter = Painter::begin(begun).await;
    while picture.receiver_count() > 0 {
        let (Some(source), Some(mut at_work)) = (source.upgrade(), painter.take()) else { break };
        let start = Instant::now();
        let painting = tokio::task::spawn_blocking(move || {
            let line = at_work.paint(&*source);
            (at_work, line)
        });
        let Ok((rested, line)) = painting.await else { break };
        if let Some(line) = line {
            picture.send_replace(Some(line));
        }
        let pause = (start.elapsed() * SHARE).clamp(OFTEN, SELDOM);
        painter = Some(rested);
        let next = start + pause;
        while Instant::now() < next && picture.receiver_count() > 0 {
            sleep(FETCH.min(next.saturating_duration_since(Instant::now()))).await;
            painter.iter_mut().for_each(Painter::fetch);
        }
    }
    // An old picture is none.
    picture.send_replace(None);
}

/// What is remembered from picture to picture.
#[derive(Debug)]
struct Painter {
    lines: Subscription,
    /// The newest line that was fetched.
    last: u64,
    recent: Recent,
    /// The turns under way at the picture before. What has ended since is committed by now, so
    /// a turn that is in no line yet is explained by them.
    in_flight: InFlight,
    before: Option<Overview>,
}

impl Painter {
    /// Reads the last lines of the ledger; `None` when that panics.
    async fn begin(source: Arc<dyn Source>) -> Option<Self> {
        let begin = move || {
            let mut painter = Self {
                lines: source.subscribe(),
                last: 0,
                recent: Recent::default(),
                in_flight: flights(source.in_flight()),
                before: None,
            };
            painter.read_past(&*source);
            painter
        };
        tokio::task::spawn_blocking(begin).await.ok()
    }

    fn read_past(&mut self, source: &dyn Source) {
        let Some(reader) = source.reader() else { return };
        let Ok(tail) = reader.tail(PAST) else { return };
        let Some(first) = tail.first() else { return };
        let epochs = reader.epochs_in_force(first.seq).unwrap_or_default();
        for line in epochs.into_iter().chain(tail) {
            self.last = line.seq;
            self.recent.line(line.text.into_bytes().into());
        }
    }

    fn fetch(&mut self) {
        while let Some(live) = self.lines.try_recv() {
            let Live::Line(line) = live else { continue };
            if line.seq <= self.last {
                continue;
            }
            if line.seq > self.last + 1 {
                self.recent.gap();
            }
            self.last = line.seq;
            self.recent.line(line.text);
        }
    }

    /// The picture as a line of JSON, if there is news.
    fn paint(&mut self, source: &dyn Source) -> Option<Arc<str>> {
        let in_flight = flights(source.in_flight());
        self.fetch();
        let now = Timestamp::now();
        let fairness = self.recent.report(&self.in_flight);
        let confidence = shown(fairness.window.numbers.confidence);
        let overview = Overview { ts: now, status: source.status(now), fairness, confidence };
        self.in_flight = in_flight;
        if !overview.is_news(self.before.as_ref()) {
            return None;
        }
        let json = serde_json::to_string(&overview).ok()?;
        self.before = Some(overview);
        // The type stands first, as in trace lines.
        Some(format!("{{\"type\":\"snapshot\",{}", json.strip_prefix('{')?).into())
    }
}

fn flights(in_flight: HashMap<Arc<str>, rotor::InFlight>) -> InFlight {
    let flight = |(upstream, turns): (_, rotor::InFlight)| {
        (upstream, Flight { turns: turns.turns, newest: turns.newest })
    };
    InFlight::Turns(in_flight.into_iter().map(flight).collect())
}
