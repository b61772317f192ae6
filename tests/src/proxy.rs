//! A running proxy before a stand-in.

use std::sync::Arc;

use anyhow::Context as _;
use kmi_core::{
    state::Mode,
    trace::{Attempt, Record},
};
use kmi_proxy::{
    control::{self, Reply, Request},
    demo::{Scenario, StandIn},
    engine::Engine,
    home::Token,
    rotor::Setup,
    settings::{ProxySettings, RotationSettings, Settings, UpstreamSettings},
};
use kmi_stats::{
    report::Report,
    verify::{InFlight, Options, Verifier},
};
use parking_lot::Mutex;

use crate::{Client, Raw, TestHome, eventually};

/// A proxy on a home of its own, before a stand-in of its own; keys are called `key-1`, `key-2`, ….
#[derive(Debug)]
pub struct TestProxy {
    /// The home.
    pub home: TestHome,
    /// The upstream.
    pub upstream: StandIn,
    /// The proxy.
    pub engine: Engine,
    setup: Arc<Mutex<Setup>>,
}

impl TestProxy {
    /// Starts in auto mode with the scenario's keys and otherwise default settings.
    pub async fn start(scenario: Scenario) -> anyhow::Result<Self> {
        Self::start_with(scenario, |_| {}).await
    }

    /// Starts with settings that the test changes.
    pub async fn start_with(
        scenario: Scenario,
        change: impl FnOnce(&mut Settings),
    ) -> anyhow::Result<Self> {
        let home = TestHome::new()?;
        for (number, key) in scenario.keys.iter().enumerate() {
            home.write_key(&format!("key-{}.key", number + 1), &key.secret)?;
        }
        Self::start_in(home, scenario, change).await
    }

    /// Starts on a home whose keys the test has written.
    pub async fn start_in(
        home: TestHome,
        scenario: Scenario,
        change: impl FnOnce(&mut Settings),
    ) -> anyhow::Result<Self> {
        let upstream = StandIn::start(scenario).await?;
        let mut settings = settings(&upstream);
        change(&mut settings);
        let setup = Setup { settings, env_keys: Vec::new(), variables: Arc::new(|_| None) };
        let setup = Arc::new(Mutex::new(setup));
        let engine = Self::engine(&home, &setup).await?;
        Ok(Self { home, upstream, engine, setup })
    }

    /// Stops the proxy and starts it again on the same home.
    pub async fn restart(self) -> anyhow::Result<Self> {
        let Self { home, upstream, engine, setup } = self;
        engine.stop().await?;
        let engine = Self::engine(&home, &setup).await?;
        Ok(Self { home, upstream, engine, setup })
    }

    /// Changes the settings and lets the running proxy read them, as `kmi reload` does.
    pub async fn reconfigure(&self, change: impl FnOnce(&mut Settings)) -> anyhow::Result<Reply> {
        change(&mut self.setup.lock().settings);
        self.control(Request::Reload).await
    }

    async fn engine(home: &TestHome, setup: &Arc<Mutex<Setup>>) -> anyhow::Result<Engine> {
        let (first, again) = (setup.lock().clone(), Arc::clone(setup));
        let reread = Arc::new(move |_| Ok(again.lock().clone()));
        Engine::start(home.home(), first, reread).await.context("the proxy starts")
    }

    /// The token of the home.
    pub fn token(&self) -> anyhow::Result<Token> {
        Ok(self.home.home().token()?)
    }

    /// A client with a connection of its own and the right token.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.engine.address(), Some(self.token()?.expose())).await
    }

    /// Raw bytes to the proxy, on a connection of their own.
    pub async fn raw(&self) -> anyhow::Result<Raw> {
        Raw::connect(self.engine.address()).await
    }

    /// Calls the proxy over its control socket, as a command does.
    pub async fn control(&self, request: Request) -> anyhow::Result<Reply> {
        let socket = self.home.home().socket();
        Ok(tokio::task::spawn_blocking(move || control::call(&socket, &request)).await??)
    }

    /// Every attempt in the ledger, after everything that has ended is in it.
    pub fn attempts(&self) -> anyhow::Result<Vec<Attempt>> {
        self.settle()?;
        self.home.attempts()
    }

    /// Every attempt once there are `n`, which a request that ends on its own brings about.
    pub async fn attempts_when(&self, n: usize) -> anyhow::Result<Vec<Attempt>> {
        eventually(async || Ok(self.attempts()?.len() >= n)).await?;
        self.attempts()
    }

    /// Every record in the ledger, after everything that has ended is in it.
    pub fn records(&self) -> anyhow::Result<Vec<Record>> {
        self.settle()?;
        self.home.records()
    }

    /// Every line in the ledger, after everything that has ended is in it.
    pub fn lines(&self) -> anyhow::Result<Vec<String>> {
        self.settle()?;
        self.home.lines()
    }

    fn settle(&self) -> anyhow::Result<()> {
        let rotor = self.engine.rotor();
        tokio::task::block_in_place(|| rotor.settle())?;
        Ok(())
    }

    /// What the verifier says of the ledger, with nothing in flight.
    pub fn verify(&self) -> anyhow::Result<Report> {
        let mut verifier = Verifier::new(Options::default());
        for line in self.lines()? {
            verifier.line(line.as_bytes())?;
        }
        Ok(verifier.report(&InFlight::None))
    }
}

fn settings(upstream: &StandIn) -> Settings {
    Settings {
        proxy: ProxySettings { listen: ([127, 0, 0, 1], 0).into(), ..ProxySettings::default() },
        upstreams: vec![UpstreamSettings {
            base_url: upstream.base_url(),
            ..UpstreamSettings::default()
        }],
        rotation: RotationSettings { mode: Mode::Auto, ..RotationSettings::default() },
        ..Settings::default()
    }
}
