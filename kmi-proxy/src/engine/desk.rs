//! What the control socket and the key watcher act on.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Occasion, Replaceable, Reread};
use crate::{
    control::{Failure, Handler, Reloaded, Reply, Request, Status},
    feed::{Feed, Source},
    home::Home,
    keys::Watcher,
    ledger::{Reader, Subscription},
    rotor::{InFlight, Rotor, RotorError, Setup},
    server::{Order, Orders},
    upstream::{Upstream, UpstreamError},
};

/// How long attempts that are cut off may take to report themselves.
const CUT_OFF: Duration = Duration::from_secs(1);

/// A running rotor, and what those who give orders to it need.
pub(super) struct Desk {
    pub(super) rotor: Rotor,
    pub(super) reread: Reread,
    pub(super) orders: Orders,
    /// Set where whoever runs the proxy can have another program take its place.
    pub(super) replaceable: OnceLock<Replaceable>,
    /// One reload at a time.
    pub(super) reloading: Mutex<()>,
    /// How the newest reload went.
    pub(super) reloaded: watch::Sender<Option<Reply>>,
    /// `None` when files cannot be watched; `kmi reload` still reads them.
    pub(super) watcher: Mutex<Option<Watcher>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("rotor", &self.rotor).finish_non_exhaustive()
    }
}

pub(super) fn watched_files(home: &Home, mut targets: Vec<PathBuf>) -> Vec<PathBuf> {
    targets.push(home.env_file());
    targets
}

impl Desk {
    /// The first order counts.
    pub(super) fn order(&self, order: Order) {
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
        let good = (self.reread)(Occasion::Asked)
            .and_then(|setup| can_start(&setup))
            .and_then(|()| check());
        if let Err(failure) = good {
            return Reply::Failed(failure);
        }
        self.rotor.proxy().phase().leave();
        self.order(Order::HandOver);
        Reply::Done
    }

    /// Watches what lies outside the key directory (`.env`, and files that keys point to), and has
    /// what could not be read just now tried again.
    pub(super) fn keys_were_read(&self) {
        let Some(watcher) = &*self.watcher.lock() else { return };
        watcher.set_files(watched_files(self.rotor.home(), self.rotor.key_targets()));
        if self.rotor.has_unread() {
            watcher.report_again();
        }
    }

    /// Waits until the attempts of aborted connections have reported themselves: an aborted task
    /// is dropped by its worker a little later.
    pub(super) async fn attempts_reported(&self) {
        let running = || {
            let keys = self.rotor.snapshot(Timestamp::now()).keys;
            keys.iter().any(|key| key.in_flight > 0)
        };
        let deadline = Instant::now() + CUT_OFF;
        while running() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads keys and configuration again.
    fn reload(&self) -> Reply {
        let _one = self.reloading.lock();
        let reply = self.reload_alone(Occasion::Asked);
        self.reloaded.send_replace(Some(reply.clone()));
        reply
    }

    /// The same because files have changed. What is tried over and over is told once.
    pub(super) fn files_changed(&self) {
        let _one = self.reloading.lock();
        let reply = self.reload_alone(Occasion::FilesChanged);
        self.reloaded.send_if_modified(|told| {
            let again = self.rotor.has_unread() && told.as_ref() == Some(&reply);
            *told = Some(reply);
            !again
        });
    }

    fn reload_alone(&self, occasion: Occasion) -> Reply {
        let now = Timestamp::now();
        let refused = |error: RotorError| Failure { message: error.to_string(), hint: None };
        let setup = (self.reread)(occasion);
        let reloaded = setup.and_then(|setup| self.rotor.reload(setup, now).map_err(refused));
        // Whatever is wrong with the configuration, keys that came and went do count.
        if reloaded.is_err() {
            let _ = self.rotor.reload_keys(now);
        }
        self.keys_were_read();
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
            Request::KeysChanged => {
                self.files_changed();
                Reply::Done
            }
            Request::Reload => {
                self.rotor.forget_answers();
                self.reload()
            }
            Request::Status => Reply::Status(Box::new(self.status(Timestamp::now()))),
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
        // What another program can take the place of is a command of its own.
        let transient = self.replaceable.get().is_none();
        Status { transient, ..self.rotor.status(now) }
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
