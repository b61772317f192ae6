//! From written fields to a checked description of one key.

use std::{str::FromStr, sync::Arc};

use http::Uri;
use kmi_core::{
    inventory::Limits,
    key::{ApiKey, Label},
};
use zeroize::Zeroizing;

use super::{
    fields::{Field, Name, Value},
    format::{ClientBase, Entry},
    problem::{Fault, Severity},
    source::Source,
};
use crate::settings::UpstreamSettings;

const MAX_WEIGHT: i64 = 1000;
const MAX_TAGS: usize = 32;

/// A key whose description is good; only its secret may still have to be fetched.
pub(super) struct KeySpec {
    pub label: Label,
    /// The line of its secret (or of its source), for messages.
    pub line: Option<u32>,
    pub source: Source,
    pub upstream: Arc<str>,
    pub priority: i32,
    pub weight: u32,
    pub account: Option<Arc<str>>,
    pub tags: Vec<String>,
    pub disabled: bool,
    pub limits: Limits,
}

impl KeySpec {
    /// Checks every field, so that all faults of a key are told at once.
    pub(super) fn check(entry: Entry, upstreams: &[UpstreamSettings]) -> Result<Self, Vec<Fault>> {
        let mut draft = Draft { faults: Vec::new(), line: entry.line, fields: entry.fields };
        let (label, priority, weight) =
            (draft.label(&entry.stem), draft.priority(), draft.weight());
        let upstream = draft.upstream(entry.base_url.as_ref(), upstreams);
        let account = draft.word(Name::Account).map(Into::into);
        let tags = draft.tags();
        let disabled = draft.truth(Name::Disabled).unwrap_or(false);
        let limits = Limits {
            rpm: draft.limit(Name::Rpm),
            tpm: draft.limit(Name::Tpm),
            concurrency: draft.limit(Name::Concurrency),
        };
        let source = draft.source();
        match (label, upstream, source) {
            (Some(label), Some(upstream), Some((line, source))) if draft.faults.is_empty() => {
                Ok(Self {
                    label,
                    line,
                    source,
                    upstream,
                    priority,
                    weight,
                    account,
                    tags,
                    disabled,
                    limits,
                })
            }
            _ => Err(draft.faults),
        }
    }

    /// Whether a field that everybody may see holds this secret by mistake: its own or another's.
    pub(super) fn shows(&self, secret: &ApiKey) -> bool {
        let texts = [Some(self.label.as_str()), self.account.as_deref()];
        let mut texts = texts.into_iter().flatten().chain(self.tags.iter().map(String::as_str));
        texts.any(|text| secret.is_in(text))
    }
}

/// A description that is being checked; every method takes its field and notes what is wrong.
struct Draft {
    faults: Vec<Fault>,
    line: Option<u32>,
    fields: Vec<Field>,
}

impl Draft {
    fn label(&mut self, stem: &str) -> Option<Label> {
        let given = self.text(Name::Label);
        let line = given.as_ref().map_or(self.line, |(line, _)| *line);
        let text = given.as_ref().map_or(stem, |(_, text)| text);
        match Label::parse(text) {
            Ok(label) => Some(label),
            Err(error) => {
                let hint = "give it a short visible name with `label`";
                self.faults.push(Fault::refused(error.to_string(), hint).on(line));
                None
            }
        }
    }

    fn priority(&mut self) -> i32 {
        let range = i64::from(i32::MIN)..=i64::from(i32::MAX);
        let given = self.integer(Name::Priority, range, "0 is usual, a lower number serves first");
        given.and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
    }

    fn weight(&mut self) -> u32 {
        let hint = "1 is usual; `disabled` switches a key off";
        let given = self.integer(Name::Weight, 1..=MAX_WEIGHT, hint);
        given.and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
    }

    fn limit(&mut self, name: Name) -> Option<u32> {
        let hint = "leave the field out for no limit; `disabled` switches a key off";
        let given = self.integer(name, 1..=i64::from(u32::MAX), hint);
        given.and_then(|n| u32::try_from(n).ok())
    }

    fn tags(&mut self) -> Vec<String> {
        let Some(field) = self.take(Name::Tags) else { return Vec::new() };
        let tags: Option<Vec<String>> = match &field.value {
            Value::List(tags) => Some(tags.iter().map(|tag| tag.to_string()).collect()),
            Value::Word(tags) => {
                let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty());
                Some(tags.map(str::to_owned).collect())
            }
            _ => None,
        };
        match tags {
            Some(tags)
                if tags.len() <= MAX_TAGS && tags.iter().all(|t| Label::parse(t).is_ok()) =>
            {
                tags
            }
            _ => {
                let message = format!("`{}` must be at most {MAX_TAGS} short texts", field.shown);
                self.refuse(field.line, message, "for example tags = [\"work\", \"spare\"]");
                Vec::new()
            }
        }
    }

    fn upstream(
        &mut self,
        client: Option<&ClientBase>,
        upstreams: &[UpstreamSettings],
    ) -> Option<Arc<str>> {
        let given = self.text(Name::Upstream);
        let found = match (&given, client) {
            (Some((_, name)), _) => upstreams.iter().find(|up| *up.name == ***name),
            (None, Some(client)) => return self.client_upstream(client, upstreams),
            (None, None) => upstreams.first(),
        };
        if found.is_none() {
            let known: Vec<_> = upstreams.iter().map(|up| &*up.name).collect();
            let hint = format!("known upstreams are: {}", known.join(", "));
            let line = given.map_or(self.line, |(line, _)| line);
            self.refuse(line, "there is no upstream of this name", hint);
        }
        found.map(|up| Arc::clone(&up.name))
    }

    /// A client's key goes where the client sends it: to the upstream with the same host or, when
    /// it is Kimi's (or a local stand-in), to the default one. A key for somebody else's service
    /// must not be sent to Kimi.
    fn client_upstream(
        &mut self,
        client: &ClientBase,
        upstreams: &[UpstreamSettings],
    ) -> Option<Arc<str>> {
        let default = upstreams.first()?;
        let Some(url) = &client.url else {
            return if client.kimi { Some(Arc::clone(&default.name)) } else { self.foreign() };
        };
        let authority = |url: &str| Uri::from_str(url).ok()?.into_parts().authority;
        let Some(host) = authority(url) else { return self.foreign() };
        if let Some(same) =
            upstreams.iter().find(|up| authority(&up.base_url).as_ref() == Some(&host))
        {
            return Some(Arc::clone(&same.name));
        }
        let name = host.host().to_ascii_lowercase();
        let under = |domain: &str| {
            name.strip_suffix(domain).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
        };
        let kimis = ["kimi.com", "moonshot.ai", "moonshot.cn"].into_iter().any(under);
        let local = ["localhost", "127.0.0.1", "[::1]"].contains(&&*name);
        if kimis || (local && client.kimi && !url.contains("/kmi-rotor")) {
            return Some(Arc::clone(&default.name));
        }
        self.foreign()
    }

    fn foreign(&mut self) -> Option<Arc<str>> {
        let fault = Fault::new(
            Severity::Notice,
            "this provider is not Kimi, its key is left alone",
            "to use it all the same, add an [upstream.NAME] with the provider's base_url",
        );
        self.faults.push(fault.on(self.line));
        None
    }

    fn source(&mut self) -> Option<(Option<u32>, Source)> {
        const SOURCES: [Name; 5] =
            [Name::ApiKey, Name::ApiKeyCmd, Name::ApiKeyEnv, Name::ApiKeyFile, Name::ApiKeyKeyring];
        let mut given: Vec<_> = SOURCES.into_iter().filter_map(|name| self.take(name)).collect();
        given.sort_by_key(|field| field.line);
        let second = given.get(1).map(|field| (field.line, field.shown));
        if let (Some((line, shown)), Some(first)) = (second, given.first()) {
            let message = format!("`{shown}` is given as well as `{}`", first.shown);
            self.refuse(line, message, "keep one source of the key");
            return None;
        }
        let Some(field) = given.pop() else {
            let hint = "give api_key (KMI_API_KEY in .env), or one of api_key_env, api_key_file, \
                        api_key_cmd, api_key_keyring";
            self.refuse(self.line, "no key is given", hint);
            return None;
        };
        let line = field.line;
        match Source::of(field) {
            Ok(source) => Some((line, source)),
            Err(fault) => {
                self.faults.push(fault.on(line));
                None
            }
        }
    }

    fn word(&mut self, name: Name) -> Option<String> {
        let (line, text) = self.text(name)?;
        if Label::parse(&text).is_ok() {
            return Some(text.to_string());
        }
        self.refuse(line, "the account must be a short visible text", "any name will do");
        None
    }

    fn text(&mut self, name: Name) -> Option<(Option<u32>, Zeroizing<String>)> {
        let field = self.take(name)?;
        if let Value::Text(text) | Value::Word(text) = field.value {
            return Some((field.line, text));
        }
        self.refuse(field.line, format!("`{}` must be text", field.shown), "put it into quotes");
        None
    }

    fn integer(
        &mut self,
        name: Name,
        range: std::ops::RangeInclusive<i64>,
        hint: &str,
    ) -> Option<i64> {
        let field = self.take(name)?;
        let given = match &field.value {
            Value::Integer(n) => Some(*n),
            Value::Word(word) => word.parse().ok(),
            _ => None,
        };
        let good = given.filter(|n| range.contains(n));
        if good.is_none() {
            let (from, to) = range.into_inner();
            let message = format!("`{}` must be a whole number from {from} to {to}", field.shown);
            self.refuse(field.line, message, hint);
        }
        good
    }

    fn truth(&mut self, name: Name) -> Option<bool> {
        let field = self.take(name)?;
        let given = match &field.value {
            Value::Boolean(truth) => Some(*truth),
            Value::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if given.is_none() {
            let message = format!("`{}` must be true or false", field.shown);
            self.refuse(field.line, message, "true switches the key off");
        }
        given
    }

    fn take(&mut self, name: Name) -> Option<Field> {
        let at = self.fields.iter().position(|field| field.name == name)?;
        Some(self.fields.remove(at))
    }

    fn refuse(&mut self, line: Option<u32>, message: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(Fault::refused(message, hint).on(line));
    }
}
