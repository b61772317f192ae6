//! A key is in its file and in its upstream's requests, and nowhere else.

use std::collections::BTreeSet;

use http::Method;
use kmi_core::state::Mode;
use kmi_proxy::{
    control::Request,
    demo::{Act, ErrorAnswer, Scenario, StandInKey, When, errors},
};
use kmi_tests::{Canaries, TestHome, TestProxy, eventually};

const KEYS: [&str; 5] = [
    "sk-canary-aaaaaaaaaaaaaaaaaaaaaaaaaaaa0001",
    "sk-kimi-canary/bbbbbbbbbb+bbbbbbbbbbbb=0002",
    "canary-without-prefix-ccccccccccccccc-0003",
    "sk-canary-dddddddddddddddddddddddddddd0004",
    "!canary!with.odd:characters~eeeeeeee%-0005",
];

/// All that was seen, with where it was seen.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn leaks(&self) -> Vec<String> {
        let canaries = Canaries::new(KEYS);
        let places = self.0.iter().filter(|(_, bytes)| canaries.are_in(bytes));
        places.map(|(place, _)| place.clone()).collect()
    }
}

/// Providers that echo the key that they refuse.
fn echo(status: u16, key: &str) -> Act {
    let error = ErrorAnswer::new(status, "invalid_authentication_error", "");
    let error = error.with_message(format!("Incorrect API key provided: {key} (key={key})."));
    Act::Error(error.with_header("x-key", key))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_seen_anywhere_else() -> anyhow::Result<()> {
    let mut scenario = Scenario::healthy(0);
    let own = |(number, key): (usize, &&str)| StandInKey {
        secret: (*key).into(),
        ..StandInKey::numbered(number)
    };
    scenario.keys = KEYS.iter().enumerate().map(own).collect();
    let scenario = scenario
        .with_fault(1, When::Requests(1..2), echo(500, KEYS[1]))
        .with_fault(2, When::Requests(1..3), echo(400, KEYS[2]))
        .with_fault(3, When::Requests(2..9), echo(401, KEYS[3]))
        .with_fault(4, When::Requests(1..2), echo(429, KEYS[4]))
        .with_fault(4, When::Requests(3..4), Act::Error(errors::WEEK_SPENT))
        .with_fault(0, When::Requests(2..3), Act::Close);
    let home = TestHome::new()?;
    for (number, key) in KEYS.iter().enumerate() {
        home.write_key(&format!("key-{number}.key"), key)?;
    }
    let proxy = TestProxy::start_in(home, scenario, |_| {}).await?;

    let mut seen = Seen::default();
    let mut client = proxy.client().await?;
    let mut statuses = BTreeSet::new();
    for turn in 0..30 {
        let answer = client.chat(turn % 2 == 0).await?;
        statuses.insert(answer.status.as_u16());
        seen.add(format!("answer {turn}"), answer.body.to_vec());
        seen.add(format!("headers {turn}"), format!("{:?}", answer.headers));
    }
    assert!(statuses.is_superset(&[200, 400, 500, 502].into()), "{statuses:?}");
    for path in ["/v1/models", "/v1/me", "/v1/usages", "/healthz", "/nothing"] {
        let request = client.request(Method::GET, path);
        let answer = client.fetch(request, "").await?;
        seen.add(path, format!("{:?} {}", answer.headers, answer.text()));
    }

    // A key file that is refused names its key nowhere either.
    proxy.home.write_key("bad.toml", &format!("api_key = \"{}\"\nwieght = 1\n", KEYS[0]))?;
    proxy.home.write_key("worse.toml", &format!("api_key \"{}\"\n", KEYS[1]))?;
    eventually(async || Ok(proxy.engine.rotor().problems().len() >= 2)).await?;
    for request in [
        Request::Status,
        Request::InFlight,
        Request::Reload,
        Request::Rotate { key: None },
        Request::Rotate { key: Some("key-4".to_owned()) },
        Request::Switch { key: "key-4".to_owned(), on: true },
        Request::Mode { mode: Mode::Auto },
    ] {
        let asked = format!("{request:?}");
        seen.add(asked, format!("{:?}", proxy.control(request).await?));
    }
    seen.add("debug of the engine", format!("{:?} {:#?}", proxy.engine, proxy.engine));
    seen.add("debug of the pools", format!("{:?}", proxy.engine.rotor().proxy().live()));
    seen.add("trace", proxy.lines()?.join("\n"));
    assert_eq!(seen.leaks(), [""; 0]);
    // The files are looked at while it runs and afterwards, as those of every test are.
    let (files, root) = (Canaries::new(KEYS), proxy.home.home().root().to_owned());
    assert_eq!(files.files_with_one(&root), [""; 0]);
    let TestProxy { engine, home, .. } = proxy;
    engine.stop().await?;
    assert_eq!(files.files_with_one(&root), [""; 0]);
    drop(home);
    Ok(())
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let mut seen = Seen::default();
    seen.add("here", format!("a {} b", KEYS[2]));
    seen.add("there", "nothing");
    assert_eq!(seen.leaks(), ["here"]);
}

/// A provider that puts keys wherever kmi reads: into good answers' headers, into ids of files, and
/// into what it says of quotas and accounts.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_is_searched_before_it_is_kept() -> anyhow::Result<()> {
    const OWN: &str = "sk-canary-in-an-answer-aaaaaaaaaaaaaaaa-0001";
    const OTHER: &str = "sk-canary-of-another-bbbbbbbbbbbbbbbbbb-0002";
    let mut scenario = Scenario::healthy(2);
    scenario.keys[0].secret = OWN.into();
    scenario.keys[1].secret = OTHER.into();
    let scenario = scenario.deciding(|asked| {
        let (status, body) = match asked.path.rsplit('/').next()? {
            "files" => (200, serde_json::json!({ "id": OTHER, "object": "file" })),
            "usages" => (403, serde_json::json!({ "error": { "message": format!("no {OTHER}") } })),
            _ => (200, serde_json::json!({ "object": "list" })),
        };
        let headers = [("x-echo", OWN), ("msh-uid", OWN), ("content-type", "application/json")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Some(Act::Reply(kmi_proxy::demo::Reply { status, headers, body: body.to_string().into() }))
    });
    let home = TestHome::new()?;
    home.write_key("key-1.key", OWN)?;
    let proxy = TestProxy::start_in(home, scenario, |_| {}).await?;
    let mut client = proxy.client().await?;
    let request = client.request(Method::GET, "/v1/models");
    let answer = client.fetch(request, "").await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-key")), (200, "key-1"));
    assert!(!Canaries::new([OWN]).are_in(format!("{:?}", answer.headers).as_bytes()));
    assert_eq!(answer.headers["x-echo"].as_bytes(), "sk-…0001".as_bytes());

    proxy.home.write_key("key-2.key", OTHER)?;
    eventually(async || {
        Ok(proxy.engine.rotor().proxy().live().pools[0].inventory().keys().len() == 2)
    })
    .await?;
    let request = client.request(Method::POST, "/v1/files");
    assert!(client.fetch(request, "x").await?.text().contains(OTHER), "good bodies pass untouched");
    let tested = format!("{:?}", proxy.control(Request::Test { key: None }).await?);
    assert!(tested.contains("sk-…0002"), "{tested}");
    let status = format!("{:?}", proxy.control(Request::Status).await?);
    let canaries = Canaries::new([OWN, OTHER]);
    let lines = proxy.lines()?.join("\n");
    assert!(!canaries.are_in((tested + &status + &lines).as_bytes()));
    // The home is searched when it goes.
    proxy.restart().await?;
    Ok(())
}
