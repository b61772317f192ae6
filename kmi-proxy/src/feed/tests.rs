use std::time::Duration;

use kmi_core::{
    snapshot::{FleetRow, ProxyRow, Snapshot},
    state::{Mode, Policy},
    trace::Record,
};
use parking_lot::Mutex;

use super::*;
use crate::{
    ledger::{
        Ledger,
        samples::{at, attempt, epoch},
    },
    settings::TraceSettings,
};

/// A ledger, and a picture that the test paints.
#[derive(Debug)]
struct Home {
    dir: tempfile::TempDir,
    ledger: Ledger,
    shown: Mutex<Status>,
}

impl Home {
    fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(dir.path(), &TraceSettings::default(), at(0)).unwrap();
        let shown = Mutex::new(Status {
            snapshot: Snapshot {
                proxy: ProxyRow::default(),
                mode: Mode::Auto,
                policy: Policy::RoundRobin,
                active_key: None,
                keys: Vec::new(),
                fleet: FleetRow::default(),
            },
            problems: Vec::new(),
            trace_failure: None,
            siblings: Vec::new(),
            outages: Vec::new(),
            since: at(0),
            transient: false,
        });
        let home = Self { dir, ledger, shown };
        home.ledger.sink().push(Record::Epoch(epoch("kimi", 1, 3)));
        Arc::new(home)
    }

    /// Turns on their way to the disk; the line of turn `n` has the number `n + 1`.
    fn turns(&self, turns: std::ops::RangeInclusive<u64>) {
        for turn in turns {
            self.ledger.sink().push(Record::Attempt(attempt("kimi", turn, 1)));
        }
        self.ledger.flush().unwrap();
    }

    fn feed(self: &Arc<Self>) -> Feed {
        let feed = Feed::default();
        let source = Arc::downgrade(self);
        feed.connect(source);
        feed
    }
}

impl Source for Home {
    fn status(&self, _: Timestamp) -> Status {
        self.shown.lock().clone()
    }

    fn in_flight(&self) -> HashMap<Arc<str>, InFlight> {
        HashMap::new()
    }

    fn subscribe(&self) -> Subscription {
        self.ledger.subscribe()
    }

    fn reader(&self) -> Option<Reader> {
        Reader::open(self.dir.path()).ok()
    }
}

/// Numbers of the next lines until there are `n`, and how many were missed before each.
async fn numbers(watcher: &mut Watcher, n: usize) -> Vec<(u64, u64)> {
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while numbers.len() < n {
        let next = tokio::time::timeout(Duration::from_secs(20), watcher.next());
        let text = next.await.expect("in time").expect("the feed goes on");
        for line in String::from_utf8(text.to_vec()).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            match (line["seq"].as_u64(), line["lines"].as_u64()) {
                (Some(seq), _) => numbers.push((seq, std::mem::take(&mut missed))),
                (None, lines) => missed += lines.expect("a line, or lines that were missed"),
            }
        }
    }
    numbers
}

fn whole(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    numbers.into_iter().map(|number| (number, 0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_joins_the_present_without_a_seam() {
    let home = Home::new();
    home.turns(1..=2_000);
    let feed = home.feed();
    let mut watcher = feed.watch(Begin::After(10), false).unwrap();
    home.turns(2_001..=2_100);
    assert_eq!(numbers(&mut watcher, 2_091).await, whole(11..=2_101));
    home.turns(2_101..=2_110);
    assert_eq!(numbers(&mut watcher, 10).await, whole(2_102..=2_111));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_begins_where_it_wants() {
    let home = Home::new();
    let feed = home.feed();
    home.turns(1..=20);
    let mut newest = 21;
    let mut first_after = async |begin| {
        let mut watcher = feed.watch(begin, false).unwrap();
        home.turns(newest..=newest);
        newest += 1;
        numbers(&mut watcher, 1).await[0]
    };
    assert_eq!(first_after(Begin::Back(0)).await, (22, 0));
    assert_eq!(first_after(Begin::Back(5)).await, (18, 0));
    assert_eq!(first_after(Begin::Back(u64::MAX)).await, (1, 0));
    assert_eq!(first_after(Begin::After(20)).await, (21, 0));
    // A number from the future is one of another ledger.
    assert_eq!(first_after(Begin::After(u64::MAX)).await, (26, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_too_slowly_is_told_how_many_lines_it_missed() {
    let home = Home::new();
    let feed = home.feed();
    home.ledger.flush().unwrap();
    let mut watcher = feed.watch(Begin::Back(0), false).unwrap();
    home.turns(1..=10_000);
    let seen = numbers(&mut watcher, 1).await;
    let (first, missed) = seen[0];
    assert!(missed > 0 && first == 2 + missed, "missed {missed} before line {first}");
    let rest = 10_001 - first - (seen.len() as u64 - 1);
    let rest = numbers(&mut watcher, usize::try_from(rest).unwrap()).await;
    assert!(rest.iter().all(|(_, missed)| *missed == 0), "once behind, not twice");
    assert_eq!(rest.last().unwrap().0, 10_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_come_when_something_changed_and_only_while_somebody_looks() {
    let home = Home::new();
    home.turns(1..=70);
    let feed = home.feed();
    let painting = tokio::spawn(feed.clone().run());
    let mut watcher = feed.watch(Begin::Back(0), true).unwrap();
    let mut pictures = async || {
        let text = watcher.next().await.expect("the feed goes on");
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.starts_with("{\"type\":\"snapshot\",\"ts\":"), "{text}");
        serde_json::from_str::<Overview>(text.trim_end()).unwrap()
    };
    let first = pictures().await;
    assert_eq!((first.status.snapshot.mode, first.fairness.window.numbers.turns), (Mode::Auto, 70));
    assert_eq!(first.confidence, "97.24 %", "what the page shows");
    home.shown.lock().snapshot.mode = Mode::Manual;
    let second = pictures().await;
    assert_eq!(second.status.snapshot.mode, Mode::Manual);
    assert!(
        second.ts.duration_since(first.ts) >= jiff::SignedDuration::from_millis(450),
        "not too often"
    );
    drop(watcher);
    let taken_away = async {
        while feed.0.picture.borrow().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken_away).await.expect("in time");
    painting.abort();
}

#[test]
fn time_alone_is_no_news() {
    let home = Home::new();
    let picture = || Overview {
        ts: at(0),
        status: home.status(at(0)),
        fairness: kmi_stats::recent::Recent::default().report(&kmi_stats::verify::InFlight::None),
        confidence: String::new(),
    };
    let (first, mut later) = (picture(), picture());
    later.ts = at(60);
    later.status.snapshot.proxy.uptime_s = Some(60);
    assert!(first.is_news(None) && !later.is_news(Some(&first)));
    later.status.snapshot.active_key = Some("alpha".into());
    assert!(later.is_news(Some(&first)));
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_bounded_and_given_back() {
    let home = Home::new();
    let feed = home.feed();
    let mut watchers: Vec<_> =
        (0..WATCHERS).map(|_| feed.watch(Begin::Back(0), false).unwrap()).collect();
    assert_eq!(feed.watch(Begin::Back(0), false).unwrap_err(), Refused::TooMany);
    watchers.pop();
    assert!(feed.watch(Begin::Back(0), false).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_the_ledger() {
    let home = Home::new();
    let feed = home.feed();
    home.turns(1..=3);
    let mut watcher = feed.watch(Begin::Back(1), false).unwrap();
    drop(home);
    let mut text = Vec::new();
    while let Some(more) = watcher.next().await {
        text.extend(more);
    }
    assert!(text.starts_with(b"{\"type\":\"attempt\",\"seq\":4,"), "the last lines still come");
    assert_eq!(feed.watch(Begin::Back(0), false).unwrap_err(), Refused::NoSource);
}
