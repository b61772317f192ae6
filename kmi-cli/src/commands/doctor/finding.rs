//! What the checks found.

use serde::Serialize;

use kmi_core::display::visible;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Good.
    Ok,
    /// It works, but something should be put right.
    Warning,
    /// Something does not work, or is not safe.
    Problem,
}

impl Level {
    /// The word that stands in JSON and text.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was checked, in a word.
    pub(super) check: &'static str,
    pub(super) message: String,
    /// What to do; nothing that is not ok lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

/// All of them, in the order of the checks; foreign text in them is made visible.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, check: &'static str, message: impl AsRef<str>) {
        self.push(Level::Ok, check, message.as_ref(), None);
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        message: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        self.push(Level::Warning, check, message.as_ref(), Some(hint.as_ref()));
    }

    pub(super) fn problem(
        &mut self,
        check: &'static str,
        message: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        self.push(Level::Problem, check, message.as_ref(), Some(hint.as_ref()));
    }

    pub(super) fn push(
        &mut self,
        level: Level,
        check: &'static str,
        message: &str,
        hint: Option<&str>,
    ) {
        let (message, hint) =
            (visible(message).into_owned(), hint.map(|hint| visible(hint).into()));
        self.0.push(Finding { level, check, message, hint });
    }

    pub(super) fn all(&self) -> &[Finding] {
        &self.0
    }

    pub(super) fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }
}
