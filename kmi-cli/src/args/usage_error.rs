//! A command line that was not understood, as one line what and one line what to do.

use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use kmi_core::display::visible;

/// Why a command line leads to no command.
#[derive(Debug)]
pub(crate) enum UsageError {
    /// Not an error: help or the version was asked for; the text is for standard output.
    Info(String),
    /// The command line is wrong.
    Wrong {
        /// What is wrong, in one line.
        message: String,
        /// What to do, in one line.
        hint: String,
    },
}

impl UsageError {
    /// A seed flag (`--rotate`, …) and a command were given.
    pub(super) fn flag_beside_command(flag: &str) -> Self {
        Self::Wrong {
            message: format!("`{flag}` is a command itself and cannot stand beside another one"),
            hint: "give one of them".to_owned(),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Info(text) | Self::Wrong { message: text, .. } => f.write_str(text),
        }
    }
}

impl From<clap::Error> for UsageError {
    fn from(error: clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Self::Info(error.render().to_string())
            }
            kind => Self::Wrong { message: message(kind, &error), hint: hint(&error) },
        }
    }
}

/// clap's own first line, except where that only announces a list.
fn message(kind: ErrorKind, error: &clap::Error) -> String {
    let missing = context(error, ContextKind::InvalidArg).join(", ");
    let text = match kind {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            format!("`{}` needs a command", command(error))
        }
        ErrorKind::MissingRequiredArgument => format!("`{}` needs {missing}", command(error)),
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    };
    visible(&text).into_owned()
}

fn hint(error: &clap::Error) -> String {
    let suggested =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
            .into_iter()
            // clap's list goes from the least likely to the most likely.
            .find_map(|kind| context(error, kind).pop());
    let allowed = context(error, ContextKind::ValidValue).join(", ");
    match suggested {
        Some(name) => format!("did you mean `{name}`?"),
        None if !allowed.is_empty() => format!("possible values: {allowed}"),
        None => format!("`{} --help` shows what is possible", command(error)),
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(many)) => many.clone(),
        _ => Vec::new(),
    }
}

/// The command that the usage line of the error names, as `kmi keys add`.
fn command(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => error.render().to_string(),
    };
    let line = usage.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
    let words: Vec<&str> = line
        .unwrap_or("kmi")
        .split_whitespace()
        .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
        .collect();
    words.join(" ")
}
