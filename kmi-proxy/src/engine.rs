//! A running proxy: a rotor with a listener, a control socket and watched key files around it.
//!
//! `kmi serve`, `kmi run` and `kmi demo` run it; so do tests and benches.

mod desk;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};

use self::desk::{Desk, watched_files};
use crate::{
    control::{Control, Failure, Handler as _, Reply, Request},
    home::Home,
    keys::Watcher,
    ledger::LedgerError,
    quota_poll,
    rotor::{Rotor, RotorError, Setup},
    server::{Order, Orders, Server},
};

/// How long those who watch may take to read the last lines.
const FAREWELL: Duration = Duration::from_secs(1);

/// Makes the setup anew, or says what is wrong with it. May block.
pub type Reread = Arc<dyn Fn(Occasion) -> Result<Setup, Failure> + Send + Sync>;

/// Why a setup is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The user asks for it.
    Asked,
    /// Key files or `.env` have changed: nobody has said that the configuration is ready.
    FilesChanged,
}

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
        desk.keys_were_read();
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
            desk.files_changed();
        }
    };
    let files = watched_files(home, Vec::new());
    (Watcher::start(home.auths_dir().to_owned(), files, changed).ok(), watched)
}
