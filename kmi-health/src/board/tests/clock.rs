//! A clock that is set back lets no block last longer.

use super::*;

#[test]
fn what_ends_at_a_time_is_tried_at_once() {
    let mut board = board(3);
    for (key, refusal) in
        [(0, answer(429, "slow down")), (1, answer(401, "Invalid Authentication"))]
    {
        let attempt = board.start(key, at(10_000));
        board.finish(key, attempt, &refusal, &Finished::default(), at(10_000));
    }
    assert_eq!(usable(&board), [2]);
    let ends = board.row(0).unwrap().until.unwrap();
    assert!(ends > at(10_000) && board.row(1).unwrap().until.is_none());

    board.clock_set_back(at(2_000));
    assert_eq!(usable(&board), [0, 2], "what only the user can end stays");
    let probe = board.start(0, at(2_001));
    assert_eq!(usable(&board), [2], "one request tries it");
    board.finish(0, probe, &works(), &Finished::default(), at(2_002));
    assert_eq!(usable(&board), [0, 2]);
}
