//! API keys: the secret itself and the names it is known by.

use std::{fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// A secret API key.
///
/// It has no `Display` and no `Serialize`, its `Debug` is masked, and its memory is wiped when it
/// is dropped. [`ApiKey::expose`] is the only way to the text; it is called where the upstream
/// request's credential is set.
pub struct ApiKey(Zeroizing<String>);

/// Why a text cannot be an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// The text has no characters at all.
    #[error("the key is empty")]
    Empty,
    /// Shorter than 8 or longer than 512 characters.
    #[error("a key has 8 to 512 characters, this one {0}")]
    Length(usize),
    /// A blank, a control or a non-ASCII character; the position counts characters from 1.
    #[error(
        "character {0} of the key is not printable ASCII (a blank, a quote mark of a word processor?)"
    )]
    Character(usize),
}

impl ApiKey {
    /// Takes a key as it stands in a file; it must match `[!-~]{8,512}`.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        if text.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        if let Some(at) = text.chars().position(|c| !c.is_ascii_graphic()) {
            return Err(ApiKeyError::Character(at + 1));
        }
        if !(8..=512).contains(&text.len()) {
            return Err(ApiKeyError::Length(text.len()));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret text, for the credential of an upstream request and for redaction only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a text holds the key, so that nobody may see it.
    pub fn is_in(&self, text: &str) -> bool {
        text.contains(self.expose())
    }

    /// How the key may be shown: `sk-…` and its last four characters.
    pub fn masked(&self) -> String {
        format!("sk-…{}", &self.0[self.0.len() - 4..])
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.masked())
    }
}

impl PartialEq for ApiKey {
    /// Equality of secrets of the same home, to find a value that is given twice.
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}
impl Eq for ApiKey {}

/// The secret of one home, from which key ids are derived; wiped when dropped.
pub struct HomeSecret([u8; 32]);

impl HomeSecret {
    /// Takes 256 random bits.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for HomeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HomeSecret(…)")
    }
}

impl Drop for HomeSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The stable public name of a key: `k-` and 8 hex digits of a keyed hash.
///
/// It says nothing about the secret to somebody who does not know the home's secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// HMAC-SHA-256 of the key under the home's secret, cut to 32 bits.
    pub fn derive(home: &HomeSecret, key: &ApiKey) -> Self {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&home.0).expect("HMAC takes keys of any length");
        mac.update(key.expose().as_bytes());
        let tag = mac.finalize().into_bytes();
        Self([tag[0], tag[1], tag[2], tag[3]])
    }

    /// Reads the form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 4];
        hex::decode_to_slice(text.strip_prefix("k-")?, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k-{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name a person gave to a key; shown everywhere, so nothing in it can act on a terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(Arc<str>);

/// Why a text cannot be a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// No characters, or only blanks.
    #[error("the label is empty")]
    Empty,
    /// More than 64 characters.
    #[error("the label has {0} characters; at most 64 are allowed")]
    TooLong(usize),
    /// A control, bidirectional or invisible character, or a blank at an end.
    #[error("the label has a control or invisible character, or a blank at an end")]
    Character,
}

impl Label {
    /// Takes 1 to 64 visible characters; blanks only inside.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        if text.trim().is_empty() {
            return Err(LabelError::Empty);
        }
        let chars = text.chars().count();
        if chars > 64 {
            return Err(LabelError::TooLong(chars));
        }
        if text.trim() != text || text.chars().any(crate::display::is_unsafe) {
            return Err(LabelError::Character);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as a shared string, for records that outlive the inventory.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printable_ascii_of_8_to_512() {
        assert!(ApiKey::parse("sk-12345").is_ok());
        assert_eq!(ApiKey::parse("").unwrap_err(), ApiKeyError::Empty);
        assert_eq!(ApiKey::parse("sk-1234").unwrap_err(), ApiKeyError::Length(7));
        assert_eq!(ApiKey::parse(&"x".repeat(513)).unwrap_err(), ApiKeyError::Length(513));
        assert_eq!(ApiKey::parse("sk-12 345").unwrap_err(), ApiKeyError::Character(6));
        assert_eq!(ApiKey::parse("sk-1234“").unwrap_err(), ApiKeyError::Character(8));
    }

    #[test]
    fn debug_shows_the_mask_only() {
        let key = ApiKey::parse("sk-secret-abcd").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(sk-…abcd)");
        assert_eq!(format!("{:?}", HomeSecret::new([7; 32])), "HomeSecret(…)");
    }

    #[test]
    fn ids_are_stable_per_home_and_parse_back() {
        let (home, other) = (HomeSecret::new([1; 32]), HomeSecret::new([2; 32]));
        let key = ApiKey::parse("sk-secret-abcd").unwrap();
        let id = KeyId::derive(&home, &key);
        assert_eq!(id, KeyId::derive(&home, &key));
        assert_ne!(id, KeyId::derive(&other, &key));
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        assert_eq!(id.to_string().len(), 10);
        assert_eq!(KeyId::parse("k-12"), None);
    }

    #[test]
    fn labels_cannot_carry_escapes() {
        assert_eq!(Label::parse("work ü").unwrap().as_str(), "work ü");
        assert_eq!(Label::parse(" ").unwrap_err(), LabelError::Empty);
        assert_eq!(Label::parse("a\u{1b}").unwrap_err(), LabelError::Character);
        assert_eq!(Label::parse("a ").unwrap_err(), LabelError::Character);
        assert_eq!(Label::parse(&"a".repeat(65)).unwrap_err(), LabelError::TooLong(65));
    }
}
