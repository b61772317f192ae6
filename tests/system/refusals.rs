//! Every row of the table of providers' errors, through the real proxy; and answers that are none.
//!
//! The cases are made of the table itself, so a new row is tested by being there. What each
//! meaning has to come to is written down here by hand.

use http::Method;
use jiff::Timestamp;
use kmi_core::{
    outcome::Outcome,
    snapshot::KeyRow,
    state::{KeyState, Reason},
};
use kmi_health::classify::{Meaning, RowView, rows};
use kmi_proxy::{
    demo::{Act, Reply, Scenario},
    settings::UpstreamKind,
};
use kmi_tests::{TestProxy, chat_body};
use tokio::task::JoinSet;

/// Proxies that run at the same time.
const AT_ONCE: usize = 8;

/// What has to become of a request whose first key of three is refused so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    outcome: Outcome,
    /// Whether another key serves; else the client gets the answer as it is.
    other_key: bool,
    state: KeyState,
    reason: Option<Reason>,
    /// Whether the block ends by itself.
    ends: bool,
}

/// CONTRACT sections 4 and 5, meaning by meaning.
fn expected(meaning: Meaning) -> Expected {
    let healthy = |outcome, other_key| Expected {
        outcome,
        other_key,
        state: KeyState::Healthy,
        reason: None,
        ends: false,
    };
    let blocked = |outcome, reason, ends| Expected {
        state: KeyState::Blocked,
        reason: Some(reason),
        ends,
        ..healthy(outcome, true)
    };
    match meaning {
        Meaning::UnknownKey => blocked(Outcome::Auth, Reason::AuthFailed, false),
        Meaning::AccountClosed => blocked(Outcome::Auth, Reason::AccountTerminated, false),
        Meaning::UnclearRefusal | Meaning::NotFromHere => {
            blocked(Outcome::Auth, Reason::Failing, true)
        }
        Meaning::AccountPaused | Meaning::Membership => {
            blocked(Outcome::Auth, Reason::MembershipLapsed, true)
        }
        Meaning::OddRefusal => healthy(Outcome::Auth, true),
        Meaning::Spent(_) => blocked(Outcome::Quota, Reason::QuotaExhausted, true),
        Meaning::NoMoney => blocked(Outcome::Quota, Reason::BalanceExhausted, true),
        Meaning::TooManyAtOnce => blocked(Outcome::RateLimited, Reason::ConcurrencyLimited, true),
        Meaning::TooFast | Meaning::TokensPerMinute => {
            blocked(Outcome::RateLimited, Reason::RateLimited, true)
        }
        Meaning::NoSuchModel => Expected {
            state: KeyState::Warn,
            reason: Some(Reason::ModelNotAllowed),
            ..healthy(Outcome::ClientError, true)
        },
        Meaning::Engine | Meaning::Unavailable => healthy(Outcome::UpstreamError, true),
        Meaning::Server => healthy(Outcome::UpstreamError, false),
        Meaning::Request => healthy(Outcome::ClientError, false),
        Meaning::ClientLeft => healthy(Outcome::ClientGone, false),
    }
}

/// One answer of an upstream, and what it means.
#[derive(Debug, Clone)]
struct Case {
    kind: UpstreamKind,
    status: u16,
    body: String,
    meaning: Meaning,
}

/// A row's answers: each of its statuses, on each family that it is about, in the words of the
/// OpenAI-style surface and of the Anthropic one.
fn cases(row: RowView) -> Vec<Case> {
    let kinds = if row.kinds.is_empty() { &[UpstreamKind::KimiCode] } else { row.kinds };
    let kind = row.types.first().copied().unwrap_or_default();
    let message = row.words.first().map(|words| format!("Sorry: {words}.")).unwrap_or_default();
    let error = serde_json::json!({ "type": kind, "message": message });
    let bodies = [
        serde_json::json!({ "error": error }).to_string(),
        serde_json::json!({ "type": "error", "error": error }).to_string(),
    ];
    let case = |(kind, status, body): (UpstreamKind, u16, &String)| Case {
        kind,
        status,
        body: body.clone(),
        meaning: row.meaning,
    };
    kinds
        .iter()
        .flat_map(|kind| row.statuses.iter().map(move |status| (*kind, *status)))
        .zip(bodies.iter().cycle())
        .map(|((kind, status), body)| case((kind, status, body)))
        .collect()
}

async fn drive(case: Case) -> anyhow::Result<()> {
    let reply = Act::Reply(Reply {
        status: case.status,
        headers: vec![("content-type".into(), "application/json".into())],
        body: case.body.clone().into(),
    });
    let scenario = Scenario::healthy(3).deciding(move |asked| {
        let first = &*asked.key.secret == "sk-demo-key-0001" && asked.method == "POST";
        first.then(|| reply.clone())
    });
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.upstreams[0].kind = case.kind;
        settings.health.outage_backoff = std::time::Duration::from_millis(1);
    })
    .await?;
    let mut client = proxy.client().await?;
    let request = client.request(Method::POST, "/v1/chat/completions");
    let request = request.header("content-type", "application/json");
    let answer = client.fetch(request, chat_body(false)).await?;
    let attempts = proxy.attempts()?;
    let row: KeyRow = proxy.engine.rotor().snapshot(Timestamp::now()).keys[0].clone();

    let expected = expected(case.meaning);
    let found = Expected {
        outcome: attempts[0].outcome,
        other_key: answer.header("x-kmi-key") == "key-2",
        state: row.state,
        reason: row.reason,
        ends: row.until.is_some(),
    };
    anyhow::ensure!(found == expected, "{case:?}\nis     {found:?}\nshould {expected:?}");
    anyhow::ensure!(attempts[0].status == Some(case.status), "{case:?}");
    if expected.other_key {
        anyhow::ensure!(answer.status == 200 && attempts.len() == 2, "{case:?}: {answer:?}");
    } else {
        let same = answer.status == case.status && answer.text() == case.body;
        anyhow::ensure!(same && attempts.len() == 1, "{case:?}: {answer:?}");
    }
    let others = proxy.engine.rotor().snapshot(Timestamp::now()).keys;
    anyhow::ensure!(others[1..].iter().all(|key| key.state.is_usable()), "{case:?}: {others:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_the_table_does_what_it_means() -> anyhow::Result<()> {
    assert!(rows().len() >= 40, "{}", rows().len());
    let mut running = JoinSet::new();
    let mut wrong = Vec::new();
    for case in rows().flat_map(cases) {
        running.spawn(drive(case));
        if running.len() >= AT_ONCE {
            wrong.extend(running.join_next().await.transpose()?.and_then(Result::err));
        }
    }
    while let Some(done) = running.join_next().await {
        wrong.extend(done?.err());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
