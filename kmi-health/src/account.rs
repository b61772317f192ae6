//! Account ids that the provider lets slip: in headers, in error texts, in the quota's answer.
//!
//! Two keys with one id are siblings: they share every limit, and rotation among them gains
//! nothing (WIRE section 3).

use std::fmt;

/// The provider's id of an account. It is never shown or stored whole: both `Debug` and
/// `Display` give its first characters only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AccountId {
    kind: IdKind,
    id: Box<str>,
}

/// What an id names; limits belong to the organization where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum IdKind {
    User,
    Organization,
}

impl AccountId {
    /// Reads `Msh-Org-Id`.
    pub fn of_organization(id: &[u8]) -> Option<Self> {
        Self::new(IdKind::Organization, id)
    }

    /// Reads `Msh-Uid`, or `user.userId` of the quota's answer.
    pub fn of_user(id: &[u8]) -> Option<Self> {
        Self::new(IdKind::User, id)
    }

    /// Finds the organization that an error's message names: `Your account org-…<ak-…> request
    /// reached …`.
    pub fn in_text(message: &str) -> Option<Self> {
        message.match_indices("org-").find_map(|(at, _)| {
            let before = message[..at].chars().next_back();
            let id = message[at..].split(|c: char| !is_part(c)).next()?;
            let whole = !before.is_some_and(is_part) && id.len() > 8;
            whole.then(|| Self::of_organization(id.as_bytes())).flatten()
        })
    }

    fn new(kind: IdKind, id: &[u8]) -> Option<Self> {
        let id = std::str::from_utf8(id).ok()?.trim();
        let plausible = (1..=128).contains(&id.len()) && id.chars().all(is_part) && id != "0";
        plausible.then(|| Self { kind, id: id.into() })
    }

    /// Whether this id says more about limits than another one of the same key.
    pub(crate) fn outranks(&self, other: &Self) -> bool {
        self.kind > other.kind
    }
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The ids are ASCII; at least half of one stays hidden.
        write!(f, "{}…", &self.id[..(self.id.len() / 2).min(6)])
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_messages() {
        let message = "Your account org-0123456789<ak-abc> request reached organization max RPM: 3";
        assert_eq!(AccountId::in_text(message), AccountId::of_organization(b"org-0123456789"));
        for other in ["your org-x", "cyb-org-0123456789", "organization", "", "org-"] {
            assert_eq!(AccountId::in_text(other), None, "{other}");
        }
    }

    #[test]
    fn odd_ids_are_none() {
        for odd in [&b""[..], b"0", b"a b", b"\xff", b"a\x1b[2J", &[b'a'; 129]] {
            assert_eq!(AccountId::of_user(odd), None);
        }
        assert_ne!(AccountId::of_user(b"abc"), AccountId::of_organization(b"abc"));
    }

    #[test]
    fn an_id_is_never_shown_whole() {
        let id = AccountId::of_user(b"d0123456789").unwrap();
        assert_eq!(format!("{id} {id:?}"), "d0123… AccountId(d0123…)");
        assert_eq!(AccountId::of_user(b"7").unwrap().to_string(), "…");
    }
}
