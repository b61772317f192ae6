//! Values as they are written, and how each type of setting reads and shows them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use kmi_core::state::{Mode, Policy};
use kmi_proxy::settings::{OnExhausted, UpstreamKind};
use serde_json::Value;

/// Longer texts are not repeated in messages: no setting that is read from a word is longer.
pub(super) const LONGEST_REPEATED: usize = 32;

/// A value as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    /// `true` or `false` in a file.
    Bool(bool),
    /// A whole number in a file.
    Integer(i64),
    /// A number with a point in a file.
    Float(f64),
    /// A quoted text in a file.
    Text(String),
    /// Text without a type: from a variable or the command line.
    Raw(String),
    /// Something in a file that no setting can be, by its name.
    Other(&'static str),
}

impl Scalar {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Raw(text) => Some(text),
            _ => None,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Bool(b) => format!("`{b}`"),
            Self::Integer(n) => format!("`{n}`"),
            Self::Float(n) => format!("`{n}`"),
            // A key that was written in the wrong place must not get into logs and screenshots.
            Self::Text(text) | Self::Raw(text)
                if text.contains("sk-") || text.chars().count() > LONGEST_REPEATED =>
            {
                format!("a text of {} characters", text.chars().count())
            }
            Self::Text(text) => format!("\"{text}\""),
            Self::Raw(text) => format!("`{text}`"),
            Self::Other(name) => (*name).to_owned(),
        }
    }
}

/// A type that a setting can have.
pub(crate) trait Setting: Sized {
    /// What is expected, as it reads after "expected".
    fn expected() -> String;
    /// The typed value, if the written one is of this type.
    fn read(written: &Scalar) -> Option<Self>;
    /// The value as `kmi config show` shows it; reads back as itself.
    fn show(&self) -> Value;

    /// As [`Setting::read`], with a sentence in place of nothing.
    fn try_read(written: &Scalar) -> Result<Self, String> {
        Self::read(written)
            .ok_or_else(|| format!("expected {}, found {}", Self::expected(), written.describe()))
    }
}

/// Makes a form of writing interchangeable with the type of the field that is written so.
macro_rules! wraps {
    ($form:ident, $field:ty) => {
        impl From<$field> for $form {
            fn from(value: $field) -> Self {
                Self(value)
            }
        }
        impl From<$form> for $field {
            fn from(form: $form) -> Self {
                form.0
            }
        }
    };
}

impl Setting for bool {
    fn expected() -> String {
        "true or false".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        match written {
            Scalar::Bool(b) => Some(*b),
            Scalar::Raw(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }
    fn show(&self) -> Value {
        (*self).into()
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn expected() -> String {
                "a whole number".into()
            }
            fn read(written: &Scalar) -> Option<Self> {
                match written {
                    Scalar::Integer(n) => Self::try_from(*n).ok(),
                    Scalar::Raw(text) => text.parse().ok(),
                    _ => None,
                }
            }
            fn show(&self) -> Value {
                (*self).into()
            }
        }
    )*};
}
whole_number!(u32, usize);

impl Setting for f64 {
    fn expected() -> String {
        "a number".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        let number = match written {
            Scalar::Float(n) => *n,
            Scalar::Integer(n) => Self::from(i32::try_from(*n).ok()?),
            Scalar::Raw(text) => text.parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }
    fn show(&self) -> Value {
        (*self).into()
    }
}

impl Setting for String {
    fn expected() -> String {
        "a text without control characters".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        let text = written.text()?;
        let good = !text.is_empty() && !text.chars().any(kmi_core::display::is_unsafe);
        good.then(|| text.to_owned())
    }
    fn show(&self) -> Value {
        self.as_str().into()
    }
}

impl Setting for PathBuf {
    fn expected() -> String {
        "a path".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        String::read(written).map(Into::into)
    }
    fn show(&self) -> Value {
        self.to_string_lossy().into()
    }
}

impl<T: Setting> Setting for Option<T> {
    fn expected() -> String {
        T::expected()
    }
    /// An empty text takes a value back that a lower layer gave.
    fn read(written: &Scalar) -> Option<Self> {
        match written.text() {
            Some("") => Some(None),
            _ => T::read(written).map(Some),
        }
    }
    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::show)
    }
}

impl Setting for SocketAddr {
    fn expected() -> String {
        "an address and a port such as \"127.0.0.1:54123\"".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        let text = written.text()?;
        match text.strip_prefix("localhost:") {
            Some(port) => Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into()),
            None => text.parse().ok(),
        }
    }
    fn show(&self) -> Value {
        self.to_string().into()
    }
}

impl Setting for Duration {
    fn expected() -> String {
        "a time such as \"500ms\", \"30s\", \"10m\" or \"1h\"".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        duration(written.text()?)
    }
    fn show(&self) -> Value {
        let (seconds, millis) = (self.as_secs(), self.subsec_millis());
        if millis > 0 {
            return format!("{}ms", self.as_millis()).into();
        }
        match seconds {
            s if s > 0 && s % 3600 == 0 => format!("{}h", s / 3600),
            s if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
            s => format!("{s}s"),
        }
        .into()
    }
}

/// A [`Duration`] that is more than nothing: with none at all, waiting would be spinning.
pub(crate) struct Positive(Duration);

impl Setting for Positive {
    fn expected() -> String {
        format!("{}, more than 0", Duration::expected())
    }
    fn read(written: &Scalar) -> Option<Self> {
        Duration::read(written).filter(|duration| !duration.is_zero()).map(Self)
    }
    fn show(&self) -> Value {
        self.0.show()
    }
}
wraps!(Positive, Duration);

/// At least one.
pub(crate) struct Count(u32);

impl Setting for Count {
    fn expected() -> String {
        "a whole number from 1".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        u32::read(written).filter(|count| *count > 0).map(Self)
    }
    fn show(&self) -> Value {
        self.0.show()
    }
}
wraps!(Count, u32);

/// A part of a whole.
pub(crate) struct Ratio(f64);

impl Setting for Ratio {
    fn expected() -> String {
        "a number from 0 to 1".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        f64::read(written).filter(|ratio| (0.0..=1.0).contains(ratio)).map(Self)
    }
    fn show(&self) -> Value {
        self.0.show()
    }
}
wraps!(Ratio, f64);

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

const SIZE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
];

impl Setting for Size {
    fn expected() -> String {
        "a size such as \"512MiB\" or \"1GiB\"".into()
    }
    fn read(written: &Scalar) -> Option<Self> {
        if let Scalar::Integer(bytes) = written {
            return u64::try_from(*bytes).ok().map(Self);
        }
        let (number, unit) = split_unit(written.text()?)?;
        let factor = match unit {
            "" | "B" => 1,
            _ => SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
        };
        number.checked_mul(factor).map(Self)
    }
    fn show(&self) -> Value {
        let fits = |(_, factor): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*factor);
        match SIZE_UNITS.iter().find(fits) {
            Some((name, factor)) => format!("{}{name}", self.0 / factor),
            None => format!("{}B", self.0),
        }
        .into()
    }
}

wraps!(Size, u64);

/// A time as people write it: `500ms`, `30s`, `10m`, `1h`, `7d`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
    // Longer than this no timer may run, and adding it to a clock must not overflow.
    .filter(|duration| *duration <= Duration::from_hours(366 * 24))
}

/// `30s` is 30 and `s`; blanks between them are allowed.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..at].parse().ok()?, text[at..].trim_start()))
}

macro_rules! words {
    ($type:ty { $($word:literal => $value:expr),* $(,)? }) => {
        impl Setting for $type {
            fn expected() -> String {
                [$(concat!("\"", $word, "\"")),*].join(" or ")
            }
            fn read(written: &Scalar) -> Option<Self> {
                match written.text()? {
                    $($word => Some($value),)*
                    _ => None,
                }
            }
            fn show(&self) -> Value {
                [$(($word, $value)),*].iter().find(|(_, value)| value == self).map_or(
                    Value::Null,
                    |(word, _)| (*word).into(),
                )
            }
        }
    };
}
words!(Mode { "manual" => Mode::Manual, "auto" => Mode::Auto });
words!(Policy { "round-robin" => Policy::RoundRobin, "session" => Policy::Session });
words!(OnExhausted { "fail" => OnExhausted::Fail, "wait" => OnExhausted::Wait });
words!(UpstreamKind {
    "kimi-code" => UpstreamKind::KimiCode,
    "open-platform" => UpstreamKind::OpenPlatform,
    "openai" => UpstreamKind::OpenAi,
});

#[cfg(test)]
mod tests;
