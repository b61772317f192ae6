//! What is wrong with a configuration: what, where, and what to do.

use std::fmt;

use kmi_core::display::{visible, without_keys};

/// One thing that is wrong or odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stands: file and line, variable, or option.
    place: Option<String>,
    message: String,
    hint: String,
}

impl Problem {
    /// Says what is wrong, in one line; foreign text in it is made visible, and keys are masked: a
    /// problem is data too (`config check --json`, the doctor's bundle).
    pub(crate) fn new(message: impl AsRef<str>) -> Self {
        Self {
            place: None,
            message: shown(message.as_ref()),
            hint: "kmi.config.toml.example describes every key".to_owned(),
        }
    }

    /// Says where it stands.
    pub(crate) fn at(mut self, place: &impl fmt::Display) -> Self {
        self.place = Some(shown(&place.to_string()));
        self
    }

    /// Says what to do, in one line.
    pub(crate) fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.hint = shown(hint.as_ref());
        self
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &str {
        &self.hint
    }
}

fn shown(text: &str) -> String {
    visible(&without_keys(text)).into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_problem_repeats_a_key() {
        let key = "sk-abcdefghij0123456";
        let problem = Problem::new(key).at(&key).hint(key);
        assert_eq!(format!("{problem} {}", problem.remedy()), "sk-…3456: sk-…3456 sk-…3456");
    }
}
