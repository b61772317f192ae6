//! What is simulated: keys, what their provider allows, who asks how often, and what goes wrong.
//!
//! The tables of a scenario file are these types; docs/scenarios has examples, and its README says
//! what each field means.

use kmi_core::state::Policy;
use kmi_proxy::settings::{OnExhausted, RotationSettings};
use serde::Deserialize;

use super::{
    span::{Rate, Span, Time, When},
    trouble::Trouble,
};

/// Most keys of a scenario.
pub(crate) const MAX_KEYS: u32 = 10_000;

/// A described population, and what it is put through.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scenario {
    /// The dice's seed: the same scenario and seed give the same schedule, to the byte.
    pub(crate) seed: u64,
    /// It ends after so many attempts; under `round-robin` each is a turn.
    pub(crate) turns: Option<u64>,
    /// It ends after so much simulated time.
    pub(crate) time: Option<Time>,
    pub(crate) rotation: Rules,
    pub(crate) load: Load,
    #[serde(rename = "key")]
    pub(crate) keys: Vec<KeyGroup>,
    #[serde(rename = "fail")]
    pub(crate) fails: Vec<Fail>,
}

/// `[rotation]`: as in kmi's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rules {
    pub(crate) policy: Policy,
    pub(crate) failover: bool,
    pub(crate) max_attempts: u32,
    pub(crate) on_exhausted: OnExhausted,
    pub(crate) max_wait: Time,
}

/// `[load]`: who asks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Load {
    /// Clients that each ask, read the answer, pause and ask again.
    pub(crate) clients: u32,
    /// The pause.
    pub(crate) think: Span,
    /// Instead: requests come at this rate, by chance, whether answers come or not.
    pub(crate) rate: Option<Rate>,
    /// A session has so many requests; then its client begins a new one.
    pub(crate) session: u32,
    /// Prompt tokens of a session's first request, …
    pub(crate) prompt_tokens: u64,
    /// … and how many more each further one has.
    pub(crate) prompt_growth: u64,
    pub(crate) completion_tokens: u64,
    /// An account's cache holds what a session sent for so long.
    pub(crate) cache: Time,
}

/// `[[key]]`: a number of keys that are alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyGroup {
    /// Their label; with a `count` it is followed by a number.
    pub(crate) label: String,
    pub(crate) count: Option<u32>,
    pub(crate) weight: u32,
    pub(crate) priority: i32,
    /// All keys of one account share what the provider allows; without one each has its own.
    pub(crate) account: Option<String>,
    /// Limits that kmi is told, as in a key file.
    pub(crate) rpm: Option<u32>,
    pub(crate) tpm: Option<u32>,
    pub(crate) concurrency: Option<u32>,
    /// How long answers take.
    pub(crate) latency: Span,
    /// The share of attempts, 0 to 1, that end in a 500.
    pub(crate) errors: f64,
    pub(crate) provider: Allowance,
}

/// `[key.provider]`: what the provider allows an account; kmi learns of it by being refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Allowance {
    /// Requests in any 60 s.
    pub(crate) rpm: Option<u32>,
    /// Requests at once.
    pub(crate) concurrency: Option<u32>,
    /// Requests and tokens of a window, which begins with the first request after the last one.
    pub(crate) requests: Option<u64>,
    pub(crate) tokens: Option<u64>,
    pub(crate) window: Option<Time>,
}

/// `[[fail]]`: something goes wrong for a while.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fail {
    /// A key's label or its number from 1; `*` is every key.
    pub(crate) key: String,
    pub(crate) at: When,
    #[serde(default)]
    pub(crate) with: Trouble,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            turns: None,
            time: None,
            rotation: Rules::default(),
            load: Load::default(),
            keys: Vec::new(),
            fails: Vec::new(),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        let settings = RotationSettings::default();
        Self {
            policy: settings.policy,
            failover: settings.failover,
            max_attempts: settings.max_attempts,
            on_exhausted: settings.on_exhausted,
            max_wait: settings.max_wait.into(),
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients: 4,
            think: Span::of(0, 2_000),
            rate: None,
            session: 20,
            prompt_tokens: 12_000,
            prompt_growth: 1_500,
            completion_tokens: 600,
            cache: Time(300_000),
        }
    }
}

impl Default for KeyGroup {
    fn default() -> Self {
        Self {
            label: "k".to_owned(),
            count: None,
            weight: 1,
            priority: 0,
            account: None,
            rpm: None,
            tpm: None,
            concurrency: None,
            latency: Span::of(2_000, 8_000),
            errors: 0.0,
            provider: Allowance::default(),
        }
    }
}

impl KeyGroup {
    /// So many keys that are alike, labelled k1, k2, …
    pub(crate) fn of(count: u32) -> Self {
        Self { count: Some(count), ..Self::default() }
    }

    /// The labels of its keys.
    pub(crate) fn labels(&self) -> impl Iterator<Item = String> + '_ {
        let numbered = (1..=self.count.unwrap_or(0)).map(|n| format!("{}{n}", self.label));
        self.count.is_none().then(|| self.label.clone()).into_iter().chain(numbered)
    }

    fn size(&self) -> u32 {
        self.count.unwrap_or(1)
    }
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// The text of what is wrong with it, with its line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!("line {}: {}", before.matches('\n').count() + 1, error.message())
        })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Gives the keys these weights, in their order; each key then stands alone.
    ///
    /// # Errors
    /// When there are not as many weights as keys.
    pub(crate) fn weigh(&mut self, weights: &[u32]) -> Result<(), String> {
        let alone = |group: &KeyGroup| -> Vec<KeyGroup> {
            let one = |label| KeyGroup { label, count: None, ..group.clone() };
            group.labels().map(one).collect()
        };
        self.keys = self.keys.iter().flat_map(alone).collect();
        if self.keys.len() != weights.len() {
            let (keys, weights) = (self.keys.len(), weights.len());
            return Err(format!("there are {weights} weights for {keys} keys"));
        }
        for (key, weight) in self.keys.iter_mut().zip(weights) {
            key.weight = *weight;
        }
        Ok(())
    }

    /// What no type can say.
    ///
    /// # Errors
    /// The text of what cannot be simulated.
    pub(crate) fn check(&self) -> Result<(), String> {
        let keys: u64 = self.keys.iter().map(|group| u64::from(group.size())).sum();
        if !(1..=u64::from(MAX_KEYS)).contains(&keys) {
            return Err(format!("there are {keys} keys; 1 to {MAX_KEYS} can be simulated"));
        }
        if self.keys.iter().any(|group| group.weight == 0) {
            return Err("a key has weight 0".to_owned());
        }
        if self.keys.iter().any(|group| !(0.0..=1.0).contains(&group.errors)) {
            return Err("`errors` is a share from 0 to 1".to_owned());
        }
        if self.load.clients == 0 || self.load.clients > 100_000 {
            return Err("`clients` is a number from 1 to 100000".to_owned());
        }
        if self.load.session == 0 || self.rotation.max_attempts == 0 {
            return Err("`session` and `max_attempts` are at least 1".to_owned());
        }
        let limited = |it: &Allowance| it.requests.is_some() || it.tokens.is_some();
        let windows = self.keys.iter().map(|group| &group.provider);
        if windows.clone().any(|it| limited(it) && it.window.is_none_or(|window| window.0 == 0)) {
            return Err("`requests` and `tokens` of a provider need a `window`".to_owned());
        }
        Ok(())
    }
}
