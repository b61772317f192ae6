//! The feed as a source of events.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use jiff::Timestamp;
use tuirealm::{
    event::Event,
    listener::{Poll, PortResult},
};

use super::{Older, Rows, UserEvent};
use crate::{
    feed::{Feed, News},
    row::Row,
};

/// Reads lines on the listener's thread, so that the screen gets them ready to show.
pub(crate) struct FeedPort<F> {
    feed: F,
    events: VecDeque<UserEvent>,
    /// The rows that were handed over last. As long as the screen still has to take them the feed
    /// is left alone, which bounds what is under way; what it cannot keep it counts.
    under_way: Weak<Rows>,
    second: i64,
}

impl<F: Feed> FeedPort<F> {
    pub(crate) fn new(feed: F) -> Self {
        Self { feed, events: VecDeque::new(), under_way: Weak::new(), second: i64::MIN }
    }

    fn take(&mut self, news: News) {
        let News { now, status, proof, lines, missed, page, answers } = news;
        if now.as_second() != self.second {
            self.second = now.as_second();
            self.events.push_back(UserEvent::Clock(now));
        }
        self.events.extend(status.map(UserEvent::Status));
        self.events.extend(proof.map(UserEvent::Proof));
        if let Some(page) = page {
            let rows = rows(&page.lines);
            let older = Older { before: page.before, rows };
            self.events.push_back(UserEvent::Older(Arc::new(older)));
        }
        if !lines.is_empty() || missed > 0 {
            let mut rows = rows(&lines);
            if missed > 0 {
                rows.insert(0, notice(missed, rows.first(), now));
            }
            let rows = Arc::new(Rows(rows, missed));
            self.under_way = Arc::downgrade(&rows);
            self.events.push_back(UserEvent::Rows(rows));
        }
        self.events.extend(answers.into_iter().map(|it| UserEvent::Answer(Arc::new(it))));
    }
}

fn rows(lines: &[String]) -> Vec<Arc<Row>> {
    lines.iter().filter_map(|line| Row::parse(line)).map(Arc::new).collect()
}

fn notice(missed: u64, before: Option<&Arc<Row>>, now: Timestamp) -> Arc<Row> {
    let (seq, ts) = before.map_or((u64::MAX, now), |row| (row.seq, row.ts));
    Arc::new(Row::missed(missed, seq, ts))
}

impl<F: Feed> Poll<UserEvent> for FeedPort<F> {
    fn poll(&mut self) -> PortResult<Option<Event<UserEvent>>> {
        if self.events.is_empty() && self.under_way.strong_count() == 0 {
            let news = self.feed.news();
            self.take(news);
            // The end of this round: an empty answer, unless there is something.
        }
        Ok(self.events.pop_front().map(Event::User))
    }
}

#[cfg(test)]
mod tests {
    use kmi_core::{outcome::Outcome, trace::Record};

    use super::*;
    use crate::{
        row::tests::line,
        samples::{at, attempt},
    };

    struct Script(VecDeque<News>);

    impl Feed for Script {
        fn news(&mut self) -> News {
            self.0.pop_front().unwrap_or(News { now: at(0), ..News::default() })
        }
    }

    fn drain(port: &mut FeedPort<Script>) -> Vec<UserEvent> {
        let mut events = Vec::new();
        while let Some(Event::User(event)) = port.poll().unwrap() {
            events.push(event);
        }
        events
    }

    #[test]
    fn lines_become_rows_and_gaps_are_told() {
        let text = line(&Record::Attempt(attempt(7, "work", Outcome::Ok)), 9);
        let news = News {
            now: at(0),
            lines: vec![text, "no line".to_owned()],
            missed: 5,
            ..News::default()
        };
        let mut port = FeedPort::new(Script([news].into()));
        let events = drain(&mut port);
        assert!(matches!(events[0], UserEvent::Clock(_)));
        let UserEvent::Rows(rows) = &events[1] else { panic!("{events:?}") };
        assert_eq!((rows.0.len(), rows.0[0].seq, rows.1), (2, 9, 5));
    }

    #[test]
    fn nothing_more_is_taken_while_rows_are_under_way() {
        let news = |seq| News {
            now: at(0),
            lines: vec![line(&Record::Attempt(attempt(seq, "work", Outcome::Ok)), seq)],
            ..News::default()
        };
        let mut port = FeedPort::new(Script([news(1), news(2)].into()));
        let first = drain(&mut port);
        assert!(drain(&mut port).is_empty(), "the screen has not taken the first ones");
        drop(first);
        assert!(!drain(&mut port).is_empty());
    }
}
