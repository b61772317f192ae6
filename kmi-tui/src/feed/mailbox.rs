//! What waits for the screen, bounded.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_stats::report::Report;
use parking_lot::Mutex;

use super::{Answer, News, Page, Status};

/// Most trace lines that wait; of more the oldest are left out and counted. Reading so many takes
/// no longer than a key press may wait.
const LINES: usize = 2_048;
/// Most answers that wait.
const FEW: usize = 64;

/// Collects news from several threads until the screen takes them.
#[derive(Debug, Default)]
pub struct Mailbox(Mutex<News>);

impl Mailbox {
    /// The newest state replaces the one before.
    pub fn status(&self, status: Status) {
        self.0.lock().status = Some(Arc::new(status));
    }

    /// The newest proof replaces the one before.
    pub fn proof(&self, proof: Report) {
        self.0.lock().proof = Some(Arc::new(proof));
    }

    /// A committed line.
    pub fn line(&self, line: String) {
        let mut news = self.0.lock();
        if news.lines.len() >= LINES {
            // Half at once, so that a slow screen does not cost a shift for every line.
            news.lines.drain(..LINES / 2);
            news.missed += (LINES / 2) as u64;
        }
        news.lines.push(line);
    }

    /// The sender left lines out. They are told before all that waits, which is where they are
    /// missing or a little later.
    pub fn missed(&self, lines: u64) {
        let mut news = self.0.lock();
        news.missed = news.missed.saturating_add(lines);
    }

    /// A page that was asked for.
    pub fn page(&self, page: Page) {
        self.0.lock().page = Some(page);
    }

    /// What became of a wish.
    pub fn answer(&self, answer: Answer) {
        let mut news = self.0.lock();
        if news.answers.len() < FEW {
            news.answers.push(answer);
        }
    }

    /// Everything that waits.
    pub fn take(&self, now: Timestamp) -> News {
        let mut news = std::mem::take(&mut *self.0.lock());
        news.now = now;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_once_and_in_order() {
        let mailbox = Mailbox::default();
        mailbox.line("a".to_owned());
        mailbox.line("b".to_owned());
        assert_eq!(mailbox.take(Timestamp::UNIX_EPOCH).lines, ["a", "b"]);
        assert!(mailbox.take(Timestamp::UNIX_EPOCH).lines.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mailbox = Mailbox::default();
        for n in 0..3 * LINES {
            mailbox.line(n.to_string());
        }
        let news = mailbox.take(Timestamp::UNIX_EPOCH);
        assert!(news.lines.len() <= LINES);
        assert_eq!(news.missed + news.lines.len() as u64, 3 * LINES as u64);
        assert_eq!(news.lines.last(), Some(&(3 * LINES - 1).to_string()), "the newest stay");
    }

    #[test]
    fn answers_are_bounded() {
        let mailbox = Mailbox::default();
        for _ in 0..2 * FEW {
            mailbox.answer(Answer::Done(String::new()));
        }
        let news = mailbox.take(Timestamp::UNIX_EPOCH);
        assert_eq!(news.answers.len(), FEW);
    }
}
