//! Asks for a key on the terminal without showing it.
//!
//! Whatever ends the question gives the terminal back as it was: a terminal that shows nothing any
//! more is what a user cannot find the reason of.

use std::{
    io::{self, BufRead, Read, Write as _},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use kmi_tui::screen::Signal;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::signals;

/// No key is that long.
const LONGEST: usize = 4096;

/// One line, at most [`LONGEST`] bytes, in memory that never moves: a place that it had left would
/// not be wiped.
fn line(input: impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST));
    input.take(LONGEST as u64).read_line(&mut text)?;
    Ok(text)
}

/// The same of all that there is.
pub(super) fn all(input: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST));
    input.take(LONGEST as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// What came of a question.
pub(super) enum Answer {
    /// What was typed, with the end of its line.
    Line(Zeroizing<String>),
    /// The user, or somebody else, ended the program with this signal.
    Signal(u8),
}

enum Heard {
    Line(io::Result<Zeroizing<String>>),
    Signal(Signal),
}

/// The terminal at standard input, with nothing shown of what is typed until this is dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn begin() -> io::Result<Self> {
        let hidden = Self { before: tcgetattr(io::stdin())? };
        hidden.hide()?;
        Ok(hidden)
    }

    fn hide(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        // The line's end is shown, so that what comes next begins on a line of its own.
        modes.local_modes.insert(LocalModes::ECHONL);
        // Not flushed: what was pasted early is part of the answer.
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &modes)?)
    }

    fn show(&self) {
        // A terminal that has gone needs nothing back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.show();
    }
}

/// Asks; standard input has to be a terminal.
pub(super) fn ask(question: &str) -> io::Result<Answer> {
    let (tell, heard) = sync_channel(1);
    // Before anything is hidden, so that no signal falls in between.
    hear_signals(tell.clone())?;
    let hidden = Hidden::begin()?;
    let mut err = io::stderr().lock();
    write!(err, "{question}")?;
    err.flush()?;
    thread::Builder::new().name("answer".to_owned()).spawn(move || tell.send(read()))?;
    loop {
        match heard.recv().map_err(|_| io::ErrorKind::BrokenPipe)? {
            Heard::Line(line) => {
                let line = line?;
                // Ctrl-D ends the answer, but not its line.
                if !line.ends_with('\n') {
                    writeln!(err)?;
                }
                return Ok(Answer::Line(line));
            }
            Heard::Signal(Signal::End(signal)) => {
                // Nobody may be there any more to see it.
                let _ = writeln!(err);
                return Ok(Answer::Signal(signal));
            }
            Heard::Signal(Signal::Stop) => {
                hidden.show();
                signals::stop();
            }
            Heard::Signal(Signal::Continue) => {
                hidden.hide()?;
                write!(err, "{question}")?;
                err.flush()?;
            }
        }
    }
}

fn read() -> Heard {
    Heard::Line(line(io::stdin().lock()))
}

fn hear_signals(tell: SyncSender<Heard>) -> io::Result<()> {
    let signals = signals::watch()?;
    let hear = move || {
        for signal in signals {
            let gone = tell.send(Heard::Signal(signal)).is_err();
            if let (true, Signal::End(signal)) = (gone, signal) {
                end(signal);
            }
        }
    };
    thread::Builder::new().name("hear".to_owned()).spawn(hear).map(drop)
}

/// After the question a signal ends the process again, as it would without it.
#[expect(clippy::exit, reason = "the signal's default action cannot be had back")]
fn end(signal: u8) {
    std::process::exit(128 + i32::from(signal));
}
