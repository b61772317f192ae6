//! The trace states its own head, signed, now and then.

use kmi_stats::{
    checkpoint::Signer,
    verify::{InFlight, Options, Verifier},
};

use super::*;

fn signer() -> Signer {
    Signer::new(&[5; 32]).unwrap()
}

#[test]
fn a_checkpoint_comes_about_every_thousand_lines_over_restarts_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut turn = 0;
    // 2,400 turns in lives of 300 each.
    for life in 0..8 {
        let (ledger, _) = open(dir.path());
        ledger.sign_with(signer());
        let mut page = ledger.page("kimi").unwrap();
        if life == 0 {
            ledger.sink().push(Record::Epoch(epoch("kimi", 1, 3)));
        }
        for _ in 0..3 {
            serve(&ledger, &mut page, turn + 1..=turn + 100, 1);
            turn += 100;
        }
        drop(page);
        ledger.close().unwrap();
    }
    let text = export(dir.path(), &Export::default());
    let lines = verified(&text);
    let at: Vec<u64> = lines
        .iter()
        .filter(|line| matches!(line.record, Some(Record::Checkpoint(_))))
        .map(|line| line.place.seq)
        .collect();
    assert_eq!(at.len(), 2, "{at:?}");
    assert!((1_001..1_102).contains(&at[0]) && (2_001..2_102).contains(&at[1]), "{at:?}");

    let verify = |signer: Signer| {
        let key = signer.public_key().clone();
        let options = Options { signer: Some(key), ..Options::default() };
        let mut verifier = Verifier::new(options);
        text.lines().for_each(|line| verifier.line(line.as_bytes()).unwrap());
        verifier.report(&InFlight::None)
    };
    let report = verify(signer());
    assert_eq!((report.chain.ok, report.chain.checkpoints, report.all.violations), (true, 2, 0));
    assert_eq!(report.all.conforming, 2_400);
    let report = verify(Signer::new(&[6; 32]).unwrap());
    assert_eq!(report.first_bad_seq, Some(at[0]));
}
