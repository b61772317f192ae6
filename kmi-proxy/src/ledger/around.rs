//! The lines that tell why an attempt's key served.

use std::collections::{BTreeMap, HashMap};

use jiff::SignedDuration;
use kmi_core::{
    state::Policy,
    trace::{Attempt, HealthChange, Line},
};
use kmi_stats::explain::{Evidence, Explanation};
use rusqlite::{Params, Statement, params};

use super::{
    error::LedgerError,
    reader::{Reader, StoredLine},
    store::signed,
};

/// Changes of one key that are taken, the newest before the choice.
const CHANGES_OF_A_KEY: u32 = 8;
/// The attempt that brought a change about is written within so many lines after it.
const CAUSE_WITHIN: u64 = 64;
/// Lines of a session's turns that are looked at, newest first.
const TURNS_OF_A_SESSION: u32 = 100;
/// Stored times may be later than those in the lines, where a clock was set back.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

type Found = BTreeMap<u64, StoredLine>;

impl Reader {
    /// Why the key of an attempt was chosen; `seq` is the attempt's own line.
    pub fn explain(&self, seq: u64, attempt: Attempt) -> Result<Explanation, LedgerError> {
        let lines = self.around(seq, &attempt)?;
        let mut evidence = Evidence::new(attempt);
        for line in lines {
            // A line that cannot be read tells nothing; `kmi verify` finds it.
            if let Ok(Line { record: Some(record), .. }) = Line::parse(line.text.as_bytes()) {
                evidence.record(&record);
            }
        }
        Ok(evidence.explain())
    }

    /// The lines that tell why the key of an attempt was chosen, in their order: its epoch, the
    /// keys' changes of health before the choice with the attempts that brought them about, the
    /// mode, the request's other attempts and its session's turns.
    ///
    /// `seq` is the attempt's own line. Reads the ledger up to there; what it gives is bounded by
    /// the number of keys.
    pub fn around(&self, seq: u64, attempt: &Attempt) -> Result<Vec<StoredLine>, LedgerError> {
        let mut found = Found::new();
        self.epoch(attempt, &mut found)?;
        self.changes(seq, attempt, &mut found)?;
        if attempt.attempt > 1 {
            let request = self.find(&attempt.request_id)?;
            found.extend(request.into_iter().map(|line| (line.seq, line)));
        }
        self.session(attempt, &mut found)?;
        Ok(found.into_values().collect())
    }

    fn epoch(&self, attempt: &Attempt, found: &mut Found) -> Result<(), LedgerError> {
        let sql = "SELECT seq, line FROM epochs WHERE upstream = ?1 AND epoch = ?2";
        let mut query = self.db().prepare(sql)?;
        take(&mut query, params![&*attempt.upstream, signed(attempt.epoch)], found)
    }

    fn changes(&self, seq: u64, attempt: &Attempt, found: &mut Found) -> Result<(), LedgerError> {
        let took = SignedDuration::from_millis(attempt.latency_ms.try_into().unwrap_or(i64::MAX));
        let chosen = attempt.ts.checked_sub(took).and_then(|at| at.checked_add(SLACK));
        let before = params![signed(seq), chosen.unwrap_or(attempt.ts).as_millisecond()];
        let sql = r#"SELECT seq, line FROM lines WHERE seq < ?1 AND ts <= ?2
            AND substr(line, 1, 15) = '{"type":"health' ORDER BY seq DESC"#;
        let mut query = self.db().prepare(sql)?;
        let mut taken: HashMap<_, u32> = HashMap::new();
        let mut changes = Vec::new();
        for line in query.query_map(before, StoredLine::of)? {
            let line = line?;
            let Ok(change) = serde_json::from_str::<HealthChange>(&line.text) else { continue };
            let count = taken.entry((change.upstream, change.key)).or_default();
            *count += 1;
            if *count <= CHANGES_OF_A_KEY {
                changes.push(line);
            }
        }
        for line in changes {
            let end = (line.seq + CAUSE_WITHIN).min(seq.saturating_sub(1));
            for line in self.lines(line.seq + 1, end) {
                // What retention takes meanwhile is no longer there to be told.
                let Ok(line) = line else { break };
                found.insert(line.seq, line);
            }
            found.insert(line.seq, line);
        }
        let sql = r#"SELECT seq, line FROM lines WHERE seq < ?1 AND ts <= ?2
            AND substr(line, 1, 13) = '{"type":"mode' ORDER BY seq DESC LIMIT 2"#;
        take(&mut self.db().prepare(sql)?, before, found)
    }

    fn session(&self, attempt: &Attempt, found: &mut Found) -> Result<(), LedgerError> {
        let Some(session) = attempt.session_id.as_deref() else { return Ok(()) };
        if attempt.policy != Policy::Session {
            return Ok(());
        }
        let field = format!("\"session_id\":{},", serde_json::Value::from(session));
        let sql = "SELECT seq, line FROM lines WHERE turn IS NOT NULL AND turn < ?1
            AND instr(line, ?2) ORDER BY seq DESC LIMIT ?3";
        let before = attempt.turn.map_or(i64::MAX, signed);
        take(&mut self.db().prepare(sql)?, params![before, field, TURNS_OF_A_SESSION], found)
    }
}

fn take(query: &mut Statement<'_>, of: impl Params, found: &mut Found) -> Result<(), LedgerError> {
    for line in query.query_map(of, StoredLine::of)? {
        let line = line?;
        found.insert(line.seq, line);
    }
    Ok(())
}
