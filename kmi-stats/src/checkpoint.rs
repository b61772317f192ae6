//! Signed checkpoints: whoever holds a state directory's key states how many lines its trace had
//! and what their head was.
//!
//! The unkeyed chain shows every edit, but not a file that was rewritten as a whole, nor a cut
//! tail. A checkpoint that is kept elsewhere shows both. Its form is that of C2SP, so that other
//! tools can read it: a checkpoint (<https://c2sp.org/tlog-checkpoint>) in a signed note
//! (<https://c2sp.org/signed-note>). Where a transparency log has the root of its tree, there
//! stands the head of the chain: the origin begins with `kmi-trace/`.
//!
//! ```
//! use kmi_core::trace::ChainHash;
//! use kmi_stats::checkpoint::Signer;
//!
//! let signer = Signer::new(&[7; 32])?;
//! let note = signer.sign(1000, &ChainHash::START);
//! let checkpoint = signer.public_key().check(&note)?;
//! assert_eq!(checkpoint.count, 1000);
//! # Ok::<(), kmi_stats::checkpoint::NoteError>(())
//! ```

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kmi_core::trace::ChainHash;
use ring::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};

/// How every origin of ours begins.
const ORIGIN: &str = "kmi-trace/";
/// C2SP's number for Ed25519.
const ED25519_KIND: u8 = 1;
/// How a signature's line begins: an em dash.
const SIGNATURE: &str = "\u{2014} ";
/// No note of ours is longer, in bytes.
const MAX_NOTE: usize = 4096;

/// What a checkpoint states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose trace it is.
    pub origin: String,
    /// How many lines it had.
    pub count: u64,
    /// The hash of the last of them.
    pub head: ChainHash,
}

/// Why a text is no checkpoint, or not one of the given key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not the form of a signed note with a checkpoint in it.
    #[error("it is not a checkpoint of a kmi trace")]
    Form,
    /// Signed by others only.
    #[error("it bears no signature of {0}")]
    OtherKey(String),
    /// The signature is not one of the text.
    #[error("its signature is wrong: it was not made by {0}, or changed since")]
    Forged(String),
    /// Not the form `NAME+HASH+KEY`.
    #[error("it is not a public key such as `kmi trace head --public-key` prints")]
    PublicKey,
    /// A seed that makes no key.
    #[error("the state directory's key cannot be used")]
    Seed,
}

impl Checkpoint {
    /// The three lines that are signed.
    fn text(&self) -> String {
        let head = BASE64.encode(bytes_of(&self.head));
        format!("{}\n{}\n{head}\n", self.origin, self.count)
    }

    /// What a note states, whoever signed it.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let (text, _) = split(note)?;
        // Further lines are a later version's; they are signed with the rest.
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(NoteError::Form);
        let (origin, count, head) = (line()?, line()?, line()?);
        let head = BASE64.decode(head).map_err(|_| NoteError::Form)?;
        if !origin.starts_with(ORIGIN) {
            return Err(NoteError::Form);
        }
        Ok(Self {
            origin: origin.to_owned(),
            count: count.parse().map_err(|_| NoteError::Form)?,
            head: ChainHash::parse(&hex::encode(head)).ok_or(NoteError::Form)?,
        })
    }
}

/// A state directory's key. Its `Debug` shows the public half.
#[derive(Debug)]
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// The key that 256 random bits make.
    pub fn new(seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Seed)?;
        let key: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Seed)?;
        let name = format!("{ORIGIN}{}", hex::encode(first_four(&key)));
        Ok(Self { pair, public: PublicKey { name, key } })
    }

    /// The half that others check with.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// States that the trace had `count` lines whose head was `head`: a whole note.
    pub fn sign(&self, count: u64, head: &ChainHash) -> String {
        let origin = self.public.name.clone();
        let text = Checkpoint { origin, count, head: *head }.text();
        let signature = self.pair.sign(text.as_bytes());
        let blob = [&self.public.hash()[..], signature.as_ref()].concat();
        format!("{text}\n{SIGNATURE}{} {}\n", self.public.name, BASE64.encode(blob))
    }
}

/// The public half of a state directory's key, written as C2SP's verifier key:
/// `NAME+HASH+KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

impl PublicKey {
    /// What a note states, if it bears a good signature of this key.
    pub fn check(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let (text, signatures) = split(note)?;
        let ours = signatures.lines().filter_map(|line| {
            let (name, blob) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
            let blob = BASE64.decode(blob).ok().filter(|_| name == self.name)?;
            let (hash, signature) = blob.split_first_chunk::<4>()?;
            (*hash == self.hash()).then(|| signature.to_vec())
        });
        let key = UnparsedPublicKey::new(&ED25519, self.key);
        let mut found = false;
        for signature in ours {
            found = true;
            if key.verify(text.as_bytes(), &signature).is_ok() {
                return Checkpoint::parse(note);
            }
        }
        let name = self.name.clone();
        Err(if found { NoteError::Forged(name) } else { NoteError::OtherKey(name) })
    }

    /// By which a signature tells whose it is.
    fn hash(&self) -> [u8; 4] {
        let named = [self.name.as_bytes(), b"\n", &[ED25519_KIND], &self.key].concat();
        first_four(&named)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = hex::encode(self.hash());
        let key = BASE64.encode([&[ED25519_KIND][..], &self.key].concat());
        write!(f, "{}+{hash}+{key}", self.name)
    }
}

impl FromStr for PublicKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim().splitn(3, '+');
        let mut part = || parts.next().ok_or(NoteError::PublicKey);
        let (name, _, key) = (part()?, part()?, part()?);
        let key = BASE64.decode(key).map_err(|_| NoteError::PublicKey)?;
        let [ED25519_KIND, key @ ..] = &*key else { return Err(NoteError::PublicKey) };
        let key = key.try_into().map_err(|_| NoteError::PublicKey)?;
        let key = Self { name: name.to_owned(), key };
        // A typing mistake shows in the hash.
        if key.to_string() == text.trim() { Ok(key) } else { Err(NoteError::PublicKey) }
    }
}

/// A note's text, its last newline included, and the lines of its signatures.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > MAX_NOTE {
        return Err(NoteError::Form);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Form)?;
    Ok((&note[..=at], &note[at + 2..]))
}

fn first_four(bytes: &[u8]) -> [u8; 4] {
    let digest = digest(&SHA256, bytes);
    let mut first = [0; 4];
    first.copy_from_slice(&digest.as_ref()[..4]);
    first
}

fn bytes_of(hash: &ChainHash) -> [u8; 32] {
    let mut bytes = [0; 32];
    // A hash is 64 digits: it always fits.
    let _ = hex::decode_to_slice(hash.as_str(), &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> ChainHash {
        ChainHash::START.follow(b"a line")
    }

    /// The bytes by the letter of C2SP, so that they cannot change unseen.
    #[test]
    fn a_note_has_the_forms_of_c2sp() {
        let signer = Signer::new(&[1; 32]).unwrap();
        let note = signer.sign(1_234, &head());
        let (text, signature) = note.split_once("\n\n").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let name = &signer.public_key().name;
        assert_eq!((lines[0], lines[1], lines.len()), (name.as_str(), "1234", 3));
        let bytes = BASE64.decode(lines[2]).unwrap();
        assert_eq!(hex::encode(bytes), head().as_str());
        let blob = signature.strip_prefix(&format!("\u{2014} {name} ")).unwrap();
        let blob = BASE64.decode(blob.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!((blob.len(), &blob[..4]), (68, &signer.public_key().hash()[..]));
        // RFC 8032 fixes the public key of a seed; this is the one of 32 times 0x01.
        let key = signer.public_key().to_string();
        let key = BASE64.decode(key.rsplit_once('+').unwrap().1).unwrap();
        assert_eq!(
            hex::encode(key),
            "018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
        );
    }

    #[test]
    fn only_the_keys_own_notes_pass() {
        let (signer, other) = (Signer::new(&[1; 32]).unwrap(), Signer::new(&[2; 32]).unwrap());
        let note = signer.sign(7, &head());
        let stated = Checkpoint { origin: signer.public.name.clone(), count: 7, head: head() };
        assert_eq!(signer.public_key().check(&note), Ok(stated.clone()));
        assert_eq!(Checkpoint::parse(&note), Ok(stated));
        let name = || other.public.name.clone();
        assert_eq!(other.public_key().check(&note), Err(NoteError::OtherKey(name())));
        let forged = note.replacen("\n7\n", "\n8\n", 1);
        let name = || signer.public.name.clone();
        assert_eq!(signer.public_key().check(&forged), Err(NoteError::Forged(name())));
        // A second signature, a witness's say, costs nothing.
        let both = note + other.sign(7, &head()).rsplit_once("\n\n").unwrap().1;
        assert!(signer.public_key().check(&both).is_ok());
    }

    #[test]
    fn a_public_key_reads_back_and_shows_mistakes() {
        let key = Signer::new(&[3; 32]).unwrap().public_key().clone();
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        let wrong = text.replacen("kmi-trace/", "kmi-trace/0", 1);
        for text in ["", "a+b", "a+b+c", &wrong, &text[..text.len() - 4]] {
            assert_eq!(text.parse::<PublicKey>(), Err(NoteError::PublicKey), "{text}");
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let note = Signer::new(&[1; 32]).unwrap().sign(7, &head());
        let other_origin = note.replacen("kmi-trace", "go.sum", 1);
        let long = note.clone() + &"x".repeat(MAX_NOTE);
        for text in ["", "\n\n", "a\nb\nc\n\n", &other_origin, &long, note.trim_end_matches('\n')] {
            let read = Checkpoint::parse(text);
            assert!(read == Err(NoteError::Form) || text.len() + 1 == note.len(), "{text:?}");
        }
        assert_eq!(Checkpoint::parse(&note.replacen("\n7\n", "\n-7\n", 1)), Err(NoteError::Form));
    }
}
