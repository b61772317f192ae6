//! Noticing that keys have changed.
//!
//! What counts is a picture of the files' metadata, compared with the one that was reported last.
//! The system's file events only say when to look; where they cannot be had, or miss something
//! (a network file system, a target of a symbolic link, a directory that was replaced), the look
//! that is taken every second finds it. That look costs one `stat` per file.

mod picture;
mod settling;

use std::{
    collections::BTreeMap,
    io, mem, panic,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use parking_lot::Mutex;

use self::{
    picture::{Identity, Picture},
    settling::{Settling, Verdict},
};

/// How long files must have been left alone before they are read again.
pub const SETTLE: Duration = Duration::from_millis(300);

/// How often a look is taken without any event.
const RESCAN: Duration = Duration::from_secs(1);
/// The same on a system that has no events to give.
const RESCAN_WITHOUT_EVENTS: Duration = Duration::from_millis(500);
/// Shortest time between two looks, however many events come.
const BREATH: Duration = Duration::from_millis(50);

/// Watches the key directory and further files on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wake: SyncSender<()>,
    stopped: AtomicBool,
    /// What there is counts as changed at the next look.
    again: AtomicBool,
    files: Mutex<Vec<PathBuf>>,
}

impl Watcher {
    /// Calls `changed` whenever something has changed since this call and has then been still for
    /// [`SETTLE`] (or goes on changing for longer than a second).
    ///
    /// `files` are watched beside the directory: the home's `.env`, and
    /// [`Loaded::targets`](super::Loaded::targets). Start watching before loading for the first
    /// time: what changes in between is then noticed. None of the paths has to exist.
    ///
    /// `changed` runs on the watcher's thread, never twice at once. It may take its time: what
    /// changes meanwhile is reported afterwards. It may still be running when the watcher is
    /// dropped, but is not called any more after that.
    pub fn start(
        dir: PathBuf,
        files: Vec<PathBuf>,
        changed: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(dir, files, Events::Wanted, changed)
    }

    fn start_with(
        dir: PathBuf,
        files: Vec<PathBuf>,
        events: Events,
        changed: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        // One place is enough: a wake-up that is waiting already says all there is to say.
        let (wake, woken) = sync_channel(1);
        let (stopped, again) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { wake, stopped, again, files: Mutex::new(files) });
        let mut work = Work {
            events: events.of(&shared),
            reported: Picture::default(),
            watched: BTreeMap::new(),
            shared: Arc::clone(&shared),
            woken,
            dir,
        };
        // Events first, so that nothing can happen unseen between the picture and them.
        work.follow_directories();
        work.reported = work.look().unwrap_or_default();
        thread::Builder::new().name("kmi-keys".into()).spawn(move || work.run(changed))?;
        Ok(Self { shared })
    }

    /// Watches these files from now on, instead of those given before; the directory stays.
    ///
    /// A file that is new here counts as changed, so that it is read after its watch began.
    pub fn set_files(&self, files: Vec<PathBuf>) {
        *self.shared.files.lock() = files;
        self.shared.wake();
    }

    /// Calls `changed` once more, with the look that is taken next without an event: for what could
    /// not be read just now.
    pub fn report_again(&self) {
        self.shared.again.store(true, Ordering::Release);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.wake();
    }
}

impl Shared {
    fn wake(&self) {
        // Full: it will wake up anyway. Closed: there is nobody to wake.
        let _ = self.wake.try_send(());
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Whether the system's file events are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Events {
    Wanted,
    /// As on a system without them (or without any left).
    #[cfg(test)]
    Unavailable,
}

impl Events {
    fn of(self, shared: &Arc<Shared>) -> Option<RecommendedWatcher> {
        if self != Self::Wanted {
            return None;
        }
        let shared = Arc::clone(shared);
        notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Looking opens the directory, which is an event too; following it would never end.
            let looking = event.is_ok_and(|event| match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
                kind => kind.is_access(),
            });
            if !looking {
                shared.wake();
            }
        })
        .ok()
    }
}

/// The watcher's thread.
struct Work {
    events: Option<RecommendedWatcher>,
    reported: Picture,
    /// The directories whose events are followed, and which ones they were.
    watched: BTreeMap<PathBuf, Identity>,
    shared: Arc<Shared>,
    woken: Receiver<()>,
    dir: PathBuf,
}

/// The watcher was dropped.
struct Stopped;

impl Work {
    fn run(mut self, mut changed: impl FnMut()) {
        let rescan = if self.events.is_some() { RESCAN } else { RESCAN_WITHOUT_EVENTS };
        while let Ok(()) = self.wait(rescan) {
            self.follow_directories();
            if self.shared.again.swap(false, Ordering::AcqRel) {
                self.reported = Picture::default();
            }
            let Some(picture) = self.look().filter(|picture| *picture != self.reported) else {
                thread::sleep(BREATH);
                continue;
            };
            let Ok(picture) = self.settled(picture) else { return };
            self.reported = picture;
            // A panic while loading must not end the watching.
            let _ = panic::catch_unwind(panic::AssertUnwindSafe(&mut changed));
        }
    }

    fn look(&self) -> Option<Picture> {
        Picture::of(&self.dir, &self.shared.files.lock())
    }

    fn settled(&self, first: Picture) -> Result<Picture, Stopped> {
        let mut settling = Settling::begin(first, Instant::now());
        loop {
            match settling.next(self.look(), Instant::now()) {
                Verdict::Settled(picture) => return Ok(picture),
                Verdict::Wait(rest) => self.wait(rest)?,
            }
            thread::sleep(BREATH);
        }
    }

    /// Waits for an event, or for `time` to pass.
    fn wait(&self, time: Duration) -> Result<(), Stopped> {
        let woken = self.woken.recv_timeout(time);
        if self.shared.is_stopped() || woken == Err(RecvTimeoutError::Disconnected) {
            return Err(Stopped);
        }
        Ok(())
    }

    /// Follows the events of the directories as they are now: one that was removed and made again
    /// is another one to the system.
    fn follow_directories(&mut self) {
        let Some(events) = &mut self.events else { return };
        let files = self.shared.files.lock().clone();
        let parents = files.iter().chain([&self.dir]).filter_map(|path| path.parent());
        let wanted: BTreeMap<PathBuf, Identity> = parents
            .chain([self.dir.as_path()])
            .filter_map(|dir| Some((dir.to_owned(), Identity::of(dir)?)))
            .collect();
        if wanted == self.watched {
            return;
        }
        let before = mem::take(&mut self.watched);
        for (dir, _) in before.iter().filter(|(dir, id)| wanted.get(*dir) != Some(*id)) {
            // The system forgets a removed directory by itself.
            let _ = events.unwatch(dir);
        }
        for (dir, identity) in wanted {
            let known = before.get(&dir) == Some(&identity);
            // What cannot be followed is looked at all the same, every second.
            if known || follow(events, &dir) {
                self.watched.insert(dir, identity);
            }
        }
    }
}

fn follow(events: &mut RecommendedWatcher, dir: &Path) -> bool {
    events.watch(dir, RecursiveMode::NonRecursive).is_ok()
}

#[cfg(test)]
mod tests;
