//! The only place that prints: data to stdout, everything else to stderr.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use kmi_core::display::without_keys;
use kmi_tui::paint::Paint;
use serde::Serialize;

use crate::{
    args::{ColorChoice, Global},
    config::Environment,
};

/// The width of data that goes into a file or a pipe.
const NO_TERMINAL: u16 = 100;

/// How to talk to the user.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "options that have nothing to do with each other"
)]
pub(crate) struct Output {
    quiet: bool,
    verbose: u8,
    json: bool,
    color: ColorChoice,
    /// Whether the environment allows colour at all.
    colorful: bool,
    /// Whether the environment says that the terminal can do no more than print.
    dumb: bool,
}

#[expect(clippy::unused_self, reason = "who has no Output does not print")]
impl Output {
    /// As the global options and the environment wish.
    pub(crate) fn new(global: &Global, env: &Environment) -> Self {
        Self {
            quiet: global.quiet,
            verbose: global.verbose,
            json: global.json,
            color: global.color,
            ..Self::plain(env)
        }
    }

    /// Before the options are known.
    pub(crate) fn plain(env: &Environment) -> Self {
        let dumb = env.text("TERM") == Some("dumb");
        let colorful = env.os("NO_COLOR").is_none() && !dumb;
        Self { quiet: false, verbose: 0, json: false, color: ColorChoice::Auto, colorful, dumb }
    }

    /// Whether data is wanted as JSON.
    pub(crate) fn json(self) -> bool {
        self.json
    }

    /// Whether data on stdout may have colour.
    pub(crate) fn color_data(self) -> bool {
        self.color(io::stdout().is_terminal())
    }

    /// Whether a program that takes the whole screen is wanted and possible.
    pub(crate) fn holds_screen(self) -> bool {
        !self.json && !self.dumb && io::stdout().is_terminal() && io::stdin().is_terminal()
    }

    /// How colours are written on stdout.
    pub(crate) fn paint(self) -> Paint {
        Paint { colors: self.color_data() }
    }

    /// How wide data on stdout may be, in columns.
    pub(crate) fn width(self) -> u16 {
        let size = rustix::termios::tcgetwinsize(io::stdout());
        size.map(|size| size.ws_col).ok().filter(|columns| *columns > 0).unwrap_or(NO_TERMINAL)
    }

    /// Whether a progress bar is wanted: on a terminal, unless silenced.
    pub(crate) fn progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    fn color(self, terminal: bool) -> bool {
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => self.colorful && terminal,
        }
    }

    /// What was asked for; ends the line.
    pub(crate) fn data(self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| on_stdout(&error))
    }

    /// What was asked for, byte for byte.
    pub(crate) fn raw(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| on_stdout(&error))
    }

    /// What was asked for, as indented JSON.
    pub(crate) fn data_json(self, value: &impl Serialize) -> io::Result<()> {
        self.data(serde_json::to_string_pretty(value).map_err(io::Error::other)?)
    }

    /// Something worth knowing; `-q` silences it.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            self.stderr(&text);
        }
    }

    /// Something for those who asked for more with `-v`.
    pub(crate) fn detail(self, text: impl Display) {
        if self.verbose > 0 {
            self.stderr(&text);
        }
    }

    /// Something for those who asked for even more with `-vv`.
    pub(crate) fn fine_detail(self, text: impl Display) {
        if self.verbose > 1 {
            self.stderr(&text);
        }
    }

    /// What may be done now; `-q` silences it.
    pub(crate) fn hint(self, text: impl Display) {
        if !self.quiet {
            self.labelled("hint", "36", &text);
        }
    }

    /// Something odd and what to do about it; `-q` silences it.
    pub(crate) fn warning(self, what: impl Display, remedy: impl Display) {
        if !self.quiet {
            self.labelled("warning", "33", &what);
            self.labelled("hint", "36", &remedy);
        }
    }

    /// What went wrong and what to do about it; nothing silences it.
    pub(crate) fn error(self, what: impl Display, remedy: impl Display) {
        self.labelled("error", "31", &what);
        self.labelled("hint", "36", &remedy);
    }

    fn labelled(self, label: &str, color: &str, text: &dyn Display) {
        if self.color(io::stderr().is_terminal()) {
            self.stderr(&format_args!("\u{1b}[1;{color}m{label}:\u{1b}[0m {text}"));
        } else {
            self.stderr(&format_args!("{label}: {text}"));
        }
    }

    /// What is said may repeat a key that was typed in the wrong place. A stderr that nobody reads
    /// any more is no reason to stop.
    fn stderr(self, text: &dyn Display) {
        let _ = writeln!(io::stderr().lock(), "{}", without_keys(&text.to_string()));
    }
}

/// Says what could not be written; the kind stays, for a reader that has gone is no error.
fn on_stdout(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}
