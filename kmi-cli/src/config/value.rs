//! Values as they are written, and how each type of setting reads and shows them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use kmi_core::state::{Mode, Policy};
use kmi_proxy::settings::{OnExhausted, UpstreamKind};
use serde_json::Value;

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
        let (number, unit) = split_unit(written.text()?)?;
        match unit {
            "ms" => Some(Self::from_millis(number)),
            "s" => Some(Self::from_secs(number)),
            "m" => number.checked_mul(60).map(Self::from_secs),
            "h" => number.checked_mul(3600).map(Self::from_secs),
            "d" => number.checked_mul(86_400).map(Self::from_secs),
            _ => None,
        }
        // Longer than this no timer may run, and adding it to a clock must not overflow.
        .filter(|duration| *duration <= Self::from_secs(366 * 86_400))
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
        let fits = |(_, factor): &&(&str, u64)| self.0 > 0 && self.0 % factor == 0;
        match SIZE_UNITS.iter().find(fits) {
            Some((name, factor)) => format!("{}{name}", self.0 / factor),
            None => format!("{}B", self.0),
        }
        .into()
    }
}

impl From<u64> for Size {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
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
mod tests {
    use super::*;

    fn raw<T: Setting>(text: &str) -> Option<T> {
        T::read(&Scalar::Raw(text.into()))
    }

    #[test]
    fn durations_read_and_show() {
        for (text, millis, shown) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("280 s", 280_000, "280s"),
            ("10m", 600_000, "10m"),
            ("60s", 60_000, "1m"),
            ("1h", 3_600_000, "1h"),
            ("1500ms", 1500, "1500ms"),
            ("0s", 0, "0s"),
            ("2d", 172_800_000, "48h"),
        ] {
            let duration: Duration = raw(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(duration.show(), shown, "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "9999999d"] {
            assert_eq!(raw::<Duration>(text), None, "{text}");
        }
        assert_eq!(Duration::read(&Scalar::Integer(30)), None, "a unit is needed");
    }

    #[test]
    fn sizes_read_and_show() {
        for (text, bytes, shown) in [
            ("1GiB", 1 << 30, "1GiB"),
            ("1024 MiB", 1 << 30, "1GiB"),
            ("5mb", 5_000_000, "5MB"),
            ("1000kB", 1_000_000, "1MB"),
            ("77", 77, "77B"),
            ("0", 0, "0B"),
        ] {
            let size: Size = raw(text).unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.show(), shown, "{text}");
        }
        assert_eq!(Size::read(&Scalar::Integer(4096)), Some(Size(4096)));
        for text in ["", "GiB", "1XB", "-1B", "99999999999GiB"] {
            assert_eq!(raw::<Size>(text), None, "{text}");
        }
    }

    #[test]
    fn files_are_typed_and_variables_are_not() {
        assert_eq!(bool::read(&Scalar::Bool(true)), Some(true));
        assert_eq!(bool::read(&Scalar::Text("true".into())), None);
        assert_eq!(raw::<bool>("off"), Some(false));
        assert_eq!(u32::read(&Scalar::Integer(3)), Some(3));
        assert_eq!(u32::read(&Scalar::Integer(-3)), None);
        assert_eq!(u32::read(&Scalar::Text("3".into())), None);
        assert_eq!(raw::<u32>("3"), Some(3));
        assert_eq!(f64::read(&Scalar::Integer(1)), Some(1.0));
        assert_eq!(raw::<f64>("NaN"), None);
        assert_eq!(
            u32::try_read(&Scalar::Text("3".into())).unwrap_err(),
            "expected a whole number, found \"3\""
        );
        assert_eq!(raw::<Option<String>>(""), Some(None));
        assert_eq!(raw::<String>(""), None);
        assert_eq!(raw::<String>("a\u{1b}"), None);
    }

    #[test]
    fn addresses_and_words() {
        assert_eq!(raw::<SocketAddr>("localhost:0"), Some(([127, 0, 0, 1], 0).into()));
        assert_eq!(raw::<SocketAddr>("[::1]:80").map(|a| a.to_string()), Some("[::1]:80".into()));
        assert_eq!(raw::<SocketAddr>("54123"), None);
        assert_eq!(raw::<UpstreamKind>("openai"), Some(UpstreamKind::OpenAi));
        assert_eq!(
            Mode::try_read(&Scalar::Raw("atuo".into())).unwrap_err(),
            "expected \"manual\" or \"auto\", found `atuo`"
        );
        for kind in [UpstreamKind::KimiCode, UpstreamKind::OpenPlatform, UpstreamKind::OpenAi] {
            assert_eq!(kind.show(), serde_json::to_value(kind).unwrap());
        }
    }
}
