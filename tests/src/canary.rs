//! Looks for keys where none may be, in every form in which one could slip through.

use std::{fs, path::Path};

use memchr::memmem;

/// A prefix of this many characters is as good as the key for whoever guesses the rest.
const PREFIX: usize = 9;

/// Keys that must not be seen.
#[derive(Debug, Default)]
pub struct Canaries {
    keys: Vec<String>,
    forms: Vec<Vec<u8>>,
}

impl Canaries {
    /// Looks for these keys.
    pub fn new<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Self {
        let mut canaries = Self::default();
        keys.into_iter().for_each(|key| canaries.add(key.as_ref()));
        canaries
    }

    /// Looks for this key too.
    pub fn add(&mut self, key: &str) {
        let start = &key.as_bytes()[..PREFIX.min(key.len())];
        let lower = hex::encode(start);
        let percent = |hex: fn(u8) -> String| -> String {
            let part = |byte: &u8| match byte {
                b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
                byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
                byte => hex(*byte),
            };
            key.as_bytes().iter().map(part).collect()
        };
        self.forms.extend([
            start.to_vec(),
            lower.to_uppercase().into_bytes(),
            lower.into_bytes(),
            percent(|byte| format!("%{byte:02X}")).into_bytes(),
            percent(|byte| format!("%{byte:02x}")).into_bytes(),
        ]);
        let base64 = (0..3).map(|offset| inside_base64(key, offset));
        self.forms.extend(base64.filter(|form| form.len() >= PREFIX));
        self.keys.push(key.to_owned());
    }

    /// The keys in the text of a key file.
    pub fn add_file(&mut self, name: &str, text: &str) {
        if Path::new(name).extension().is_some_and(|extension| extension == "key") {
            return self.add(text.trim());
        }
        for line in text.lines() {
            let Some((name, value)) = line.split_once(['=', ':']) else { continue };
            if name.to_lowercase().trim_matches([' ', '"']).ends_with("api_key") {
                self.add(value.trim().trim_matches([',', '"', '\'']));
            }
        }
    }

    /// Whether any of them is in these bytes.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| memmem::find(bytes, form).is_some())
    }

    /// The files below a directory that have one, but for key files and what the user wrote.
    pub fn files_with_one(&self, dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![dir.to_owned()];
        while let Some(dir) = open.pop() {
            for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
            {
                if path.ends_with("_auths") || path.ends_with(".env") {
                    continue;
                }
                if path.is_dir() {
                    open.push(path);
                } else if fs::read(&path).is_ok_and(|bytes| self.are_in(&bytes)) {
                    found.push(path.display().to_string());
                }
            }
        }
        found
    }
}

/// What base64 makes of the inside of a key that begins `offset` bytes after a group's start:
/// neither its first nor its last letter depends on what stands around it.
fn inside_base64(key: &str, offset: usize) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let whole = &key.as_bytes()[(3 - offset) % 3..];
    let groups = whole.chunks_exact(3).take(5);
    let letters = groups.flat_map(|group| {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|shift| LETTERS[(bits >> shift & 63) as usize])
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-canary/with+odd=characters-0001";

    #[test]
    fn every_form_is_found() {
        let canaries = Canaries::new([KEY]);
        for text in [
            KEY,
            "…sk-canary…",
            "sk-canary%2Fwith%2Bodd%3Dcharacters-0001",
            "sk-canary%2fwith%2bodd%3dcharacters-0001",
            "736b2d63616e617279",
            "736B2D63616E617279",
            "c2stY2FuYXJ5L3dpdGgrb2RkPWNoYXJhY3RlcnMtMDAwMQ==",
            // The same after one and after two other bytes.
            "eHNrLWNhbmFyeS93aXRoK29kZD1jaGFyYWN0ZXJzLTAwMDE=",
            "eHhzay1jYW5hcnkvd2l0aCtvZGQ9Y2hhcmFjdGVycy0wMDAx",
        ] {
            assert!(canaries.are_in(format!("before {text} after").as_bytes()), "{text}");
        }
        assert!(!canaries.are_in(b"sk-\xe2\x80\xa60001 k-01234567"));
    }

    #[test]
    fn keys_are_read_from_files() {
        let mut canaries = Canaries::default();
        canaries.add_file("a.key", "sk-aaaaaaaaaa\n");
        canaries.add_file("a.env", "KMI_KEY_LABEL=x\nKMI_API_KEY='sk-bbbbbbbbbb'\n");
        canaries.add_file("a.toml", "label = \"x\"\napi_key = \"sk-cccccccccc\"\n");
        canaries.add_file("a.json", "{\"api_key\": \"sk-dddddddddd\",\n}");
        assert_eq!(
            canaries.keys,
            ["sk-aaaaaaaaaa", "sk-bbbbbbbbbb", "sk-cccccccccc", "sk-dddddddddd"]
        );
    }
}
