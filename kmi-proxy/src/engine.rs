//! A running proxy: a rotor with a listener, a control socket and watched key files around it.
//!
//! `kmi serve`, `kmi run` and `kmi demo` run it; so do tests and benches.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    control::{Control, Failure, Handler, Reloaded, Reply, Request, Status},
    feed::{Feed, Source},
    home::Home,
    keys::Watcher,
    ledger::{LedgerError, Reader, Subscription},
    quota_poll,
    rotor::{InFlight, Rotor, RotorError, Setup},
    server::{Order, Orders, Server},
    upstream::{Upstream, UpstreamError},
};

/// How long attempts that are cut off may take to report themselves.
const CUT_OFF: Duration = Duration::from_secs(1);
/// How long those who watch may take to read the last lines.
const FAREWELL: Duration = Duration::from_secs(1);

/// Makes the setup anew at a reload, or says what is wrong with it.
pub type Reread = Arc<dyn Fn() -> Result<Setup, Failure> + Send + Sync>;

/// Makes sure that another program can take this one's place, or says why not. May block.
pub type Replaceable = Box<dyn Fn() -> Result<(), Failure> + Send + Sync>;

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The rotor.
    #[error(transparent)]
    Rotor(#[from] RotorError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot make the control socket {}: {source}", path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The runtime failed.
    #[error("the proxy's start was interrupted")]
    Interrupted,
}

/// A running proxy.
#[derive(Debug)]
pub struct Engine {
    desk: Arc<Desk>,
    address: SocketAddr,
    orders: Orders,
    serving: JoinHandle<Option<TcpListener>>,
    control: JoinHandle<()>,
    polling: JoinHandle<()>,
    painting: JoinHandle<()>,
}

/// What the control socket and the key watcher act on.
struct Desk {
    rotor: Rotor,
    reread: Reread,
    orders: Orders,
    /// Set where whoever runs the proxy can have another program take its place.
    replaceable: OnceLock<Replaceable>,
    /// One reload at a time.
    reloading: Mutex<()>,
    /// How the newest reload went.
    reloaded: watch::Sender<Option<Reply>>,
    /// `None` when files cannot be watched; `kmi reload` still reads them.
    watcher: Mutex<Option<Watcher>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("rotor", &self.rotor).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts: when this returns, requests are served.
    pub async fn start(home: Home, setup: Setup, reread: Reread) -> Result<Self, EngineError> {
        Self::start_on(home, setup, reread, None).await
    }

    /// Starts on a listener that was handed over, if there is one; else on the configured address.
    pub async fn start_on(
        home: Home,
        setup: Setup,
        reread: Reread,
        listener: Option<TcpListener>,
    ) -> Result<Self, EngineError> {
        // Watching begins before the first reading, so that no change falls in between.
        let (watcher, desk_of_watcher) = watch_keys(&home);
        let started = Self::start_watched(home, setup, reread, listener, watcher).await;
        let desk = started.as_ref().map_or_else(|_| Weak::new(), |it| Arc::downgrade(&it.desk));
        let _ = desk_of_watcher.set(desk);
        started
    }

    async fn start_watched(
        home: Home,
        setup: Setup,
        reread: Reread,
        listener: Option<TcpListener>,
        watcher: Option<Watcher>,
    ) -> Result<Self, EngineError> {
        let open = move || Rotor::open(home, setup, Timestamp::now());
        let rotor = tokio::task::spawn_blocking(open).await;
        let rotor = rotor.map_err(|_| EngineError::Interrupted)??;
        let listen = rotor.proxy().live().settings.proxy.listen;
        let refused = |source| EngineError::Listen { address: listen, source };
        let server = Server::bind(Arc::clone(rotor.proxy()), listener).await.map_err(refused)?;
        let address = server.address().map_err(refused)?;
        rotor.set_listening(address);
        let path = rotor.home().socket();
        let control =
            Control::bind(&path).map_err(|source| EngineError::Control { path, source })?;

        let (orders, ordered) = watch::channel(Order::Serve);
        let desk = Arc::new(Desk {
            rotor,
            reread,
            orders: orders.clone(),
            replaceable: OnceLock::new(),
            reloading: Mutex::default(),
            reloaded: watch::Sender::default(),
            watcher: Mutex::new(watcher),
        });
        desk.watch_targets();
        let serving = tokio::spawn(server.run(ordered));
        let control = tokio::spawn(control.run(Arc::clone(&desk)));
        let feed = desk.feed();
        let weak = Arc::downgrade(&desk);
        feed.connect(weak);
        let painting = tokio::spawn(feed.run());
        let polling = tokio::spawn(quota_poll::run(Arc::clone(desk.rotor.proxy())));
        Ok(Self { desk, address, orders, serving, control, polling, painting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The rotor inside.
    pub fn rotor(&self) -> &Rotor {
        &self.desk.rotor
    }

    /// Reads keys and configuration again, as `kmi reload` does.
    pub async fn reload(&self) {
        let desk = Arc::clone(&self.desk);
        // Reading files blocks, and the runtime may have one thread only.
        let _ = tokio::task::spawn_blocking(move || desk.answer(Request::Reload)).await;
    }

    /// How the newest reload went, whoever asked for it (changed files, too); `None` before the
    /// first.
    pub fn reloads(&self) -> watch::Receiver<Option<Reply>> {
        self.desk.reloaded.subscribe()
    }

    /// A handle that stops it.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// From now on another program can be asked to take this one's place; whoever runs the proxy
    /// sees to it when it gets a listener from [`Engine::stop_or_cut`].
    pub fn allow_replacement(&self, check: Replaceable) {
        // Whoever came first stays: there is one who runs the proxy.
        let _ = self.desk.replaceable.set(check);
    }

    /// Runs until it is told to stop (by [`Engine::orders`] or over the control socket), lets
    /// requests end, and writes the last lines of the trace.
    pub async fn wait(self) -> Result<(), LedgerError> {
        self.wait_or_cut(std::future::pending()).await.map(drop)
    }

    /// The same; but when `hurry` ends first, what still runs is cut off, and the trace says so.
    /// Gives the listener back when another program is to take this one's place.
    pub async fn wait_or_cut(
        self,
        hurry: impl Future<Output = ()>,
    ) -> Result<Option<TcpListener>, LedgerError> {
        let Self { desk, mut serving, control, polling, painting, .. } = self;
        let listener = tokio::select! {
            // A panic in the accept loop ends serving like a stop does; the ledger is closed the
            // same.
            served = &mut serving => served.ok().flatten(),
            () = hurry => {
                desk.rotor.proxy().phase().end();
                serving.abort();
                let _ = serving.await;
                desk.attempts_reported().await;
                None
            }
        };
        // Not before: `kmi run` waits here from the start, and quota is polled all the while.
        polling.abort();
        painting.abort();
        // Whoever finds the socket gone (`kmi stop` does) finds the whole trace on the disk.
        let settling = Arc::clone(&desk);
        let _ = tokio::task::spawn_blocking(move || settling.rotor.settle().map(drop)).await;
        control.abort();
        let _ = control.await;
        desk.watcher.lock().take();
        let feed = desk.feed();
        let closed = tokio::task::spawn_blocking(move || match Arc::try_unwrap(desk) {
            Ok(desk) => desk.rotor.close(),
            // A caller on the control socket still has it: what waits is written all the same.
            Err(desk) => desk.rotor.settle().map(drop),
        });
        let closed = closed.await.unwrap_or(Ok(()));
        feed.watchers_gone(FAREWELL).await;
        closed.map(|()| listener)
    }

    /// Stops, unless it has its orders already, and waits; when `hurry` ends first, what still runs
    /// is cut off. Gives the listener back when another program is to take this one's place.
    pub async fn stop_or_cut(
        self,
        hurry: impl Future<Output = ()>,
    ) -> Result<Option<TcpListener>, LedgerError> {
        self.desk.order(Order::Stop);
        self.wait_or_cut(hurry).await
    }

    /// Stops and waits.
    pub async fn stop(self) -> Result<(), LedgerError> {
        self.desk.order(Order::Stop);
        self.wait().await
    }
}

/// Keys are read again when their files change; the desk that does it is handed in later.
fn watch_keys(home: &Home) -> (Option<Watcher>, Arc<OnceLock<Weak<Desk>>>) {
    let watched: Arc<OnceLock<Weak<Desk>>> = Arc::default();
    let desk = Arc::clone(&watched);
    let changed = move || {
        if let Some(desk) = desk.wait().upgrade() {
            desk.reload();
        }
    };
    let files = watched_files(home, Vec::new());
    (Watcher::start(home.auths_dir().to_owned(), files, changed).ok(), watched)
}

fn watched_files(home: &Home, mut targets: Vec<PathBuf>) -> Vec<PathBuf> {
    targets.push(home.env_file());
    targets
}

impl Desk {
    /// The first order counts.
    fn order(&self, order: Order) {
        self.orders.send_if_modified(|now| {
            let first = *now == Order::Serve;
            if first {
                *now = order;
            }
            first
        });
    }

    fn hand_over(&self) -> Reply {
        let Some(check) = self.replaceable.get() else {
            return Reply::Failed(Failure {
                message: "the proxy runs inside another command".to_owned(),
                hint: Some("it ends with that command; for one that stays use `kmi serve`".into()),
            });
        };
        // What is on the disk must be good for a start: the next program reads it.
        let good = (self.reread)().and_then(|setup| can_start(&setup)).and_then(|()| check());
        if let Err(failure) = good {
            return Reply::Failed(failure);
        }
        self.rotor.proxy().phase().leave();
        self.order(Order::HandOver);
        Reply::Done
    }

    /// Watches what lies outside the key directory: `.env`, and files that keys point to.
    fn watch_targets(&self) {
        if let Some(watcher) = &*self.watcher.lock() {
            watcher.set_files(watched_files(self.rotor.home(), self.rotor.key_targets()));
        }
    }

    /// Waits until the attempts of aborted connections have reported themselves: an aborted task
    /// is dropped by its worker a little later.
    async fn attempts_reported(&self) {
        let running = || {
            let keys = self.rotor.snapshot(Timestamp::now()).keys;
            keys.iter().any(|key| key.in_flight > 0)
        };
        let deadline = Instant::now() + CUT_OFF;
        while running() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn reload(&self) -> Reply {
        let _one = self.reloading.lock();
        let reply = self.reload_alone();
        self.reloaded.send_replace(Some(reply.clone()));
        reply
    }

    fn reload_alone(&self) -> Reply {
        let now = Timestamp::now();
        let refused = |error: RotorError| Failure { message: error.to_string(), hint: None };
        let reloaded =
            (self.reread)().and_then(|setup| self.rotor.reload(setup, now).map_err(refused));
        // Whatever is wrong with the configuration, keys that came and went do count.
        if reloaded.is_err() {
            let _ = self.rotor.reload_keys(now);
        }
        self.watch_targets();
        let keys = match reloaded {
            Ok(keys) => keys,
            Err(failure) => return Reply::Failed(failure),
        };
        let problems = self.rotor.told_problems();
        let waiting = self.rotor.waiting_for_start().into_iter();
        let at_next_start = waiting.map(str::to_owned).collect();
        Reply::Reloaded(Reloaded { keys, problems, at_next_start })
    }
}

/// Whether what a start reads beside the configuration is there.
fn can_start(setup: &Setup) -> Result<(), Failure> {
    let refused = |error: UpstreamError| Failure {
        message: error.to_string(),
        hint: Some("`kmi config check` shows it all; this one goes on".to_owned()),
    };
    setup.settings.upstreams.iter().try_for_each(|it| Upstream::new(it).map(drop)).map_err(refused)
}

impl Handler for Desk {
    fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Reload => {
                self.rotor.forget_answers();
                self.reload()
            }
            Request::HandOver => self.hand_over(),
            Request::Stop => {
                self.order(Order::Stop);
                Reply::Done
            }
            request => self.rotor.answer(request, Timestamp::now()),
        }
    }

    fn feed(&self) -> Feed {
        self.rotor.proxy().feed.clone()
    }
}

impl Source for Desk {
    fn status(&self, now: Timestamp) -> Status {
        self.rotor.status(now)
    }

    fn in_flight(&self) -> HashMap<Arc<str>, InFlight> {
        self.rotor.in_flight()
    }

    fn subscribe(&self) -> Subscription {
        self.rotor.subscribe()
    }

    fn reader(&self) -> Option<Reader> {
        Reader::open(self.rotor.home().state_dir()).ok()
    }
}
