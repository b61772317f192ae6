//! The turn page: a memory-mapped file per upstream that counts the turns given out and knows the
//! slots of the newest ones, so that a SIGKILL loses no turn silently.
//!
//! Layout, little endian: magic `kmiturns`, version `u32`, number of entries `u32`, newest turn
//! `u64`, length of the name `u32`, the upstream's name; at [`HEADER`] a ring of entries (turn
//! `u64`, epoch `u32`, slot `u32`), turn `t` at `t % ENTRIES`. The entry is written before the
//! counter. What a process wrote into the mapping outlives its death; an outage of the machine
//! may lose it, which [`super::recovery`] reckons with.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{Ordering, compiler_fence},
    },
};

use memmap2::{MmapMut, MmapOptions};
use rustix::{fs::FallocateFlags, io::Errno};
use sha2::{Digest as _, Sha256};

use super::{error::LedgerError, files};

/// How many turns the page remembers with their slots.
pub(super) const ENTRIES: u64 = ENTRY_COUNT as u64;
const ENTRY_COUNT: usize = 131_072;

const MAGIC: &[u8; 8] = b"kmiturns";
const VERSION: u32 = 1;
const COUNTER: usize = 16;
const NAME: usize = 28;
const HEADER: usize = 4096;
const ENTRY: usize = 16;
const BYTES: usize = HEADER + ENTRY * ENTRY_COUNT;
/// In an entry's epoch or slot: not known.
const UNKNOWN: u32 = u32::MAX;
/// A counter above this is no count (and no exact JSON number).
const MAX_TURN: u64 = 1 << 53;

/// The turns that one upstream's rotation has given out.
pub struct TurnPage {
    map: MmapMut,
    /// Tells the ledger that the page is in use.
    _taken: Option<Arc<()>>,
}

impl std::fmt::Debug for TurnPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnPage").field("last_turn", &self.last_turn()).finish_non_exhaustive()
    }
}

/// Why a page file cannot be taken as it is.
#[derive(Debug)]
pub(super) enum PageError {
    /// No page, or a torn one: what is wrong with it.
    Damaged(&'static str),
    /// An error that building the page anew would not mend.
    Fatal(LedgerError),
}

impl TurnPage {
    /// Notes a turn as given out. To be called under the rotation's lock, in the order of the
    /// turns and before the turn is acted on; costs a few stores, no system call.
    #[inline]
    pub fn record(&mut self, turn: u64, epoch: u64, slot: usize) {
        self.write_entry(turn, epoch, Some(slot));
        // The counter vouches for the entry, so it must come second in memory as it does here.
        compiler_fence(Ordering::Release);
        self.map[COUNTER..COUNTER + 8].copy_from_slice(&turn.to_le_bytes());
        // … and must not be put off until the next turn.
        compiler_fence(Ordering::Release);
    }

    /// The newest turn that was given out; 0 for none.
    pub fn last_turn(&self) -> u64 {
        u64::from_le_bytes(self.array(COUNTER))
    }

    /// Epoch and slot of a turn, where the page still knows them.
    pub(super) fn lookup(&self, turn: u64) -> Option<(u64, usize)> {
        let at = entry_at(turn);
        let known = |n: u32| (n != UNKNOWN).then_some(n);
        if turn == 0 || u64::from_le_bytes(self.array(at)) != turn {
            return None;
        }
        let epoch = known(u32::from_le_bytes(self.array(at + 8)))?;
        let slot = known(u32::from_le_bytes(self.array(at + 12)))?;
        Some((epoch.into(), slot as usize))
    }

    /// Lets the page go on after a turn that it does not know itself.
    pub(super) fn go_on_after(&mut self, turn: u64) {
        self.write_entry(turn, u64::MAX, None);
        compiler_fence(Ordering::Release);
        self.map[COUNTER..COUNTER + 8].copy_from_slice(&turn.to_le_bytes());
    }

    /// Loses what it knows of a turn, as an outage may.
    #[cfg(test)]
    pub(super) fn forget(&mut self, turn: u64) {
        self.write_entry(turn, u64::MAX, None);
    }

    /// Marks the page as in use for as long as it lives.
    pub(super) fn taken_by(self, taken: Arc<()>) -> Self {
        Self { _taken: Some(taken), ..self }
    }

    /// The name of the upstream that the page belongs to.
    pub(super) fn upstream(&self) -> Option<&str> {
        upstream_in(&self.map[..HEADER])
    }

    /// Opens an existing page and checks it.
    pub(super) fn open(path: &Path) -> Result<Self, PageError> {
        let file = files::open_private(path).map_err(PageError::Fatal)?;
        let fatal = |source| PageError::Fatal(LedgerError::Io { path: path.to_owned(), source });
        if file.metadata().map_err(fatal)?.len() != BYTES as u64 {
            return Err(PageError::Damaged("its length is wrong"));
        }
        allocate(&file, false).map_err(fatal)?;
        let page = Self { map: map(&file).map_err(fatal)?, _taken: None };
        page.check(path)?;
        Ok(page)
    }

    /// Builds a page that goes on after `last_turn`, in the place of whatever was there.
    pub(super) fn create(path: &Path, upstream: &str, last_turn: u64) -> Result<Self, LedgerError> {
        let build = path.with_extension("page-new");
        // A leftover of an earlier attempt must not shine through.
        match fs::remove_file(&build) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LedgerError::Io { path: build, source: error });
            }
            _ => {}
        }
        let file = files::open_private(&build)?;
        let mut page = (|| {
            allocate(&file, true)?;
            Ok(Self { map: map(&file)?, _taken: None })
        })()
        .map_err(LedgerError::io(&build))?;
        page.write_header(upstream).map_err(LedgerError::io(&build))?;
        page.go_on_after(last_turn);
        let publish = || {
            page.map.flush()?;
            file.sync_all()?;
            fs::rename(&build, path)
        };
        publish().map_err(LedgerError::io(path))?;
        files::sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        Ok(page)
    }

    fn check(&self, path: &Path) -> Result<(), PageError> {
        if self.map[..8] != *MAGIC {
            return Err(PageError::Damaged("it is no turn page"));
        }
        let version = u32::from_le_bytes(self.array(8));
        if version > VERSION {
            return Err(PageError::Fatal(LedgerError::Newer {
                path: path.to_owned(),
                found: version.into(),
                known: VERSION.into(),
            }));
        }
        if version == 0 || u64::from(u32::from_le_bytes(self.array(12))) != ENTRIES {
            return Err(PageError::Damaged("its header is wrong"));
        }
        if self.upstream().is_none() {
            return Err(PageError::Damaged("it names no upstream"));
        }
        let last = self.last_turn();
        let vouched = last == 0 || u64::from_le_bytes(self.array(entry_at(last))) == last;
        if last > MAX_TURN || !vouched {
            return Err(PageError::Damaged("its counter and its entries disagree"));
        }
        Ok(())
    }

    fn write_header(&mut self, upstream: &str) -> io::Result<()> {
        let room = HEADER - NAME;
        let len = u32::try_from(upstream.len()).ok().filter(|len| *len as usize <= room);
        let len = len.ok_or_else(|| io::Error::other("the upstream's name is too long"))?;
        self.map[..8].copy_from_slice(MAGIC);
        self.map[8..12].copy_from_slice(&VERSION.to_le_bytes());
        self.map[12..16].copy_from_slice(&u32::try_from(ENTRIES).unwrap_or(0).to_le_bytes());
        self.map[NAME - 4..NAME].copy_from_slice(&len.to_le_bytes());
        self.map[NAME..NAME + upstream.len()].copy_from_slice(upstream.as_bytes());
        Ok(())
    }

    #[inline]
    fn write_entry(&mut self, turn: u64, epoch: u64, slot: Option<usize>) {
        let at = entry_at(turn);
        let epoch = u32::try_from(epoch).unwrap_or(UNKNOWN);
        let slot = slot.and_then(|slot| u32::try_from(slot).ok()).unwrap_or(UNKNOWN);
        let entry = &mut self.map[at..at + ENTRY];
        entry[..8].copy_from_slice(&turn.to_le_bytes());
        entry[8..12].copy_from_slice(&epoch.to_le_bytes());
        entry[12..].copy_from_slice(&slot.to_le_bytes());
    }

    #[inline]
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.map[at..at + N]);
        bytes
    }
}

/// The upstream that a page's header names.
fn upstream_in(header: &[u8]) -> Option<&str> {
    let len = u32::from_le_bytes(header.get(NAME - 4..NAME)?.try_into().ok()?) as usize;
    std::str::from_utf8(header.get(NAME..NAME.checked_add(len)?)?).ok()
}

/// The newest turn of each upstream that its page counts, for those who only read; a page that is
/// damaged, newer or not there says nothing.
pub fn turns_given_out(state_dir: &Path) -> HashMap<Arc<str>, u64> {
    let counted = |path: PathBuf| {
        let mut header = [0; HEADER];
        File::open(path).ok()?.read_exact(&mut header).ok()?;
        let turn = u64::from_le_bytes(header[COUNTER..COUNTER + 8].try_into().ok()?);
        let known = header.starts_with(MAGIC) && header[8..12] == VERSION.to_le_bytes();
        let whole = known && turn <= MAX_TURN;
        whole.then(|| Some((upstream_in(&header)?.into(), turn))).flatten()
    };
    all_paths(state_dir).unwrap_or_default().into_iter().filter_map(counted).collect()
}

#[inline]
fn entry_at(turn: u64) -> usize {
    // Below ENTRIES, so it fits.
    HEADER + ENTRY * (turn % ENTRIES) as usize
}

#[expect(unsafe_code, reason = "memmap2 leaves it to the caller that nobody shrinks the file")]
fn map(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file is 0600, in the state directory that this process holds the lock of, and
    // kmi itself never truncates a page in place (it renames a new one over it). Its blocks were
    // allocated before, so a full disk does not fault either. The bytes are only ever read and
    // written as plain numbers, whatever they are.
    unsafe { MmapOptions::new().len(BYTES).map_mut(file) }
}

/// Gives the file its length and its blocks; without that a full disk would be a SIGBUS later.
fn allocate(file: &File, fresh: bool) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, BYTES as u64) {
        // A file system that cannot reserve blocks gets zeros written instead, once.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if fresh => {
            let mut file = file;
            file.write_all(&vec![0; BYTES])
        }
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        result => Ok(result?),
    }
}

/// The file of an upstream's page: `turns-NAME.page`, with every byte but `a-z0-9_-` as `%XX`, so
/// that different names are different files everywhere.
pub(super) fn path_for(state_dir: &Path, upstream: &str) -> PathBuf {
    let mut name = String::with_capacity(upstream.len());
    for byte in upstream.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte.into()),
            // Writing to a String cannot fail.
            _ => drop(write!(name, "%{byte:02X}")),
        }
    }
    if name.len() > 180 {
        name.truncate(100);
        let _ = write!(name, "~{}", hex::encode(Sha256::digest(upstream)));
    }
    state_dir.join(format!("turns-{name}.page"))
}

/// The upstream that a page file is named after; `None` where the name was too long to stand there.
pub(super) fn upstream_of(path: &Path) -> Option<Arc<str>> {
    let name = path.file_name()?.to_str()?.strip_prefix("turns-")?.strip_suffix(".page")?;
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes().iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            _ => *byte,
        });
    }
    let upstream = String::from_utf8(bytes).ok()?;
    (path_for(path.parent()?, &upstream) == path).then(|| upstream.into())
}

/// All page files of a state directory.
pub(super) fn all_paths(state_dir: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let list = || {
        let mut paths = Vec::new();
        for entry in fs::read_dir(state_dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("turns-") && path.extension().is_some_and(|ext| ext == "page") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    };
    list().map_err(LedgerError::io(state_dir))
}

/// Has all pages of a state directory outlive a power loss, whoever has them open.
pub(super) fn sync_all(state_dir: &Path) -> Result<(), LedgerError> {
    for path in all_paths(state_dir)? {
        let file = files::open_private(&path)?;
        map(&file).and_then(|map| map.flush()).map_err(LedgerError::io(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

    use super::*;

    fn page() -> (tempfile::TempDir, PathBuf, TurnPage) {
        let dir = tempfile::tempdir().unwrap();
        let path = path_for(dir.path(), "kimi");
        let page = TurnPage::create(&path, "kimi", 0).unwrap();
        (dir, path, page)
    }

    fn damage(path: &Path, at: u64, bytes: &[u8]) -> &'static str {
        files::open_private(path).unwrap().write_all_at(bytes, at).unwrap();
        match TurnPage::open(path) {
            Err(PageError::Damaged(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn turns_are_found_again() {
        let (_dir, path, mut page) = page();
        assert_eq!(page.last_turn(), 0);
        for turn in 1..=5u8 {
            page.record(turn.into(), 3, usize::from(turn) + 10);
        }
        drop(page);
        let page = TurnPage::open(&path).unwrap();
        assert_eq!((page.last_turn(), page.upstream()), (5, Some("kimi")));
        assert_eq!(page.lookup(1), Some((3, 11)));
        assert_eq!(page.lookup(5), Some((3, 15)));
        assert_eq!((page.lookup(0), page.lookup(6)), (None, None));
    }

    #[test]
    fn who_only_reads_sees_what_was_given_out() {
        let (dir, path, mut page) = page();
        page.record(7, 1, 0);
        assert_eq!(turns_given_out(dir.path()), HashMap::from([("kimi".into(), 7)]));
        damage(&path, 0, b"x");
        assert_eq!(turns_given_out(dir.path()), HashMap::new());
        assert_eq!(turns_given_out(Path::new("/nonexistent")), HashMap::new());
    }

    #[test]
    fn the_ring_forgets_the_oldest_turns_only() {
        let (_dir, _, mut page) = page();
        for turn in 1..=ENTRIES + 2 {
            page.record(turn, 1, 7);
        }
        assert_eq!((page.lookup(2), page.lookup(3)), (None, Some((1, 7))));
        assert_eq!(page.lookup(ENTRIES + 2), Some((1, 7)));
    }

    #[test]
    fn a_page_can_go_on_after_a_turn_it_never_saw() {
        let (_dir, path, mut page) = page();
        page.go_on_after(900);
        drop(page);
        let mut page = TurnPage::open(&path).unwrap();
        assert_eq!((page.last_turn(), page.lookup(900)), (900, None));
        page.record(901, 1, 0);
        assert_eq!(page.lookup(901), Some((1, 0)));
    }

    #[test]
    fn damaged_pages_are_told_from_whole_ones() {
        let (_dir, path, mut page) = page();
        page.record(1, 1, 0);
        drop(page);
        assert_eq!(damage(&path, 16, &[2]), "its counter and its entries disagree");
        assert_eq!(damage(&path, 16, &[255; 8]), "its counter and its entries disagree");
        assert_eq!(damage(&path, 24, &[255; 4]), "it names no upstream");
        assert_eq!(damage(&path, 12, &[9]), "its header is wrong");
        assert_eq!(damage(&path, 0, b"x"), "it is no turn page");
        files::open_private(&path).unwrap().set_len(7).unwrap();
        assert!(matches!(TurnPage::open(&path), Err(PageError::Damaged("its length is wrong"))));
    }

    #[test]
    fn a_newer_page_is_refused() {
        let (_dir, path, page) = page();
        drop(page);
        files::open_private(&path).unwrap().write_all_at(&[2], 8).unwrap();
        let Err(PageError::Fatal(error)) = TurnPage::open(&path) else { panic!("taken") };
        assert!(error.to_string().contains("has format 2"), "{error}");
    }

    #[test]
    fn files_are_private_and_names_cannot_leave_the_directory() {
        let (dir, path, _page) = page();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let name = |upstream: &str| {
            let path = path_for(dir.path(), upstream);
            assert_eq!(path.parent(), Some(dir.path()));
            if upstream.len() < 50 {
                assert_eq!(upstream_of(&path).as_deref(), Some(upstream));
            }
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(name("kimi-2_b"), "turns-kimi-2_b.page");
        assert_eq!(name("../Ä"), "turns-%2E%2E%2F%C3%84.page");
        assert_ne!(name("A"), name("a"));
        assert_ne!(name(&"x".repeat(400)), name(&"x".repeat(401)));
        assert!(name(&"/".repeat(1000)).len() < 255);
    }
}
