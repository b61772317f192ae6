use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::atomic::AtomicUsize,
};

use tempfile::TempDir;

use super::*;

/// A watched directory, and how often a change was reported.
struct Fixture {
    home: TempDir,
    dir: PathBuf,
    reports: Arc<AtomicUsize>,
    watcher: Watcher,
}

impl Fixture {
    fn new(events: Events) -> Self {
        Self::prepared(events, |_| ())
    }

    fn prepared(events: Events, prepare: impl FnOnce(&Path)) -> Self {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("_auths");
        fs::create_dir(&dir).unwrap();
        prepare(&dir);
        let reports = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reports);
        let changed = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let watcher = Watcher::start_with(dir.clone(), Vec::new(), events, changed).unwrap();
        Self { home, dir, reports, watcher }
    }

    /// Does something and waits until it has been reported.
    fn reports(&self, what: &str, change: impl FnOnce()) {
        let before = self.reports.load(Ordering::SeqCst);
        change();
        until(what, || self.reports.load(Ordering::SeqCst) > before);
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not seen: {what}");
        thread::yield_now();
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Everything that may happen to key files, once with the system's events and once without.
fn every_kind_of_change(events: Events) {
    let it = Fixture::new(events);
    let path = it.dir.join("a.key");
    it.reports("a new file", || fs::write(&path, "one").unwrap());
    it.reports("a changed file", || fs::write(&path, "two").unwrap());
    it.reports("a file replaced by an editor", || {
        fs::write(it.dir.join(".a.key.new"), "six").unwrap();
        fs::rename(it.dir.join(".a.key.new"), &path).unwrap();
    });
    it.reports("a new mode", || {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    });
    it.reports("a removed file", || fs::remove_file(&path).unwrap());
    it.reports("a removed directory", || fs::remove_dir(&it.dir).unwrap());
    it.reports("a directory made again", || fs::create_dir(&it.dir).unwrap());
    it.reports("a file in the new directory", || fs::write(&path, "one").unwrap());
}

#[test]
fn changes_are_reported() {
    every_kind_of_change(Events::Wanted);
}

#[test]
fn changes_are_reported_without_events_of_the_system() {
    every_kind_of_change(Events::Unavailable);
}

#[test]
fn a_swapped_link_is_reported() {
    // As Kubernetes mounts secrets: the files are links through `..data`, which is swapped.
    let version = |dir: &Path, name: &str| {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("a.key"), "same size").unwrap();
    };
    let it = Fixture::prepared(Events::Wanted, |dir| {
        version(dir, "..1");
        symlink("..1", dir.join("..data")).unwrap();
        symlink("..data/a.key", dir.join("a.key")).unwrap();
    });
    it.reports("the swap", || {
        version(&it.dir, "..2");
        symlink("..2", it.dir.join("..data_tmp")).unwrap();
        fs::rename(it.dir.join("..data_tmp"), it.dir.join("..data")).unwrap();
    });
    it.reports("a change behind the link", || {
        fs::write(it.dir.join("..2/a.key"), "SAME SIZE").unwrap();
    });
}

#[test]
fn further_files_are_watched() {
    let it = Fixture::new(Events::Wanted);
    let dotenv = it.home.path().join(".env");
    it.reports("a file to watch", || it.watcher.set_files(vec![dotenv.clone()]));
    it.reports("that file made", || fs::write(&dotenv, "A=1").unwrap());
    it.reports("that file changed", || fs::write(&dotenv, "A=2").unwrap());
}

#[test]
fn a_panic_does_not_end_the_watching() {
    let home = TempDir::new().unwrap();
    let reports = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reports);
    let _watcher = Watcher::start(home.path().to_owned(), Vec::new(), move || {
        assert!(count.fetch_add(1, Ordering::SeqCst) > 0, "a panic for the test");
    })
    .unwrap();
    for (n, name) in ["a.key", "b.key"].into_iter().enumerate() {
        fs::write(home.path().join(name), "x").unwrap();
        until(name, || reports.load(Ordering::SeqCst) > n);
    }
}

#[test]
fn a_report_can_be_asked_for() {
    let it = Fixture::new(Events::Wanted);
    it.reports("what was asked for", || it.watcher.report_again());
}

#[test]
fn dropping_ends_the_thread() {
    let it = Fixture::new(Events::Wanted);
    // Only the thread's closure holds the counter beside the fixture.
    assert_eq!(Arc::strong_count(&it.reports), 2);
    drop(it.watcher);
    until("the end of the thread", || Arc::strong_count(&it.reports) == 1);
}

#[test]
fn what_is_no_key_file_does_not_change_the_picture() {
    let home = TempDir::new().unwrap();
    let look = || Picture::of(home.path(), &[]).unwrap();
    let before = look();
    for name in [".a.key.swp", "a.key~", "README", "#a.key#", "a.tmp"] {
        fs::write(home.path().join(name), "x").unwrap();
        assert_eq!(look(), before, "{name}");
    }
    fs::write(home.path().join("a.key"), "x").unwrap();
    assert_ne!(look(), before);
}

#[test]
fn a_change_settles_after_a_time_without_another_one() {
    let home = TempDir::new().unwrap();
    let mut size = 0;
    let mut other = || {
        size += 1;
        fs::write(home.path().join("a.key"), "x".repeat(size)).unwrap();
        Picture::of(home.path(), &[])
    };
    let no_look = || None;
    let same = || Picture::of(home.path(), &[]);
    let begun = Instant::now();
    let at = |ms| begun + Duration::from_millis(ms);
    let mut settling = Settling::begin(other().unwrap(), at(0));
    let mut wait = |picture, ms| match settling.next(picture, at(ms)) {
        Verdict::Wait(rest) => Some(rest.as_millis()),
        Verdict::Settled(_) => None,
    };
    assert_eq!(wait(same(), 0), Some(300));
    assert_eq!(wait(no_look(), 298), Some(2), "no look is no change");
    assert_eq!(wait(same(), 299), Some(1));
    assert_eq!(wait(other(), 300), Some(300), "it was written once more");
    assert_eq!(wait(same(), 599), Some(1));
    assert_eq!(wait(other(), 600), Some(300));
    assert_eq!(wait(other(), 800), Some(200), "but not for ever");
    assert_eq!(wait(other(), 1000), None);
}
