//! Key files: reading them, watching them, writing them (CONTRACT section 2).
//!
//! [`load`] reads every key of a home and says of everything it could not use what is wrong,
//! where, and what to do; one bad file never costs another. [`Watcher`] tells when it is time to
//! load again. [`add`] and [`remove`] change the key directory; [`survey`] finds keys elsewhere.
//!
//! A key file is read in steps, each a file here: `dir` (which files), `read` (is it safe, is it
//! text), `format` (what is written), `fields` (known names), `spec` (sensible values), `source`
//! (the secret itself, perhaps from `command` or `keyring`, or from `memory`), `load` (unique among
//! the others).

mod command;
mod dir;
mod edit;
mod fields;
mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keyring;
mod load;
mod memory;
mod problem;
mod read;
mod source;
mod spec;
mod survey;
mod watch;

#[cfg(test)]
mod tests;

pub use self::{
    dir::files,
    edit::{EditError, NewKey, add, remove},
    load::{EnvKey, Loaded, Sources, load},
    memory::Answers,
    problem::{Problem, Severity},
    source::Variables,
    survey::survey,
    watch::{SETTLE, Watcher},
};
