//! What is wrong with a configuration: what, where, and what to do.

use std::fmt;

use kmi_core::display::visible;

/// One thing that is wrong or odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stands: file and line, variable, or option.
    place: Option<String>,
    message: String,
    hint: String,
}

impl Problem {
    /// Says what is wrong, in one line; foreign text in it is made visible.
    pub(crate) fn new(message: impl AsRef<str>) -> Self {
        Self {
            place: None,
            message: visible(message.as_ref()).into_owned(),
            hint: "kmi.config.toml.example describes every key".to_owned(),
        }
    }

    /// Says where it stands.
    pub(crate) fn at(mut self, place: &impl fmt::Display) -> Self {
        self.place = Some(visible(&place.to_string()).into_owned());
        self
    }

    /// Says what to do, in one line.
    pub(crate) fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.hint = visible(hint.as_ref()).into_owned();
        self
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// A configuration that cannot be used; never without a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Everything that is wrong, in the order it was found.
    pub(crate) problems: Vec<Problem>,
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
