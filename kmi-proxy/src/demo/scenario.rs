//! What a stand-in does, as plain data: its keys, what goes wrong with them and when, and how
//! large and how fast its answers are.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;

use super::errors::{self, ErrorAnswer};

/// Everything that a stand-in does.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The keys it knows; every other one is answered 401.
    pub keys: Vec<StandInKey>,
    /// How answers look where nothing else is said.
    pub shape: Shape,
    /// Asked first for every request with a known key; `None` from it leaves the choice to the
    /// key's faults.
    pub decide: Option<Decide>,
    /// Requests that are remembered; older ones are forgotten. 0 remembers none.
    pub remembered: usize,
}

impl Scenario {
    /// `n` keys that always work, each of its own account, with short answers at full speed.
    pub fn healthy(n: usize) -> Self {
        let keys = (1..=n).map(StandInKey::numbered).collect();
        Self { keys, shape: Shape::default(), decide: None, remembered: 10_000 }
    }

    /// What `kmi demo` shows: seven keys, the third rate limited for its requests 3 to 5 with a
    /// wait of 1 s each, the fifth out of quota from its 5th request on for 2 s.
    pub fn demo() -> Self {
        let mut demo = Self::healthy(7);
        let refused = errors::TOO_MANY_REQUESTS.with_header("retry-after", "1");
        demo.keys[2].faults.push(Fault::new(When::Requests(3..6), Act::Error(refused)));
        let spent = Act::Error(errors::PERIOD_SPENT);
        let when = When::Span { from: 5, lasts: Duration::from_secs(2) };
        demo.keys[4].faults.push(Fault::new(when, spent));
        demo
    }

    /// Adds a fault to key `index` (from 0); without such a key nothing happens.
    #[must_use]
    pub fn with_fault(mut self, index: usize, when: When, act: Act) -> Self {
        if let Some(key) = self.keys.get_mut(index) {
            key.faults.push(Fault::new(when, act));
        }
        self
    }

    /// Answers in another shape.
    #[must_use]
    pub fn with_shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Asks `decide` first for every request with a known key.
    #[must_use]
    pub fn deciding(
        mut self,
        decide: impl Fn(&Asked<'_>) -> Option<Act> + Send + Sync + 'static,
    ) -> Self {
        self.decide = Some(Decide(Arc::new(decide)));
        self
    }
}

/// One key that the stand-in knows.
#[derive(Debug, Clone)]
pub struct StandInKey {
    /// The text of the credential.
    pub secret: Arc<str>,
    /// Whose it is: keys of one account share files, usage and concurrency.
    pub account: Arc<str>,
    /// What goes wrong; the first one that is active counts.
    pub faults: Vec<Fault>,
    /// How much of its 5-hour window is used, in percent, unless a fault says that it is spent.
    pub used_5h: u8,
    /// How much of its week is used, in percent.
    pub used_7d: u8,
}

impl StandInKey {
    /// A working key of its own account: `sk-demo-key-0001` for 1.
    pub fn numbered(n: usize) -> Self {
        // kmi shows the beginning of what it learns of accounts.
        let account: Arc<str> = format!("{n:04}-account").into();
        Self { account, ..Self::of_its_own(format!("sk-demo-key-{n:04}").into()) }
    }

    /// A working key whose account is called as the key is.
    pub fn of_its_own(secret: Arc<str>) -> Self {
        let account = Arc::clone(&secret);
        Self { secret, account, faults: Vec::new(), used_5h: 15, used_7d: 40 }
    }
}

/// Something that goes wrong with a key.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The requests it is about; only these are counted for `when`.
    pub only: Only,
    /// When it is active.
    pub when: When,
    /// What is done instead of the ordinary answer.
    pub act: Act,
}

impl Fault {
    /// A fault of inference requests.
    pub fn new(when: When, act: Act) -> Self {
        Self { only: Only::Inference, when, act }
    }
}

/// The requests that a fault is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Only {
    /// Every request.
    All,
    /// What costs tokens: chat, messages, responses, embeddings.
    Inference,
    /// Inference with this model.
    Model(String),
    /// Paths with this end.
    Path(String),
}

/// When a fault is active. Requests are counted from 1, for each fault on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At every request.
    Always,
    /// While the account has more than this many requests under way, this one included.
    Busy(usize),
    /// At these requests: `3..6` is the 3rd, 4th and 5th.
    Requests(Range<u64>),
    /// From the `from`-th request on, for so long.
    Span {
        /// The first request that meets the fault; its arrival starts the time.
        from: u64,
        /// How long requests are met by it.
        lasts: Duration,
    },
}

/// What a stand-in does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// The ordinary answer, in another shape.
    Answer(Shape),
    /// Closes the connection without an answer.
    Close,
    /// Breaks the answer's body off after so many pieces, without its end.
    CutAfter(usize),
    /// Answers with an error of Kimi's.
    Error(ErrorAnswer),
    /// Answers with exactly this.
    Reply(Reply),
    /// Resets the connection without an answer.
    Reset,
    /// Resets the connection after so many pieces of the answer's body.
    ResetAfter(usize),
    /// Waits before the head of the ordinary answer.
    SlowHead(Duration),
    /// Sends so many pieces of the ordinary answer's body, waits, and goes on.
    StallAfter(usize, Duration),
}

/// An answer spelled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Header names and values; `content-type` is among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// How large and how fast an ordinary answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// What the model says.
    pub text: Arc<str>,
    /// Into how many pieces a stream cuts that text (at least one; no more than it has
    /// characters).
    pub chunks: usize,
    /// The pause between two events of a stream.
    pub delay: Duration,
    /// Prompt tokens that are reported, cached ones included.
    pub prompt_tokens: u64,
    /// Prompt tokens that are said to come out of the cache.
    pub cached_tokens: u64,
    /// Completion tokens that are reported.
    pub completion_tokens: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            text: "pong from the stand-in".into(),
            chunks: 4,
            delay: Duration::ZERO,
            prompt_tokens: 1200,
            cached_tokens: 1000,
            completion_tokens: 34,
        }
    }
}

impl Shape {
    /// An answer of `bytes` bytes of text in `chunks` pieces, `delay` apart.
    pub fn sized(bytes: usize, chunks: usize, delay: Duration) -> Self {
        let text: String = "pong ".chars().cycle().take(bytes).collect();
        Self { text: text.into(), chunks, delay, ..Self::default() }
    }
}

/// A request with a known key, as a [`Decide`] sees it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its number since the start or the last reset, from 1, in order of arrival.
    pub seq: u64,
    /// The key.
    pub key: &'a StandInKey,
    /// How many requests came with this key so far, this one included.
    pub key_requests: u64,
    /// The method.
    pub method: &'a str,
    /// The path, without its query.
    pub path: &'a str,
    /// The model that the body names.
    pub model: Option<&'a str>,
    /// Whether the body asks for a stream.
    pub stream: bool,
    /// The headers.
    pub headers: &'a http::HeaderMap,
    /// The body.
    pub body: &'a Bytes,
}

/// The hook that decides what is done with a request.
#[derive(Clone)]
pub struct Decide(pub Arc<DecideFn>);

/// The function in a [`Decide`].
pub type DecideFn = dyn Fn(&Asked<'_>) -> Option<Act> + Send + Sync;

impl fmt::Debug for Decide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decide(…)")
    }
}
