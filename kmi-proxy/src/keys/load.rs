//! All keys of a home, each once.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use kmi_core::{
    inventory::Key,
    key::{ApiKey, HomeSecret, KeyId},
    ring::MAX_SLOTS,
};
use zeroize::Zeroizing;

use super::{
    dir,
    fields::{Field, Name, Value},
    format::{Entry, Format},
    memory::{Answers, Question},
    problem::{Fault, Problem, Severity, mask, shown},
    read::{self, Contents},
    source::{Surroundings, Variables},
    spec::KeySpec,
};
use crate::settings::UpstreamSettings;

/// Most programs that are asked for keys at the same time.
const ASKED_AT_ONCE: usize = 8;

/// Where keys may stand.
#[derive(Clone)]
pub struct Sources {
    /// The key directory.
    pub dir: PathBuf,
    /// Keys of the environment and of the home's `.env` (`KMI_API_KEY_<NAME>`), which come after
    /// those of the directory.
    pub env: Vec<EnvKey>,
    /// The upstreams; the first one serves keys that name none.
    pub upstreams: Vec<UpstreamSettings>,
    /// Where `api_key_env` (and the `~` of `api_key_file`) looks.
    pub variables: Variables,
    /// What other programs answered in earlier loads; share one between the loads of a process.
    pub answers: Answers,
    /// How long a file must have been left alone before it is read: zero at start,
    /// [`SETTLE`](super::SETTLE) when reading again because something has changed.
    pub settle: Duration,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, env, upstreams, variables: _, answers, settle } = self;
        f.debug_struct("Sources")
            .field("dir", dir)
            .field("env", env)
            .field("upstreams", upstreams)
            .field("answers", answers)
            .field("settle", settle)
            .finish_non_exhaustive()
    }
}

/// A key that stands in a variable.
#[derive(Clone)]
pub struct EnvKey {
    /// What follows `KMI_API_KEY_`: the label.
    pub name: String,
    /// The key as written; an empty one counts as not given.
    pub value: Zeroizing<String>,
    /// Where the variable is set, for messages: a file, or `environment`.
    pub origin: Arc<str>,
    /// The line in that file, from 1.
    pub line: Option<u32>,
}

impl fmt::Debug for EnvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvKey({} of {})", self.name, self.origin)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The keys, disabled ones included: by file name, then by place in the file. Labels, ids and
    /// values are unique, and the weights of each upstream fit into one ring.
    pub keys: Vec<Arc<Key>>,
    /// What was refused, and what should be put right.
    pub problems: Vec<Problem>,
    /// Further files that keys come from, to be watched as well.
    pub targets: Vec<PathBuf>,
}

impl Loaded {
    /// Takes over, of the keys that there were `before`, those that stand where the system could
    /// not look just now: nothing says that they are gone.
    pub fn keep_unread<'k>(&mut self, before: impl Iterator<Item = &'k Arc<Key>>) {
        for key in before {
            let same =
                |it: &Arc<Key>| it.id == key.id || it.label == key.label || it.secret == key.secret;
            if is_unread(&self.problems, &key.origin) && !self.keys.iter().any(same) {
                self.keys.push(Arc::clone(key));
            }
        }
    }
}

/// Whether the system could not look just now at the place where something stands.
fn is_unread(problems: &[Problem], origin: &str) -> bool {
    problems.iter().any(|problem| problem.is_passing() && problem.is_about(origin))
}

/// A good description and the file it stands in.
pub(super) struct Described {
    pub(super) spec: KeySpec,
    file: Arc<str>,
    /// When that was written.
    modified: Option<SystemTime>,
    dir: PathBuf,
    /// Whether its file may describe other keys too.
    shared: bool,
    /// Whether one of its names that are shown holds a key, be it another one.
    shows_key: bool,
}

/// Reads every key file and every key of the environment.
///
/// Blocks: files are read, and `api_key_cmd` programs run, for up to 10 s each and several at
/// once. So call it outside of the async runtime's threads.
pub fn load(sources: &Sources, home: &HomeSecret) -> Loaded {
    let (files, mut problems) = dir::list(&sources.dir);
    let mut described = Vec::new();
    for (path, format) in files {
        read_file(&path, format, sources, &mut described, &mut problems);
    }
    for key in &sources.env {
        read_variable(key, sources, &mut described, &mut problems);
    }
    admit(described, problems, sources, home)
}

/// Fetches the secrets of what was described, and takes in what is unique.
pub(super) fn admit(
    mut described: Vec<Described>,
    problems: Vec<Problem>,
    sources: &Sources,
    home: &HomeSecret,
) -> Loaded {
    let targets = described.iter().filter_map(|it| it.spec.source.target(&it.around(sources)));
    let targets = targets.collect();
    let secrets = fetch(&described, sources, &problems);
    let known: Vec<&ApiKey> = secrets.iter().flatten().collect();
    for it in &mut described {
        it.shows_key = known.iter().any(|secret| it.spec.shows(secret));
        for secret in &known {
            mask(&mut it.file, secret);
        }
    }
    let mut admission = Admission { home, keys: Vec::new(), problems, slots: HashMap::new() };
    let mut seen = Vec::new();
    for (described, secret) in described.into_iter().zip(secrets) {
        match secret {
            Ok(secret) => seen.extend(admission.admit(described, secret)),
            Err(fault) => {
                let fault = fault.or_on(described.spec.line);
                admission.problems.push(fault.in_file(&described.file));
            }
        }
    }
    let Admission { keys, mut problems, .. } = admission;
    for problem in &mut problems {
        keys.iter().map(|key| &key.secret).chain(&seen).for_each(|secret| problem.mask(secret));
    }
    // In the order of the files, whichever step found them.
    problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Loaded { keys, problems, targets }
}

fn read_file(
    path: &Path,
    format: Format,
    sources: &Sources,
    described: &mut Vec<Described>,
    problems: &mut Vec<Problem>,
) {
    let file = shown(path);
    match read::read(path, sources.settle) {
        Ok(Some(contents)) => describe(path, format, &contents, sources, described, problems),
        // It was there a moment ago, so it is being removed.
        Ok(None) => {}
        Err(fault) => problems.push(fault.in_file(&file)),
    }
}

/// What the contents of a file say of keys.
pub(super) fn describe(
    path: &Path,
    format: Format,
    contents: &Contents,
    sources: &Sources,
    described: &mut Vec<Described>,
    problems: &mut Vec<Problem>,
) {
    let file = shown(path);
    let Contents { text, modified } = contents;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    for entry in format.parse(text, &stem) {
        match entry.and_then(|entry| KeySpec::check(entry, &sources.upstreams)) {
            Ok(spec) => {
                let shared = matches!(format, Format::Manifest | Format::ClientConfig);
                let (file, dir) = (Arc::clone(&file), sources.dir.clone());
                let modified = *modified;
                described.push(Described { spec, file, modified, dir, shared, shows_key: false });
            }
            Err(faults) => problems.extend(faults.into_iter().map(|fault| fault.in_file(&file))),
        }
    }
}

pub(super) fn read_variable(
    key: &EnvKey,
    sources: &Sources,
    described: &mut Vec<Described>,
    problems: &mut Vec<Problem>,
) {
    if key.value.trim().is_empty() {
        return;
    }
    let value = Value::Word(Zeroizing::new(key.value.trim().to_owned()));
    let field = Field { name: Name::ApiKey, shown: "KMI_API_KEY_…", line: key.line, value };
    let entry = Entry { line: key.line, ..Entry::of_file(&key.name, vec![field]) };
    match KeySpec::check(entry, &sources.upstreams) {
        Ok(spec) => {
            let (file, dir) = (Arc::clone(&key.origin), sources.dir.clone());
            let (modified, shared, shows_key) = (None, true, false);
            described.push(Described { spec, file, modified, dir, shared, shows_key });
        }
        Err(faults) => problems.extend(faults.into_iter().map(|f| f.in_file(&key.origin))),
    }
}

/// The secrets, in order; programs that have not answered yet are asked side by side. Answers to
/// what is not asked any more are forgotten, but for what stands where nobody could look.
fn fetch(
    described: &[Described],
    sources: &Sources,
    problems: &[Problem],
) -> Vec<Result<ApiKey, Fault>> {
    let at_once = |it: &Described| match it.question() {
        Some(question) => sources.answers.get(&question).map(Ok),
        None => Some(it.spec.source.fetch(&it.around(sources))),
    };
    let mut secrets: Vec<_> = described.iter().map(at_once).collect();
    let slow: Vec<usize> = (0..secrets.len()).filter(|at| secrets[*at].is_none()).collect();
    for group in slow.chunks(ASKED_AT_ONCE) {
        thread::scope(|scope| {
            let ask = |at: &usize| {
                let it = &described[*at];
                (*at, scope.spawn(move || it.spec.source.fetch(&it.around(sources))))
            };
            for (at, asked) in group.iter().map(ask).collect::<Vec<_>>() {
                secrets[at] = asked.join().ok();
            }
        });
    }
    let answers = described
        .iter()
        .zip(&secrets)
        .filter_map(|(it, secret)| Some((it.question()?, secret.as_ref()?.as_ref().ok()?)));
    sources.answers.keep(answers, |file| is_unread(problems, file));
    let failed = || Err(Fault::refused("the key could not be fetched", "try again"));
    secrets.into_iter().map(|secret| secret.unwrap_or_else(failed)).collect()
}

impl Described {
    fn around<'a>(&'a self, sources: &'a Sources) -> Surroundings<'a> {
        Surroundings { dir: &self.dir, variables: &sources.variables, settle: sources.settle }
    }

    /// What has to be asked of another program, if anything.
    fn question(&self) -> Option<Question> {
        let source = self.spec.source.is_slow().then(|| self.spec.source.hash())?;
        Some(Question { file: Arc::clone(&self.file), modified: self.modified, source })
    }

    /// The place a message names: the file, and the line where the file alone is not enough.
    fn origin(&self) -> Arc<str> {
        match self.spec.line.filter(|_| self.shared) {
            Some(line) => format!("{}:{line}", self.file).into(),
            None => Arc::clone(&self.file),
        }
    }

    pub(super) fn problem(
        &self,
        severity: Severity,
        message: String,
        hint: impl Into<String>,
    ) -> Problem {
        Fault::new(severity, message, hint).on(self.spec.line).in_file(&self.file)
    }
}

/// Keys that are unique so far.
struct Admission<'a> {
    home: &'a HomeSecret,
    keys: Vec<Arc<Key>>,
    problems: Vec<Problem>,
    /// Slots of each upstream's ring.
    slots: HashMap<Arc<str>, usize>,
}

impl Admission<'_> {
    /// Takes the key in, or says why not and gives its secret back so that messages can be masked.
    fn admit(&mut self, it: Described, secret: ApiKey) -> Option<ApiKey> {
        let id = KeyId::derive(self.home, &secret);
        if let Err(problem) = self.check(&it, &secret, id) {
            self.problems.push(problem);
            return Some(secret);
        }
        let origin = it.origin();
        let KeySpec { label, upstream, priority, weight, account, tags, disabled, limits, .. } =
            it.spec;
        *self.slots.entry(Arc::clone(&upstream)).or_default() += weight as usize;
        self.keys.push(Arc::new(Key {
            id,
            label,
            secret,
            upstream,
            priority,
            weight,
            account,
            tags,
            disabled,
            limits,
            origin,
        }));
        None
    }

    fn check(&self, it: &Described, secret: &ApiKey, id: KeyId) -> Result<(), Problem> {
        let refuse =
            |message: String, hint: &str| Err(it.problem(Severity::Refused, message, hint));
        if it.shows_key {
            let hint = "give it another label (or file name, account, tag): those are shown";
            return refuse("a key stands in a name that is shown".into(), hint);
        }
        if let Some(first) = self.keys.iter().find(|key| key.secret == *secret) {
            let message =
                format!("the same key as `{}` of {}; it is used once", first.label, first.origin);
            return Err(it.problem(Severity::Warning, message, "remove one of the two"));
        }
        if let Some(first) = self.keys.iter().find(|key| key.label == it.spec.label) {
            let message = format!("the label `{}` is taken by {}", first.label, first.origin);
            return refuse(message, "give one of the two another `label`");
        }
        if let Some(first) = self.keys.iter().find(|key| key.id == id) {
            let message = format!("by chance the id {id} is that of `{}` as well", first.label);
            return refuse(message, "make a new key at the provider and use that one");
        }
        let slots = self.slots.get(&it.spec.upstream).copied().unwrap_or(0);
        if slots + it.spec.weight as usize > MAX_SLOTS {
            let message = format!("the weights of this upstream add up to more than {MAX_SLOTS}");
            return refuse(message, "only the ratio of weights counts: make all of them smaller");
        }
        Ok(())
    }
}
