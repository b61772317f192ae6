//! `kmi keys import`: keys that stand elsewhere, each copied into a file of its own.

use std::{path::Path, process::ExitCode, sync::Arc};

use kmi_core::{
    display::without_keys,
    inventory::Key,
    key::{HomeSecret, Label},
};
use kmi_health::UpstreamKind;
use kmi_proxy::{
    control::Problem,
    keys::{self, EnvKey, NewKey, Sources},
};
use serde_json::{Value, json};

use super::{Context, confirmed, inventory, reload};
use crate::{
    args::ImportArgs,
    client_env,
    config::{self, Config},
    desk,
    report::{Failure, USAGE},
};

/// Ids are not shown here, so no secret is made for them before something is taken.
const NO_IDS: HomeSecret = HomeSecret::new([0; 32]);

/// The label of keys of the Open Platform in the environment.
const MOONSHOT: &str = "moonshot";

/// What is to be done.
#[derive(Default)]
struct Plan {
    /// New keys with the labels that they get.
    new: Vec<(Label, Arc<Key>)>,
    /// Keys that are there already, with the label they have.
    known: Vec<(Label, Arc<Key>)>,
    problems: Vec<Problem>,
}

pub(super) fn run(
    context: &Context<'_>,
    config: &Config,
    args: &ImportArgs,
) -> anyhow::Result<ExitCode> {
    let sources = desk::sources(config, context.env);
    let plan = plan(context, config, &sources, args.path.as_deref())?;
    desk::tell(&plan.problems, context.output);
    for (label, key) in &plan.known {
        context.output.note(format_args!("the key of {} is there already, as {label}", key.origin));
    }
    if plan.new.is_empty() && plan.known.is_empty() {
        let hint = "name a file or a directory: kmi keys import PATH";
        return Err(Failure::new("no key was found that could be taken", hint).into());
    }
    if plan.new.is_empty() {
        if context.output.json() {
            context.output.data_json(&told(&plan))?;
        }
        context.output.note("nothing is new");
        return Ok(ExitCode::SUCCESS);
    }
    if !context.output.json() {
        context.output.raw(&inventory::planned(&plan.new))?;
    }
    let n = plan.new.len();
    let dir = config.home.auths_dir();
    let question = || format!("Copy {n} into {}?", dir.display());
    if !args.yes && !confirmed("importing keys", question)? {
        context.output.note("nothing was taken");
        return Ok(ExitCode::from(1));
    }
    config.home.create()?;
    for (label, key) in &plan.new {
        let path = keys::add(dir, label, &key.secret, &description(key, &sources))
            .map_err(|error| Failure::new(error.to_string(), error.hint()))?;
        context.output.note(format_args!("{label} is stored in {}", path.display()));
    }
    if context.output.json() {
        context.output.data_json(&told(&plan))?;
    }
    reload(config);
    Ok(ExitCode::SUCCESS)
}

fn plan(
    context: &Context<'_>,
    config: &Config,
    sources: &Sources,
    path: Option<&Path>,
) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    let here = keys::load(sources, &NO_IDS).keys;
    match path {
        Some(path) if !path.exists() => {
            let what = format!("there is no {}", path.display());
            return Err(Failure::new(what, "check the spelling").code(USAGE).into());
        }
        Some(path) if path.file_name().is_some_and(|name| name == ".env") => {
            for key in config::foreign_keys(path)? {
                plan.variable(key, sources, &here);
            }
        }
        Some(path) => plan.file(path, sources, &here),
        None => {
            let clients =
                [client_env::kimi_cli_home(context.env), client_env::kimi_code_home(context.env)];
            let files = clients.into_iter().flatten().map(|home| home.join("config.toml"));
            for file in files.filter(|file| file.exists()) {
                plan.file(&file, sources, &here);
            }
            // In a shell with `kmi env` the key that clients are told is the token.
            let token = config.home.existing_token().ok().flatten();
            for key in context.env.foreign_keys() {
                if !token.as_ref().is_some_and(|token| token.matches(key.value.as_bytes())) {
                    plan.variable(key, sources, &here);
                }
            }
        }
    }
    Ok(plan)
}

impl Plan {
    fn file(&mut self, path: &Path, sources: &Sources, here: &[Arc<Key>]) {
        let sources = Sources { env: Vec::new(), ..sources.clone() };
        self.take(Some(path), &sources, here);
    }

    fn variable(&mut self, key: EnvKey, sources: &Sources, here: &[Arc<Key>]) {
        let mut sources = Sources { env: vec![key], ..sources.clone() };
        let open = |kind| kind == UpstreamKind::OpenPlatform;
        if sources.env[0].name == MOONSHOT {
            // A key of the Open Platform is of no use to a membership, and the other way round.
            sources.upstreams.sort_by_key(|upstream| !open(upstream.kind));
            if !sources.upstreams.iter().any(|upstream| open(upstream.kind)) {
                self.problems.push(Problem {
                    refused: false,
                    message: format!(
                        "{}: no upstream is of kind open-platform",
                        sources.env[0].origin
                    ),
                    hint: "a key of platform.moonshot.ai needs one: see kmi.config.toml.example"
                        .into(),
                });
            }
        }
        self.take(None, &sources, here);
    }

    fn take(&mut self, path: Option<&Path>, sources: &Sources, here: &[Arc<Key>]) {
        let found = keys::survey(path, sources, &NO_IDS);
        self.problems.extend(found.problems.iter().map(Problem::from));
        for key in found.keys {
            if let Some(same) = here.iter().find(|known| known.secret == key.secret) {
                self.known.push((same.label.clone(), key));
            } else if let Some(problem) = label_is_key(&key, here) {
                self.problems.push(problem);
            } else if !self.new.iter().any(|(_, new)| new.secret == key.secret) {
                let label = self.free_label(&key.label, here);
                self.new.push((label, key));
            }
        }
    }

    /// The label itself, or the first of `LABEL-2`, `LABEL-3`, … that is free.
    fn free_label(&self, wanted: &Label, here: &[Arc<Key>]) -> Label {
        let taken = |label: &Label| {
            here.iter().any(|key| key.label == *label)
                || self.new.iter().any(|(new, _)| new == label)
        };
        let numbered = (2..).map_while(|n: u32| Label::parse(&format!("{wanted}-{n}")).ok());
        std::iter::once(wanted.clone())
            .chain(numbered)
            .find(|label| !taken(label))
            .unwrap_or_else(|| wanted.clone())
    }
}

/// A label that is a key, or looks like one: labels are shown. What stands beside the key was
/// compared when it was read.
fn label_is_key(key: &Key, here: &[Arc<Key>]) -> Option<Problem> {
    let label = key.label.as_str();
    let is_key = without_keys(label) != label || here.iter().any(|known| known.secret.is_in(label));
    is_key.then(|| Problem {
        refused: true,
        message: format!("{}: a key stands in the label, and labels are shown", key.origin),
        hint: "rename the file or give it a `label`, or use `kmi keys add LABEL`".into(),
    })
}

/// What its file said of the key, to be said again in the new one.
fn description(key: &Key, sources: &Sources) -> NewKey {
    let default = sources.upstreams.first().is_some_and(|first| first.name == key.upstream);
    NewKey {
        upstream: (!default).then(|| key.upstream.to_string()),
        account: key.account.as_deref().map(str::to_owned),
        priority: key.priority,
        weight: (key.weight != 1).then_some(key.weight),
        tags: key.tags.clone(),
        disabled: key.disabled,
        limits: key.limits,
    }
}

fn told(plan: &Plan) -> Value {
    let rows = |keys: &[(Label, Arc<Key>)]| -> Vec<Value> {
        keys.iter()
            .map(|(label, key)| {
                json!({
                    "label": label.as_str(), "masked": key.secret.masked(),
                    "upstream": &*key.upstream, "from": &*key.origin,
                })
            })
            .collect()
    };
    json!({"imported": rows(&plan.new), "known": rows(&plan.known)})
}
