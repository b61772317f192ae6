//! Content codings. Clients ask for them, and what they ask passes untouched: so what an answer
//! says is read out of a copy that is decoded beside it, and never more than a bounded part.

use std::io::{Read as _, Write};

use flate2::{read, write};
use http::{HeaderMap, HeaderValue, header};
use ruzstd::decoding::StreamingDecoder;

/// The largest window of a zstd body; RFC 9659 allows no larger one in HTTP.
const ZSTD_WINDOW: u64 = 8 << 20;
/// How much of a brotli body is read at a time.
const BROTLI_BUFFER: usize = 4 << 10;

/// How a body is compressed: everything that Kimi's clients and Claude Code offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zlib,
    Brotli,
    Zstd,
}

impl Coding {
    /// What an answer's head names; `None` for what is not known here, and for several at once: such
    /// a body says nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values =
            headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
        let first = values.next().unwrap_or(b"identity").trim_ascii();
        let names: [(&[u8], _); 6] = [
            (b"identity", Self::Identity),
            (b"gzip", Self::Gzip),
            (b"x-gzip", Self::Gzip),
            (b"deflate", Self::Zlib),
            (b"br", Self::Brotli),
            (b"zstd", Self::Zstd),
        ];
        let known = names.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(first));
        known.map(|(_, coding)| coding).filter(|_| values.next().is_none())
    }

    /// The plain text of a whole body: as much of it as is sound, and no more than `limit` bytes.
    pub(crate) fn decoded(self, body: &[u8], limit: usize) -> Vec<u8> {
        let (most, mut plain) = (limit as u64, Vec::new());
        // What is broken is found out by whoever reads what came before.
        let _ = match self {
            Self::Identity => body.take(most).read_to_end(&mut plain),
            Self::Gzip => read::MultiGzDecoder::new(body).take(most).read_to_end(&mut plain),
            Self::Zlib => read::ZlibDecoder::new(body).take(most).read_to_end(&mut plain),
            Self::Brotli => {
                let decoder = brotli_decompressor::Decompressor::new(body, BROTLI_BUFFER);
                decoder.take(most).read_to_end(&mut plain)
            }
            Self::Zstd => match StreamingDecoder::new_with_max_window_size(body, ZSTD_WINDOW) {
                Ok(decoder) => decoder.take(most).read_to_end(&mut plain),
                Err(_) => Ok(0),
            },
        };
        plain
    }
}

/// Decodes a body that passes by piece by piece, into something that takes its plain text for as
/// long as it likes to.
#[derive(Debug)]
pub(crate) struct Decoder<W: Write> {
    way: Way<W>,
    /// The body has ended or is broken, or enough was seen of it.
    over: bool,
}

#[derive(Debug)]
enum Way<W: Write> {
    Identity(W),
    Gzip(Box<write::MultiGzDecoder<W>>),
    Zlib(Box<write::ZlibDecoder<W>>),
}

impl<W: Write> Decoder<W> {
    /// `None` for the codings in which no stream comes: they are read only as a whole.
    pub(crate) fn new(coding: Coding, into: W) -> Option<Self> {
        let way = match coding {
            Coding::Identity => Way::Identity(into),
            Coding::Gzip => Way::Gzip(Box::new(write::MultiGzDecoder::new(into))),
            Coding::Zlib => Way::Zlib(Box::new(write::ZlibDecoder::new(into))),
            Coding::Brotli | Coding::Zstd => return None,
        };
        Some(Self { way, over: false })
    }

    /// The next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        if self.over {
            return;
        }
        let fed = match &mut self.way {
            Way::Identity(into) => into.write_all(piece),
            Way::Gzip(decoder) => decoder.write_all(piece),
            Way::Zlib(decoder) => decoder.write_all(piece),
        };
        if fed.is_err() {
            self.end();
        }
    }

    /// No further piece comes: everything that the pieces so far said has been handed over.
    pub(crate) fn end(&mut self) -> &mut W {
        let first = !std::mem::replace(&mut self.over, true);
        // Of a body that breaks off, what is there counts.
        match &mut self.way {
            Way::Identity(into) => into,
            Way::Gzip(decoder) => {
                let _ = first.then(|| decoder.try_finish());
                decoder.get_mut()
            }
            Way::Zlib(decoder) => {
                let _ = first.then(|| decoder.try_finish());
                decoder.get_mut()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut coder = GzEncoder::new(Vec::new(), Compression::fast());
        coder.write_all(plain).unwrap();
        coder.finish().unwrap()
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut coder = ZlibEncoder::new(Vec::new(), Compression::fast());
        coder.write_all(plain).unwrap();
        coder.finish().unwrap()
    }

    // The text of the test below, as Node's zlib packs it.
    const BROTLI: &str = "8b0c80706c61696e20746578742c20616e64206d6f7265206f6620697403";
    const ZSTD: &str = "28b52ffd201ad10000706c61696e20746578742c20616e64206d6f7265206f66206974";

    fn of(values: &[&'static str]) -> Option<Coding> {
        let values = values.iter().map(|it| HeaderValue::from_static(it));
        Coding::of(&values.map(|it| (header::CONTENT_ENCODING, it)).collect())
    }

    #[test]
    fn codings_are_known_by_their_names() {
        assert_eq!(of(&[]), Some(Coding::Identity));
        assert_eq!(of(&["identity"]), Some(Coding::Identity));
        assert_eq!((of(&["GZip"]), of(&["x-gzip"])), (Some(Coding::Gzip), Some(Coding::Gzip)));
        assert_eq!(of(&["deflate"]), Some(Coding::Zlib));
        assert_eq!((of(&["br"]), of(&["zstd"])), (Some(Coding::Brotli), Some(Coding::Zstd)));
        for unknown in [&["compress"][..], &[""], &["gzip, gzip"], &["gzip", "gzip"]] {
            assert_eq!(of(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn a_whole_body_is_read_up_to_a_limit() {
        let text = b"plain text, and more of it";
        for (coding, body) in [
            (Coding::Identity, text.to_vec()),
            (Coding::Gzip, gzip(text)),
            (Coding::Zlib, zlib(text)),
            (Coding::Brotli, hex::decode(BROTLI).unwrap()),
            (Coding::Zstd, hex::decode(ZSTD).unwrap()),
        ] {
            assert_eq!(coding.decoded(&body, 100), text, "{coding:?}");
            assert_eq!(coding.decoded(&body, 5), b"plain");
        }
        for coding in [Coding::Gzip, Coding::Zlib, Coding::Zstd] {
            assert_eq!(coding.decoded(text, 100), b"", "it is none: {coding:?}");
        }
        assert_eq!(Coding::Brotli.decoded(b"\xff\xff\xff\xff", 100), b"");
        let bomb = gzip(&vec![b' '; 10 << 20]);
        assert!(bomb.len() < 64 << 10);
        for (coding, bomb) in [
            (Coding::Gzip, bomb),
            (Coding::Brotli, hex::decode("5bffff8f5f02241e0b0472ef1f00").unwrap()),
        ] {
            assert_eq!(coding.decoded(&bomb, 64 << 10).len(), 64 << 10, "{coding:?}");
        }
    }

    #[test]
    fn how_a_body_is_cut_into_pieces_changes_nothing() {
        let text: Vec<u8> =
            (0..100_000u32).flat_map(|n| (n % 977).to_string().into_bytes()).collect();
        for (coding, body) in [
            (Coding::Identity, text.clone()),
            (Coding::Gzip, gzip(&text)),
            (Coding::Zlib, zlib(&text)),
        ] {
            for size in [1, 7, 1000, usize::MAX] {
                let mut decoder = Decoder::new(coding, Vec::new()).unwrap();
                body.chunks(size).for_each(|piece| decoder.feed(piece));
                assert!(*decoder.end() == text, "{coding:?} in pieces of {size}");
                decoder.feed(b"after the end");
                assert!(*decoder.end() == text);
            }
        }
    }

    #[test]
    fn all_members_of_a_gzip_body_are_read() {
        let body = [gzip(b"one, "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(Coding::Gzip.decoded(&body, 100), b"one, two");
        let trailing = [&body[..], b"garbage"].concat();
        assert_eq!(Coding::Gzip.decoded(&trailing, 100), b"one, two");
        for size in [1, 7, usize::MAX] {
            let mut decoder = Decoder::new(Coding::Gzip, Vec::new()).unwrap();
            body.chunks(size).for_each(|piece| decoder.feed(piece));
            assert_eq!(decoder.end(), b"one, two", "in pieces of {size}");
        }
    }

    #[test]
    fn a_broken_body_has_said_what_came_before() {
        let text = vec![b'a'; 1 << 20];
        let mut body = gzip(&text);
        let middle = body.len() / 2;
        body[middle..].fill(0xff);
        let mut decoder = Decoder::new(Coding::Gzip, Vec::new()).unwrap();
        body.chunks(100).for_each(|piece| decoder.feed(piece));
        assert!(!decoder.end().is_empty() && decoder.end().len() < text.len());
        let mut decoder = Decoder::new(Coding::Zlib, Vec::new()).unwrap();
        decoder.feed(b"this is not compressed at all");
        assert!(decoder.end().is_empty());
    }
}
