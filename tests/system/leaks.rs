//! A key is in its file and in its upstream's requests, and nowhere else.

use std::{fs, path::Path};

use http::Method;
use kmi_core::state::Mode;
use kmi_proxy::{
    control::Request,
    demo::{Act, ErrorAnswer, Scenario, StandInKey, When, errors},
};
use kmi_tests::{TestHome, TestProxy, eventually};

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

    /// Every file below a directory, but for the key files.
    fn files(&mut self, dir: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("_auths") {
                self.files(&path)?;
            } else if path.is_file() {
                self.add(path.display().to_string(), fs::read(&path)?);
            }
        }
        Ok(())
    }

    fn leaks(&self) -> Vec<String> {
        let has = |bytes: &[u8], key: &str| bytes.windows(key.len()).any(|at| at == key.as_bytes());
        let places = self.0.iter().filter(|(_, bytes)| KEYS.iter().any(|key| has(bytes, key)));
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
    let mut statuses = std::collections::BTreeSet::new();
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
    seen.files(proxy.home.home().root())?;
    let TestProxy { engine, home, .. } = proxy;
    engine.stop().await?;
    seen.files(home.home().root())?;

    assert!(seen.0.iter().any(|(place, _)| place.contains("state")), "files were looked at");
    assert_eq!(seen.leaks(), [""; 0]);
    Ok(())
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let mut seen = Seen::default();
    seen.add("here", format!("a {} b", KEYS[2]));
    seen.add("there", "nothing");
    assert_eq!(seen.leaks(), ["here"]);
}
