//! What has to hold whatever bytes come: for the fuzz targets in `fuzz/`, whose corpora are
//! replayed here by an ordinary test.
//!
//! Exists in tests and in fuzz builds only.

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use jiff::{Timestamp, ToSpan as _};
use kmi_core::{
    display,
    key::ApiKey,
    trace::{Evidence, Familiar, Line},
};
use kmi_health::{
    UpstreamKind,
    classify::{Answer, Effect, classify},
    kimi_error::MAX_BODY,
    quota::Quota,
    retry_after::{LONGEST, RetryHeaders},
};
use kmi_stats::verify::{InFlight, Options, Verifier};

use crate::{
    body::Coding,
    forward::rewrite::{HOP_BY_HOP, Template},
    keys::fuzzing::KEY_MARK,
    settings::UpstreamSettings,
    upstream::Surface,
    usage_scan::UsageScan,
};

/// A key file of any kind: it is read or refused, and no message repeats the key in it.
pub fn key_file(data: &[u8]) {
    const NAMES: [&str; 6] = ["a.env", "a.toml", "a.json", "a.key", "keys.toml", "config.toml"];
    let Some((choice, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let path = Path::new(NAMES[usize::from(*choice) % NAMES.len()]);
    for told in crate::keys::fuzzing::read(path, text, &[UpstreamSettings::default()]) {
        assert!(!told.contains(KEY_MARK), "{told}");
        assert!(!told.chars().any(|c| c == '\n' || display::is_unsafe(c)), "{told:?}");
    }
}

/// A client's header lines: what goes upstream has one Host and one credential of each kind at
/// most, no header of the connection, and nothing of the client's own credentials.
pub fn headers(data: &[u8]) {
    const MARK: &str = "Zq7XvClientSecret";
    let mut request = Request::new(());
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            let credential = crate::forward::rewrite::CREDENTIALS.contains(&name);
            let value = if credential { HeaderValue::from_static(MARK) } else { value };
            // Elsewhere the mark would be no credential.
            if credential || value != MARK {
                request.headers_mut().append(name, value);
            }
        }
    }
    let (parts, ()) = request.into_parts();
    let named: Vec<HeaderName> = named(&parts.headers);
    let surface = if data.len().is_multiple_of(2) { Surface::OpenAi } else { Surface::Anthropic };
    let host = HeaderValue::from_static("upstream.example");
    let target = http::uri::PathAndQuery::from_static("/v1/models");
    let key = ApiKey::parse("sk-fuzzing-0001").expect("a good key");
    let template = Template::new(parts, surface, target, &host);
    let sent = template.with(&key, crate::body::Outgoing::Whole(bytes::Bytes::new()));
    let headers = sent.headers();
    assert_eq!(headers.get_all(header::HOST).iter().collect::<Vec<_>>(), [&host]);
    let hop_by_hop = HOP_BY_HOP;
    let gone = hop_by_hop.iter().chain(&named).filter(|name| **name != header::HOST);
    let credentials = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")];
    for name in gone.filter(|name| !credentials.contains(name)) {
        assert!(!headers.contains_key(name), "{name}");
    }
    for name in &credentials {
        let mut values = headers.get_all(name).iter();
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice");
        assert!(value.is_none_or(HeaderValue::is_sensitive), "{name}");
    }
    assert!(credentials.iter().any(|name| headers.contains_key(name)), "no credential");
    let leaks = headers.values().any(|value| value == MARK);
    assert!(!leaks, "the client's own credential goes upstream: {headers:?}");
}

fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    let words = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    words.filter_map(|word| word.trim().parse().ok()).collect()
}

/// An answer's body: where it is cut into pieces makes no difference to what is counted. Of a
/// compressed one, which may be broken anywhere, only that nothing panics.
pub fn usage(data: &[u8]) {
    const KINDS: [&[u8]; 2] = [b"text/event-stream", b"application/json"];
    const CODINGS: [Coding; 3] = [Coding::Identity, Coding::Gzip, Coding::Zlib];
    let Some((choice, body)) = data.split_first() else { return };
    let choice = usize::from(*choice);
    let (kind, coding) = (KINDS[choice % 2], CODINGS[choice / 2 % 3]);
    let scan = || UsageScan::new(kind, coding);
    let (Some(mut whole), Some(mut pieces)) = (scan(), scan()) else { return };
    whole.feed(body);
    let size = choice / 6 % 13 + 1;
    body.chunks(size).for_each(|piece| pieces.feed(piece));
    let (whole, pieces) = (whole.finish(), pieces.finish());
    assert!(
        whole == pieces || coding != Coding::Identity,
        "in pieces of {size}: {whole:?} {pieces:?}"
    );
}

/// An upstream's error: nothing in it panics, waits for ever, or is unsafe to show. The first byte
/// is kind and status, the first two lines the headers that state a wait, the rest the body.
pub fn error_body(data: &[u8]) {
    const KINDS: [UpstreamKind; 3] =
        [UpstreamKind::KimiCode, UpstreamKind::OpenPlatform, UpstreamKind::OpenAi];
    const STATUSES: [u16; 12] = [200, 400, 401, 402, 403, 404, 408, 429, 499, 500, 503, 529];
    let Some((choice, rest)) = data.split_first() else { return };
    let mut lines = rest.splitn(3, |byte| *byte == b'\n');
    let (retry_after, retry_after_ms) = (lines.next(), lines.next());
    let body = lines.next().unwrap_or_default();
    let answer = Answer {
        kind: KINDS[usize::from(*choice) % KINDS.len()],
        status: STATUSES[usize::from(*choice) / KINDS.len() % STATUSES.len()],
        retry: RetryHeaders { retry_after, retry_after_ms },
        body: &body[..body.len().min(MAX_BODY)],
    };
    let now = Timestamp::UNIX_EPOCH + 490_000.hours();
    let verdict = classify(&answer, now);
    assert_eq!(verdict, classify(&answer, now), "the same answer means the same");
    if let Effect::Block(block) = &verdict.effect {
        assert!(block.wait.is_none_or(|wait| wait <= LONGEST), "{block:?}");
    }
    if let Some(message) = &verdict.message {
        assert!(!message.chars().any(display::is_unsafe), "{message:?}");
        // A character that is made visible takes up to ten: `\u{10ffff}`.
        assert!(message.chars().count() <= 10 * display::MAX_CHARS + 1, "{message:?}");
    }
    drop((Quota::of_usages(body, now), Quota::of_balance(body, now)));
}

/// Bytes from the wire, an answer or a request: whatever is taken for one is written as one.
pub fn wire(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    if choice % 2 == 0 {
        crate::h1::fuzzing::request(bytes, usize::from(choice / 2) % 17 + 1);
    } else {
        crate::h1::fuzzing::answer(bytes);
    }
}

/// A client's whole connection, over a socket. The first byte says in which pieces it comes.
pub fn client(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    crate::h1::fuzzing::client(bytes, usize::from(*choice) % 61 + 1);
}

/// An upstream's whole connection. The first byte is what it was asked, and the pieces in which its
/// answer comes.
pub fn upstream(data: &[u8]) {
    const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::HEAD, Method::GET];
    let Some((choice, bytes)) = data.split_first() else { return };
    let choice = usize::from(*choice);
    crate::h1::fuzzing::upstream(&METHODS[choice % 4], bytes, choice / 4 + 1);
}

/// A trace that somebody gives us: verifying it ends, and its numbers fit together. Both readers
/// of a line agree.
pub fn trace(data: &[u8]) {
    let mut verifier = Verifier::new(Options { window: 8, ..Options::default() });
    let mut familiar = Familiar::default();
    for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if let Some(quick) = Evidence::scan(line, &mut familiar) {
            assert_eq!(Evidence::read(line).expect("the slow reader takes it too"), quick);
        }
        drop(Line::parse(line));
        if verifier.line(line).is_err() {
            break;
        }
    }
    let report = verifier.report(&InFlight::None);
    assert!(report.all.conforming <= report.all.turns + report.all.open, "{report:#?}");
    assert!((0.0..=1.0).contains(&report.all.confidence), "{report:#?}");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 8] = [
        ("client", client),
        ("error_body", error_body),
        ("headers", headers),
        ("key_file", key_file),
        ("trace", trace),
        ("upstream", upstream),
        ("usage", usage),
        ("wire", wire),
    ];
    /// Of each file of a corpus; `KMI_MUTATIONS` asks for more.
    const MUTATIONS: u64 = 100;

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let mut files: Vec<_> =
            fs::read_dir(&corpus).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(files.len() > 10, "{}: {} files", corpus.display(), files.len());
        files.into_iter().map(|file| fs::read(file).unwrap()).collect()
    }

    #[test]
    fn what_fuzzing_found_stays_found() {
        for (name, target) in TARGETS {
            for data in corpus(name) {
                target(&data);
            }
        }
    }

    /// Not as good as a fuzzer, which sees where its input leads; but it runs in every test.
    #[test]
    fn what_is_near_the_corpora_holds_too() {
        let asked = std::env::var("KMI_MUTATIONS").ok().and_then(|n| n.parse().ok());
        for (name, target) in TARGETS {
            let files = corpus(name);
            for (number, data) in files.iter().enumerate() {
                for seed in 0..asked.unwrap_or(MUTATIONS) {
                    let mut random = Random((seed << 16) | (number as u64 + 1));
                    let other = &files[random.below(files.len())];
                    let mutated = mutate(data, other, &mut random);
                    let held = std::panic::catch_unwind(|| target(&mutated));
                    assert!(held.is_ok(), "{name}: {:?}", mutated.escape_ascii().to_string());
                }
            }
        }
    }

    /// A few cuts, doublings, flips and splices.
    fn mutate(data: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
        const WORDS: [&[u8]; 8] =
            [b"\n", b"\"", b"{", b"null", b"-1", b"99999999999999999999", b"\xff\xfe", b"\\u0000"];
        let mut data = data.to_vec();
        for _ in 0..=random.below(4) {
            let (from, to) = (random.below(data.len() + 1), random.below(data.len() + 1));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 64));
            match random.below(5) {
                0 => drop(data.drain(from..to)),
                1 => drop(data.splice(to..to, data[from..to].to_vec())),
                2 => drop(data.splice(from..to, WORDS[random.below(WORDS.len())].to_vec())),
                3 => {
                    let piece = random.below(other.len() + 1);
                    drop(data.splice(from..to, other[piece..].iter().take(64).copied()));
                }
                _ => {
                    if let Some(byte) = data[from..to].first_mut() {
                        *byte ^= 1 << random.below(8);
                    }
                }
            }
        }
        data
    }

    /// Xorshift: the same everywhere.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or(0)
                % n.max(1)
        }
    }
}
