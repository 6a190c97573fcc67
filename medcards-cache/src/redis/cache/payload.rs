//! What an entry looks like in Redis.
//!
//! One byte for the version, one for the codec, eight for the instant until which it is kept (in
//! milliseconds, big end first, so that a script can read it), then CBOR: a map with numbers for
//! names. A field that is added gets a new number and may be missing; older programs skip it. What
//! changes the meaning of a field is a new version, and a version has names of its own in Redis.

use std::marker::PhantomData;

use medcards_core::Timestamp;
use medcards_core::ai::PromptVersion;
use medcards_core::cache::{CacheEntry, Lifetime};
use medcards_core::feedback::{Feedback, Origin, ReviewState};
use medcards_core::spend::MicroDollars;
use minicbor::{Decode, Encode};

/// The version of all payloads; also part of their names in Redis.
pub(super) const VERSION: u8 = 1;

const HEADER_LEN: usize = 10;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;

/// From how many bytes on a payload is compressed.
///
/// Measured on explanations of the sample deck (`what_compression_saves_and_costs`):
///
/// | bytes | saved | to compress | to expand |
/// | --- | --- | --- | --- |
/// | 512 | 43 (8 %) | 0.9 µs | 0.2 µs |
/// | 1,024 | 163 (16 %) | 2.0 µs | 0.4 µs |
/// | 2,048 | 458 (22 %) | 4.7 µs | 0.9 µs |
/// | 4,096 | 1,136 (28 %) | 9.1 µs | 1.6 µs |
/// | 8,192 | 2,651 (32 %) | 18 µs | 3.0 µs |
///
/// From a kilobyte on it saves a sixth of Redis' memory or more, for a hundredth of the time of a hit.
const COMPRESSED_FROM: usize = 1_024;

/// The most bytes of a payload before compression: a hundred times a long feedback. Larger ones are
/// not kept, and what claims to be larger is not expanded.
const LEN_MAX: usize = 1 << 20;

#[derive(Encode, Decode)]
#[cbor(map)]
struct Body<'a> {
    #[b(0)]
    text: &'a str,
    #[b(1)]
    origin: &'a str,
    #[b(2)]
    model: Option<&'a str>,
    #[n(3)]
    prompt_version: Option<u32>,
    #[b(4)]
    review: &'a str,
    #[n(5)]
    cost_microdollars: u64,
    #[n(6)]
    written_at_us: i64,
    #[n(7)]
    fresh_until_us: i64,
    #[n(8)]
    revalidate_until_us: i64,
    #[n(9)]
    keep_until_us: i64,
}

/// A payload, and whether compression made it smaller.
pub(in crate::redis) struct Payload {
    pub(in crate::redis) bytes: Vec<u8>,
    pub(in crate::redis) is_compressed: bool,
}

/// Writes an entry; `None` if it is too large.
pub(in crate::redis) fn write(entry: &CacheEntry) -> Option<Payload> {
    let Feedback {
        text,
        origin,
        model,
        prompt_version,
        review,
        cost,
        written_at,
        audience: PhantomData,
    } = entry.feedback();
    let lifetime = entry.lifetime();
    let body = Body {
        text,
        origin: origin.as_str(),
        model: model.as_ref().map(|model| model.as_str()),
        prompt_version: prompt_version.map(PromptVersion::get),
        review: review.as_str(),
        cost_microdollars: cost.get(),
        written_at_us: written_at.as_microsecond(),
        fresh_until_us: lifetime.fresh_until.as_microsecond(),
        revalidate_until_us: lifetime.revalidate_until.as_microsecond(),
        keep_until_us: lifetime.keep_until.as_microsecond(),
    };
    let mut bytes = Vec::with_capacity(HEADER_LEN + text.len() + 160);
    bytes.extend([VERSION, PLAIN]);
    bytes.extend(lifetime.keep_until.as_millisecond().max(0).to_be_bytes());
    minicbor::encode(&body, &mut bytes).ok()?;
    let body_len = bytes.len() - HEADER_LEN;
    if body_len > LEN_MAX {
        return None;
    }
    if body_len >= COMPRESSED_FROM {
        let compressed = lz4_flex::block::compress_prepend_size(&bytes[HEADER_LEN..]);
        if compressed.len() < body_len {
            bytes.truncate(HEADER_LEN);
            bytes[1] = LZ4;
            bytes.extend(compressed);
            return Some(Payload {
                bytes,
                is_compressed: true,
            });
        }
    }
    Some(Payload {
        bytes,
        is_compressed: false,
    })
}

/// Reads an entry; `None` if it is damaged, or of a version or with words that we do not know.
pub(in crate::redis) fn read(payload: &[u8]) -> Option<CacheEntry> {
    let (header, body) = payload.split_at_checked(HEADER_LEN)?;
    if header[0] != VERSION {
        return None;
    }
    let expanded;
    let body = match header[1] {
        PLAIN => body,
        LZ4 => {
            let (len, compressed) = lz4_flex::block::uncompressed_size(body).ok()?;
            if len > LEN_MAX {
                return None;
            }
            expanded = lz4_flex::block::decompress(compressed, len).ok()?;
            &expanded
        }
        _ => return None,
    };
    let body: Body<'_> = minicbor::decode(body).ok()?;
    let at = |us| Timestamp::from_microsecond(us).ok();
    let feedback = Feedback {
        text: body.text.to_owned(),
        origin: Origin::from_name(body.origin)?,
        model: match body.model {
            Some(model) => Some(model.parse().ok()?),
            None => None,
        },
        prompt_version: body.prompt_version.map(PromptVersion::new),
        review: ReviewState::from_name(body.review)?,
        cost: MicroDollars::new(body.cost_microdollars),
        written_at: at(body.written_at_us)?,
        audience: PhantomData,
    };
    let lifetime = Lifetime {
        fresh_until: at(body.fresh_until_us)?,
        revalidate_until: at(body.revalidate_until_us)?,
        keep_until: at(body.keep_until_us)?,
    };
    Some(CacheEntry::new(feedback, lifetime))
}

#[cfg(test)]
mod tests {
    use medcards_core::testing::{SAMPLE_START, sample_feedback};

    use super::*;

    fn entry(text: &str) -> CacheEntry {
        let lifetime = Lifetime {
            fresh_until: SAMPLE_START,
            revalidate_until: SAMPLE_START,
            keep_until: SAMPLE_START,
        };
        CacheEntry::new(sample_feedback(text), lifetime)
    }

    fn written(text: &str) -> Payload {
        write(&entry(text)).expect("it is small enough")
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn unhex(hex: &str) -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hexadecimal");
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    /// What the first program wrote: it stays readable as long as its version exists.
    const FIRST: &str = "01000000019bc0ab2400aa0066576f7264732e01646c697665026e73616d706c652d6d6f64656c2d\
        310301046a756e7265766965776564051904e2061b000648689c84a000071b000648689c84a00008\
        1b000648689c84a000091b000648689c84a000";

    #[test]
    fn what_the_first_program_wrote_is_read() {
        let read = read(&unhex(FIRST)).expect("it is whole");
        assert_eq!(read.feedback(), entry("Words.").feedback());
        assert_eq!(read.lifetime(), entry("Words.").lifetime());
        assert_eq!(
            hex(&written("Words.").bytes),
            FIRST,
            "old programs must read it"
        );
    }

    #[test]
    fn a_field_of_a_newer_program_is_skipped() {
        let mut bytes = written("Words.").bytes;
        assert_eq!(bytes[HEADER_LEN], 0xaa, "a map of ten");
        bytes[HEADER_LEN] = 0xab;
        bytes.extend([0x18, 99, 0x63, b'n', b'e', b'w']);
        let read = read(&bytes).expect("what is new may be skipped");
        assert_eq!(read.feedback().text, "Words.");
    }

    #[test]
    fn what_is_not_understood_is_not_read() {
        let good = written("Words.").bytes;
        assert!(read(&good).is_some());
        let with = |at: usize, byte| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert!(read(&with(0, VERSION + 1)).is_none(), "another version");
        assert!(read(&with(1, 7)).is_none(), "another codec");
        let origin = good.windows(4).position(|four| four == b"live");
        assert!(
            read(&with(origin.unwrap(), b'L')).is_none(),
            "another origin"
        );
        let mut bomb = good[..HEADER_LEN].to_vec();
        bomb[1] = LZ4;
        bomb.extend(u32::MAX.to_le_bytes());
        bomb.extend([0x1f; 64]);
        assert!(read(&bomb).is_none(), "it claims to be too large");
    }

    #[test]
    fn no_damage_panics() {
        for text in [String::new(), "Words. ".repeat(1_000)] {
            let good = written(&text).bytes;
            for len in 0..good.len().min(300) {
                assert!(read(&good[..len]).is_none(), "cut to {len}");
            }
            fastrand::seed(7);
            for _ in 0..20_000 {
                let mut bytes = good.clone();
                let at = fastrand::usize(..bytes.len());
                bytes[at] ^= 1 << fastrand::u8(..8);
                let _ = read(&bytes);
            }
        }
    }

    #[test]
    fn long_texts_are_compressed_and_short_and_dense_ones_are_not() {
        let long = written(&"The same words again. ".repeat(200));
        assert!(long.is_compressed && long.bytes.len() < 1_000);
        assert!(!written("Words.").is_compressed);
        let dense: String = std::iter::repeat_with(|| fastrand::char('\u{20}'..'\u{d7ff}'))
            .take(4_000)
            .collect();
        for payload in [long, written(&dense)] {
            assert!(read(&payload.bytes).is_some());
        }
        assert!(write(&entry(&"x".repeat(LEN_MAX))).is_none(), "too long");
    }

    #[test]
    #[ignore = "it measures: run it alone, with --release"]
    fn what_compression_saves_and_costs() {
        let deck = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../examples/deck/cardiology.jsonl"
        );
        let deck = std::fs::read_to_string(deck).expect("the deck is there");
        let words: String = deck
            .split("\"explanation\": \"")
            .skip(1)
            .filter_map(|part| part.split('"').next())
            .collect::<Vec<_>>()
            .join(" ");
        for len in [512, 1_024, 2_048, 4_096, 8_192] {
            let samples: Vec<_> = (0..200)
                .map(|n| {
                    let at = n * (words.len() - len) / 200;
                    &words.as_bytes()[at..at + len]
                })
                .collect();
            let (mut saved, mut wrote, mut read) = (0, 0, 0);
            for sample in &samples {
                let compressed = lz4_flex::block::compress_prepend_size(sample);
                saved += len.saturating_sub(compressed.len());
                let fastest = |work: &dyn Fn() -> Vec<u8>| {
                    let rounds = (0..50).map(|_| {
                        let began = std::time::Instant::now();
                        std::hint::black_box(work());
                        began.elapsed().as_nanos()
                    });
                    rounds.min().unwrap_or_default()
                };
                wrote += fastest(&|| lz4_flex::block::compress_prepend_size(sample));
                read += fastest(&|| {
                    lz4_flex::block::decompress_size_prepended(&compressed).unwrap_or_default()
                });
            }
            println!(
                "{len} bytes: saves {} bytes, {} ns to compress, {} ns to expand",
                saved / samples.len(),
                wrote / samples.len() as u128,
                read / samples.len() as u128,
            );
        }
    }
}
