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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
}

/// What is known of one key's account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    organization: Option<AccountId>,
    user: Option<AccountId>,
}

impl Known {
    /// Notes an id; whether it is a new one.
    pub(crate) fn learn(&mut self, id: &AccountId) -> bool {
        let known = match id.kind {
            IdKind::Organization => &mut self.organization,
            IdKind::User => &mut self.user,
        };
        let new = known.as_ref() != Some(id);
        if new {
            *known = Some(id.clone());
        }
        new
    }

    /// The id that says most about limits.
    pub(crate) fn id(&self) -> Option<&AccountId> {
        self.organization.as_ref().or(self.user.as_ref())
    }

    /// Whether two keys share their limits: those of one organization do, and those of one user
    /// unless they are known to be of two organizations.
    pub(crate) fn is_sibling(&self, other: &Self) -> bool {
        match (&self.organization, &other.organization) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.user.is_some() && self.user == other.user,
        }
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
    fn siblings_are_of_one_organization_or_else_of_one_user() {
        let known = |organization: &str, user: &str| {
            let mut known = Known::default();
            let ids = [
                AccountId::of_organization(organization.as_bytes()),
                AccountId::of_user(user.as_bytes()),
            ];
            ids.iter().flatten().for_each(|id| assert!(known.learn(id)));
            ids.iter().flatten().for_each(|id| assert!(!known.learn(id)));
            known
        };
        for (one, other, siblings) in [
            (("o", "u"), ("o", "u"), true),
            (("o", ""), ("o", "u"), true),
            (("o", "u"), ("o", "v"), true),
            (("", "u"), ("", "u"), true),
            (("o", "u"), ("", "u"), true),
            (("o", "u"), ("p", "u"), false),
            (("o", ""), ("", "u"), false),
            (("", ""), ("", ""), false),
            (("", "o"), ("o", ""), false),
        ] {
            let (one, other) = (known(one.0, one.1), known(other.0, other.1));
            assert_eq!(one.is_sibling(&other), siblings, "{one:?} {other:?}");
            assert_eq!(other.is_sibling(&one), siblings);
        }
        assert_eq!(known("o", "u").id(), AccountId::of_organization(b"o").as_ref());
        assert_eq!(known("", "u").id(), AccountId::of_user(b"u").as_ref());
    }

    #[test]
    fn an_id_is_never_shown_whole() {
        let id = AccountId::of_user(b"d0123456789").unwrap();
        assert_eq!(format!("{id} {id:?}"), "d0123… AccountId(d0123…)");
        assert_eq!(AccountId::of_user(b"7").unwrap().to_string(), "…");
    }
}
