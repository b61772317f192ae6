use jiff::Timestamp;
use kmi_core::{
    outcome::Outcome,
    state::{Mode, Reason},
};
use kmi_stats::explain::{Earlier, Other, Why};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn other(label: &str, passed_over: bool, because: Because) -> Other {
    Other { key: "k-00000000".into(), label: label.into(), passed_over, because }
}

fn explanation(why: Why, others: Vec<Other>) -> Explanation {
    Explanation {
        upstream: "kimi".into(),
        turn: Some(4711),
        request_id: "req-7".into(),
        attempt: 2,
        key: "k-00000001".into(),
        label: "beta".into(),
        chosen_at: at(0),
        outcome: Outcome::Ok,
        status: Some(200),
        mode: Mode::Auto,
        policy: Policy::RoundRobin,
        why,
        after: Some("delta".into()),
        follows_rule: Some(true),
        others,
    }
}

const TURN: Why = Why::Turn { session: None, moved_from: None };

fn blocked(reason: Reason, until: Option<i64>, words: &str) -> Because {
    let words = Some(words).filter(|words| !words.is_empty()).map(Into::into);
    Because::Blocked { reason: Some(reason), until: until.map(at), since: at(-60), words }
}

#[test]
fn a_turn_is_explained_by_those_that_were_passed_over() {
    let spent = "You've reached your weekly (7-day) usage limit.\u{1b}[2J";
    let tried = Because::Tried {
        outcome: Some(Outcome::RateLimited),
        status: Some(429),
        words: Some("too many requests".into()),
    };
    let others = vec![
        other("alpha", true, blocked(Reason::QuotaExhausted, Some(10_400), spent)),
        other("gamma", true, tried),
        other("delta", false, Because::Later),
        other("home", false, blocked(Reason::AuthFailed, None, "")),
        other("spare", false, Because::LowerPriority { tier: 1, than: 0 }),
    ];
    insta::assert_snapshot!(explain_text(&explanation(TURN, others), 80, Paint::default()), @r#"
    turn 4711: beta, because alpha was blocked until 14:00 (weekly quota) and gamma
      was tried before (rate_limited)
    request req-7, attempt 2; chosen 2026-11-18 11:06:40.000 UTC by kimi in auto
      mode
    ended: ok 200
    replay: the rule leads to this key

    other keys               why not
    alpha       passed over  was blocked until 14:00 (weekly quota): You've
                             reached your weekly (7-day) usage limit.\u{1b}[2J
    gamma       passed over  was tried before (rate_limited): too many requests
    delta                    comes later
    home                     was blocked until the user acts (key refused)
    spare                    has priority 1, and keys of priority 0 could serve
    "#);
}

#[test]
fn every_way_has_its_sentence() {
    let say = |turn, why, others| Explanation { turn, ..explanation(why, others) }.sentence();
    let session = || Some("session_0123456789-0123456789".into());
    let earlier = || Some(Earlier { turn: 12, label: "alpha".into() });
    let manual = |active: Option<&str>| Why::Manual { active: active.map(Into::into) };
    let limited = || vec![other("alpha", true, blocked(Reason::RateLimited, Some(5), ""))];
    let first = Explanation { after: None, ..explanation(TURN, vec![]) };
    let all = [
        first.sentence(),
        say(Some(7), TURN, vec![]),
        say(Some(7), TURN, limited()),
        say(Some(7), Why::Turn { session: session(), moved_from: None }, vec![]),
        say(Some(7), Why::Turn { session: session(), moved_from: earlier() }, limited()),
        say(None, Why::Session { session: "s-1".into(), since: earlier() }, vec![]),
        say(None, Why::File, vec![]),
        say(None, manual(None), vec![]),
        say(None, manual(Some("beta")), vec![]),
        say(None, manual(Some("alpha")), limited()),
        say(None, manual(Some("gone")), vec![]),
    ];
    insta::assert_snapshot!(all.join("\n"), @"
    turn 4711: beta, the first of the ring
    turn 7: beta, the next key after delta
    turn 7: beta, because alpha was blocked until 11:06:45 (rate limited)
    turn 7: beta, the next key after delta; session session_0123456789-0123… keeps it
    turn 7: beta, because alpha was blocked until 11:06:45 (rate limited); session session_0123456789-0123… moved here from alpha (turn 12)
    no turn: beta, which serves session s-1 since turn 12
    no turn: beta, because the request names an uploaded file that only its account has
    no turn: beta served in manual mode
    no turn: beta, the active key of manual mode
    no turn: beta stands in for the active key of manual mode, because alpha was blocked until 11:06:45 (rate limited)
    no turn: beta stands in for the active key of manual mode, because gone could not serve
    ");
}

#[test]
fn every_state_has_its_words() {
    let states = [
        Because::NotMeant,
        Because::Disabled { since: at(-100_000) },
        Because::Probed { reason: Some(Reason::Failing) },
        Because::LacksModel { model: Some("k3".into()) },
        Because::AtLimit,
        Because::Tried { outcome: None, status: None, words: None },
        blocked(Reason::QuotaExhausted, Some(3_600), "reached kimi monthly usage limit"),
        blocked(Reason::QuotaExhausted, Some(3_600), "usage limit for this period"),
        blocked(Reason::QuotaExhausted, Some(3_600), ""),
    ];
    let it = explanation(TURN, vec![]);
    let say = |because: &Because| it.why_not(&other("x", true, because.clone()));
    insta::assert_snapshot!(states.iter().map(say).collect::<Vec<_>>().join("\n"), @"
    could have served, but was not meant
    was switched off at 2026-11-17 07:20
    was being probed by another request after its block (failing)
    lacks the model k3 in its plan
    was at a limit of its own (requests at once, or a minute's)
    was tried before
    was blocked until 12:06 (monthly quota): reached kimi monthly usage limit
    was blocked until 12:06 (5-hour quota): usage limit for this period
    was blocked until 12:06 (quota spent)
    ");
}

#[test]
fn a_lost_turn_says_what_is_known() {
    let lost = Lost {
        upstream: "kimi".into(),
        turn: 6,
        label: Some("beta".into()),
        from_turn: 5,
        to_turn: 9,
        reason: "killed".into(),
    };
    let unknown = Lost { label: None, ..lost.clone() };
    let text = format!("{}\n{}", lost_text(&lost, 80), lost_text(&unknown, 80));
    insta::assert_snapshot!(text, @"
    turn 6 of kimi: given out (beta was chosen), but its end is not known: killed
      (gap of turns 5 to 9)
    turn 6 of kimi: given out (nobody knows for which key), but its end is not
      known: killed (gap of turns 5 to 9)
    ");
}
