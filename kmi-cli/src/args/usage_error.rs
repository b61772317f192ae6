//! A command line that was not understood, as one line what and one line what to do.

use std::{ffi::OsString, fmt};

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
    /// What clap says of this command line.
    pub(super) fn new(error: &clap::Error, description: &clap::Command, args: &[OsString]) -> Self {
        let kind = error.kind();
        if matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Self::Info(error.render().to_string());
        }
        let command = command(description, args);
        let wrong = context(error, ContextKind::InvalidArg).pop();
        if kind == ErrorKind::UnknownArgument
            && command == "kmi keys add"
            && wrong.is_some_and(|wrong| !wrong.starts_with('-'))
        {
            return Self::key_as_argument();
        }
        Self::Wrong { message: message(kind, error, &command), hint: hint(error, &command) }
    }

    /// What follows a label is most likely the key, whatever it looks like: it is not repeated.
    fn key_as_argument() -> Self {
        Self::Wrong {
            message: "`kmi keys add` takes a label and nothing after it".to_owned(),
            hint: "leave the key out: it is asked for without being shown, or read from standard \
                   input"
                .to_owned(),
        }
    }

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

/// clap's own first line, except where that only announces a list.
fn message(kind: ErrorKind, error: &clap::Error, command: &str) -> String {
    let missing = context(error, ContextKind::InvalidArg).join(", ");
    let text = match kind {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            format!("`{command}` needs a command")
        }
        ErrorKind::MissingRequiredArgument => format!("`{command}` needs {missing}"),
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    };
    visible(&text).into_owned()
}

fn hint(error: &clap::Error, command: &str) -> String {
    let suggested =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
            .into_iter()
            // clap's list goes from the least likely to the most likely.
            .find_map(|kind| context(error, kind).pop());
    let allowed = context(error, ContextKind::ValidValue).join(", ");
    match suggested {
        Some(name) => format!("did you mean `{name}`?"),
        None if !allowed.is_empty() => format!("possible values: {allowed}"),
        None => format!("`{command} --help` shows what is possible"),
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(many)) => many.clone(),
        _ => Vec::new(),
    }
}

/// The command that is meant, as `kmi keys add`; clap's errors do not always name it.
fn command(description: &clap::Command, args: &[OsString]) -> String {
    let mut words = vec![description.get_name().to_owned()];
    let mut at = description;
    for arg in args.iter().skip(1).take_while(|arg| *arg != "--") {
        if let Some(command) = at.find_subcommand(arg) {
            words.push(command.get_name().to_owned());
            at = command;
        }
    }
    words.join(" ")
}
