//! A bug in the middle of a request harms that request only; what this machine lacks harms no other.

use std::{fs, os::unix::fs::OpenOptionsExt as _, sync::Arc};

use jiff::Timestamp;
use kmi_core::{state::Mode, trace::Line};
use kmi_health::classify::Effect;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{attempt::Attempt, judge};
use crate::{
    demo::{Scenario, StandIn},
    engine::Engine,
    home::Home,
    rotor::Setup,
    settings::{RotationSettings, Settings, UpstreamSettings},
    upstream::SendError,
};

const CLIENTS: usize = 8;

/// Stands in the request's path, between the choice of a key and the sending.
pub(super) fn panic_if_asked(attempt: &Attempt) {
    let facts = attempt.facts();
    assert!(&*facts.path != "/panic", "{:?} {:?}", facts, attempt.picked().key);
}

#[test]
fn a_shortage_of_this_machine_blames_nobody() {
    let effect = |error| judge::failure(&error).0.effect;
    assert_eq!(effect(SendError::NoRoom("too many open files".into())), Effect::None);
    assert!(matches!(effect(SendError::Connect("refused".into())), Effect::Upstream(_)));
}

/// Sends one request on a connection of its own and reads to the connection's end.
async fn ask(engine: &Engine, path: &str) -> String {
    let mut stream = TcpStream::connect(engine.address()).await.unwrap();
    let token = engine.rotor().home().token().unwrap();
    let request = format!(
        "GET /kmi-rotor/v1/{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\n\r\n",
        engine.address(),
        token.expose()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_request_harms_no_other() {
    let upstream = StandIn::start(Scenario::healthy(2)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    home.create().unwrap();
    for (number, key) in upstream.scenario().keys.iter().enumerate() {
        let path = home.auths_dir().join(format!("k{}.key", number + 1));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
        std::io::Write::write_all(&mut file, key.secret.as_bytes()).unwrap();
    }
    let mut settings = Settings {
        upstreams: vec![UpstreamSettings {
            base_url: upstream.base_url(),
            ..UpstreamSettings::default()
        }],
        rotation: RotationSettings { mode: Mode::Auto, ..RotationSettings::default() },
        ..Settings::default()
    };
    settings.proxy.listen = ([127, 0, 0, 1], 0).into();
    let setup = Setup { settings, env_keys: Vec::new(), variables: Arc::new(|_| None) };
    let again = setup.clone();
    let reread = Arc::new(move |_| Ok(again.clone()));
    let engine = Engine::start(home.clone(), setup, reread).await.unwrap();

    for _ in 0..CLIENTS {
        let (ended, other) = tokio::join!(ask(&engine, "panic"), ask(&engine, "models"));
        assert_eq!(ended, "", "the connection ends, and nothing else comes");
        assert!(other.starts_with("HTTP/1.1 200 OK\r\n"), "{other}");
    }
    let keys = engine.rotor().snapshot(Timestamp::now()).keys;
    assert!(keys.iter().all(|key| key.in_flight == 0 && key.state.as_str() == "healthy"));
    engine.stop().await.unwrap();

    let reader = crate::ledger::Reader::open(home.state_dir()).unwrap();
    let (first, last) = reader.span().unwrap().unwrap();
    let mut ends = Vec::new();
    for line in reader.lines(first, last) {
        if let Some(kmi_core::trace::Record::Attempt(attempt)) =
            Line::parse(line.unwrap().text.as_bytes()).unwrap().record
        {
            let why = attempt.error.map(|error| error.to_string()).unwrap_or_default();
            ends.push((attempt.outcome.as_str(), why));
        }
    }
    let bugs = ends.iter().filter(|(outcome, why)| {
        *outcome == "client_gone" && why == "a bug in kmi ended the request"
    });
    assert_eq!((bugs.count(), ends.len()), (CLIENTS, 2 * CLIENTS), "{ends:?}");
}
