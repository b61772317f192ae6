//! Keeping the ledger at its size: the oldest lines go, in small stretches between two batches.

use rusqlite::params;

use super::{
    error::LedgerError,
    store::{Store, signed},
};

/// Most lines that go in one transaction, so that a batch never waits long.
const STRETCH: i64 = 4096;

impl Store {
    /// Removes one stretch of the oldest lines if there are more than `limit` bytes of lines.
    ///
    /// Once begun it goes on, call by call, until a sixteenth of the limit is free again. The
    /// newest line always stays, and so do the epoch lines that later lines speak of.
    pub(super) fn retire(&mut self, limit: u64) -> Result<(), LedgerError> {
        let target = if self.retiring { limit - limit / 16 } else { limit };
        self.retiring = false;
        if self.books.bytes <= target {
            return Ok(());
        }
        let (last, freed, lines) = self.oldest(self.books.bytes - (limit - limit / 16))?;
        if lines == 0 {
            return Ok(());
        }
        let tx = self.db.transaction()?;
        tx.execute("DELETE FROM lines WHERE seq <= ?1", [last])?;
        tx.execute("DELETE FROM epochs WHERE closed <= ?1", [last])?;
        let bytes = self.books.bytes.saturating_sub(freed);
        tx.execute("UPDATE meta SET bytes = ?1", params![signed(bytes)])?;
        tx.commit()?;
        self.books.bytes = bytes;
        self.retiring = bytes > limit - limit / 16;
        Ok(())
    }

    /// The oldest lines that together have `surplus` bytes, or as many as may go in one stretch:
    /// the last one's number, their bytes, how many they are.
    fn oldest(&self, surplus: u64) -> Result<(i64, u64, u64), LedgerError> {
        let sql = "SELECT seq, octet_length(line) FROM lines WHERE seq < ?1 ORDER BY seq LIMIT ?2";
        let mut query = self.db.prepare(sql)?;
        let mut rows = query.query(params![signed(self.books.seq), STRETCH])?;
        let (mut last, mut freed, mut lines) = (0, 0, 0);
        while freed < surplus
            && let Some(row) = rows.next()?
        {
            last = row.get(0)?;
            freed += row.get::<_, i64>(1)?.unsigned_abs() + 1;
            lines += 1;
        }
        Ok((last, freed, lines))
    }
}
