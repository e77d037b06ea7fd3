//! Frames: how messages stand in a stream of bytes.
//!
//! # Format
//! ```text
//! 0        2       3       4           8      10      12            20        24
//! ┌────────┬───────┬───────┬───────────┬──────┬───────┬─────────────┬─────────┬─────────┬───────────┐
//! │ "RW"   │ class │ flags │ length    │ kind │ since │ request     │ head    │ payload │ checksum  │
//! │        │ u8    │ u8    │ u32       │ u16  │ u16   │ u64         │ check   │         │ u64       │
//! └────────┴───────┴───────┴───────────┴──────┴───────┴─────────────┴─────────┴─────────┴───────────┘
//! ```
//! Little-endian; `length` is the payload's. The head's check is the lower half of XXH3-64 over the 20
//! bytes before it; the checksum is XXH3-64 over the payload, seeded with the head's check, so that no
//! payload stands behind another's head. `since` is the first version of the protocol that knows the
//! kind, so that whoever does not know it can say what it would take.
//!
//! # Invariants
//! - `frame-1`: a frame comes out as it went in, or an error does, which then stays.
//! - `frame-2`: a decoder holds no more than one frame, and no more of that than has come.

use alloc::vec::Vec;
use core::fmt;

use ringwood_types::bytes::{Reader, Writer};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const MAGIC: [u8; 2] = *b"RW";
const FLAG_ANSWER: u8 = 1;
const CHECKED_LEN: usize = 20;

/// Which traffic a message belongs to. Later ones never delay earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Somebody waits for it: clients' requests, agreement, signs of life.
    Requests = 0,
    /// Soon is enough: hints, repairs.
    Background = 1,
    /// Much of it: partitions that move, snapshots.
    Bulk = 2,
}

impl Class {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Background, Self::Bulk];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// Its traffic.
    pub class: Class,
    /// It answers the request of this number, which its receiver once sent.
    pub is_answer: bool,
    /// What kind of message it is; `kind` has the table.
    pub kind: u16,
    /// The first version of the protocol that knows the kind.
    pub since: u16,
    /// The asker's number for the request, 0 for what is not to be answered.
    pub request: u64,
}

impl Head {
    /// Bytes of it in the stream.
    pub const LEN: usize = 24;

    /// What stands before and behind `payload` in the stream, for whoever does not want it copied.
    ///
    /// # Panics
    /// With a payload longer than [`Frame::PAYLOAD_LEN_MAX`]: senders cut before.
    #[must_use]
    pub fn seal(&self, payload: &[u8]) -> ([u8; Self::LEN], [u8; Frame::TRAILER_LEN]) {
        assert!(payload.len() <= Frame::PAYLOAD_LEN_MAX, "the payload fits");
        let mut writer = Writer::new();
        writer.put(&MAGIC);
        writer.u8(self.class as u8);
        writer.u8(if self.is_answer { FLAG_ANSWER } else { 0 });
        writer.count(payload.len());
        writer.u16(self.kind);
        writer.u16(self.since);
        writer.u64(self.request);
        let bytes = writer.into_vec();
        let check = head_check(&bytes);
        let mut head = [0; Self::LEN];
        head[..CHECKED_LEN].copy_from_slice(&bytes);
        head[CHECKED_LEN..].copy_from_slice(&check.to_le_bytes());
        (head, checksum(payload, check).to_le_bytes())
    }
}

/// A message in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub head: Head,
    /// Its body.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Longest payload. Values are at most 1 MiB; the rest is for many of them together.
    pub const PAYLOAD_LEN_MAX: usize = 16 << 20;
    /// Bytes behind the payload.
    pub const TRAILER_LEN: usize = 8;
    /// Bytes that a frame adds to its payload.
    pub const OVERHEAD: usize = Head::LEN + Self::TRAILER_LEN;

    /// Appends the frame to a stream.
    ///
    /// # Panics
    /// As [`Head::seal`].
    pub fn write(&self, stream: &mut Vec<u8>) {
        let (head, trailer) = self.head.seal(&self.payload);
        stream.reserve(self.payload.len() + Self::OVERHEAD);
        stream.extend_from_slice(&head);
        stream.extend_from_slice(&self.payload);
        stream.extend_from_slice(&trailer);
    }
}

const _: () = assert!(Frame::PAYLOAD_LEN_MAX <= u32::MAX as usize);

/// Why a stream is no stream of frames. Where the next one would begin cannot be known: the connection
/// is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// It does not begin as a frame does: whoever speaks there is no node of Ringwood's.
    NoFrame([u8; 2]),
    /// A head was changed on its way.
    HeadCheck,
    /// The head is intact, and of a newer protocol or no protocol at all.
    Class(u8),
    /// As [`FrameError::Class`].
    Flags(u8),
    /// The payload is longer than this receiver takes.
    TooLong {
        /// As it was announced.
        len: u32,
        /// What is taken.
        max: usize,
    },
    /// A payload was changed on its way.
    Checksum {
        /// The kind of message that was lost.
        kind: u16,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrame(found) => write!(
                f,
                "the other side does not speak the protocol of nodes (its message begins with {:02x} {:02x})",
                found[0], found[1]
            ),
            Self::HeadCheck => f.write_str("the head of a message was changed on its way"),
            Self::Class(class) => write!(f, "a message has class {class}, which is not known here"),
            Self::Flags(flags) => {
                write!(
                    f,
                    "a message has flags {flags:#04x}, which are not known here"
                )
            }
            Self::TooLong { len, max } => {
                write!(
                    f,
                    "a message of {len} bytes is announced; at most {max} are taken"
                )
            }
            Self::Checksum { kind } => {
                write!(f, "a message of kind {kind} was changed on its way")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// Finds the frames in a stream that comes in chunks.
///
/// ```
/// use ringwood_wire::frame::{Class, Decoder, Frame, Head};
///
/// let head = Head { class: Class::Requests, is_answer: false, kind: 32, since: 1, request: 0 };
/// let mut stream = Vec::new();
/// Frame { head, payload: b"hello".to_vec() }.write(&mut stream);
///
/// let mut decoder = Decoder::new(1024);
/// let (mut first, mut second) = stream.split_at(30);
/// assert_eq!(decoder.feed(&mut first), Ok(None));
/// let frame = decoder.feed(&mut second)?.expect("a whole one");
/// assert_eq!((frame.head, &frame.payload[..]), (head, &b"hello"[..]));
/// # Ok::<(), ringwood_wire::frame::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    payload_len_max: usize,
    /// Bytes of a head, then of the payload and the trailer behind it.
    held: Vec<u8>,
    /// The head that was read, its check, and the payload's length.
    head: Option<(Head, u32, usize)>,
    failed: Option<FrameError>,
}

impl Decoder {
    /// At the beginning of a stream, whose payloads are at most so long.
    #[must_use]
    pub fn new(payload_len_max: usize) -> Self {
        Self {
            payload_len_max: payload_len_max.min(Frame::PAYLOAD_LEN_MAX),
            held: Vec::new(),
            head: None,
            failed: None,
        }
    }

    /// From the next head on, payloads are at most so long: more may be said by who has shown who it is.
    pub fn set_payload_len_max(&mut self, payload_len_max: usize) {
        self.payload_len_max = payload_len_max.min(Frame::PAYLOAD_LEN_MAX);
    }

    /// Takes bytes off the front of `chunk` until a frame is whole or the chunk is empty.
    ///
    /// # Errors
    /// [`FrameError`]; the same again whatever comes later.
    pub fn feed(&mut self, chunk: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let found = self.advance(chunk);
        if let Err(error) = found {
            self.failed = Some(error);
            self.held = Vec::new();
        }
        found
    }

    /// Whether the stream may end here: nothing of a frame is waiting for its rest.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.failed.is_none() && self.head.is_none() && self.held.is_empty()
    }

    fn advance(&mut self, chunk: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        let (head, check, payload_len) = match self.head {
            Some(known) => known,
            None => {
                if !self.hold(Head::LEN, chunk) {
                    // A stranger is noticed by its first bytes, however few it sends.
                    return check_magic(&self.held).map(|()| None);
                }
                let known = read_head(&self.held, self.payload_len_max)?;
                self.held.clear();
                *self.head.insert(known)
            }
        };
        if !self.hold(payload_len + Frame::TRAILER_LEN, chunk) {
            return Ok(None);
        }
        let mut payload = core::mem::take(&mut self.held);
        let trailer = payload.split_off(payload_len);
        if trailer != checksum(&payload, check).to_le_bytes() {
            return Err(FrameError::Checksum { kind: head.kind });
        }
        self.head = None;
        Ok(Some(Frame { head, payload }))
    }

    /// Whether `len` bytes are held, after what `chunk` could add.
    fn hold(&mut self, len: usize, chunk: &mut &[u8]) -> bool {
        let missing = (len - self.held.len()).min(chunk.len());
        let (taken, rest) = chunk.split_at(missing);
        self.held.extend_from_slice(taken);
        *chunk = rest;
        self.held.len() == len
    }
}

fn read_head(bytes: &[u8], len_max: usize) -> Result<(Head, u32, usize), FrameError> {
    check_magic(bytes)?;
    let (checked, check) = bytes.split_at(CHECKED_LEN);
    let found = head_check(checked);
    if check != found.to_le_bytes() {
        return Err(FrameError::HeadCheck);
    }
    let mut reader = Reader(&checked[MAGIC.len()..]);
    let mut fields = || {
        let (class, flags, len) = (reader.u8()?, reader.u8()?, reader.u32()?);
        Some((
            class,
            flags,
            len,
            reader.u16()?,
            reader.u16()?,
            reader.u64()?,
        ))
    };
    let (class, flags, len, kind, since, request) = fields().expect("a head has its length");
    let class = Class::from_byte(class).ok_or(FrameError::Class(class))?;
    if flags & !FLAG_ANSWER != 0 {
        return Err(FrameError::Flags(flags));
    }
    let too_long = FrameError::TooLong { len, max: len_max };
    let payload_len = usize::try_from(len).map_err(|_| too_long)?;
    if payload_len > len_max {
        return Err(too_long);
    }
    let is_answer = flags & FLAG_ANSWER != 0;
    let head = Head {
        class,
        is_answer,
        kind,
        since,
        request,
    };
    Ok((head, found, payload_len))
}

fn check_magic(bytes: &[u8]) -> Result<(), FrameError> {
    let len = bytes.len().min(MAGIC.len());
    if bytes[..len] == MAGIC[..len] {
        return Ok(());
    }
    let mut found = [0; MAGIC.len()];
    found[..len].copy_from_slice(&bytes[..len]);
    Err(FrameError::NoFrame(found))
}

#[allow(clippy::cast_possible_truncation)] // the lower half is what is kept
fn head_check(checked: &[u8]) -> u32 {
    xxh3_64(checked) as u32
}

fn checksum(payload: &[u8], head_check: u32) -> u64 {
    xxh3_64_with_seed(payload, u64::from(head_check))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::String;
    use std::vec;

    fn frames() -> impl Strategy<Value = Frame> {
        let numbers = (
            0..3u8,
            any::<bool>(),
            any::<u16>(),
            any::<u16>(),
            any::<u64>(),
        );
        (numbers, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(numbers, payload)| {
            let (class, is_answer, kind, since, request) = numbers;
            let class = Class::from_byte(class).unwrap();
            let head = Head {
                class,
                is_answer,
                kind,
                since,
                request,
            };
            Frame { head, payload }
        })
    }

    /// What a decoder makes of a stream in chunks of these lengths, again and again.
    fn decode(stream: &[u8], lens: &[usize]) -> (Vec<Frame>, Result<bool, FrameError>) {
        let mut decoder = Decoder::new(1000);
        let (mut frames, mut rest) = (Vec::new(), stream);
        let mut lens = lens.iter().cycle();
        while !rest.is_empty() {
            let len = *lens.next().unwrap();
            let (mut chunk, behind) = rest.split_at(len.min(rest.len()));
            rest = behind;
            while !chunk.is_empty() {
                match decoder.feed(&mut chunk) {
                    Ok(frame) => frames.extend(frame),
                    Err(error) => {
                        assert_eq!(decoder.feed(&mut &stream[..]), Err(error));
                        assert!(decoder.held.is_empty());
                        return (frames, Err(error));
                    }
                }
                assert!(decoder.held.len() < 1000 + Frame::TRAILER_LEN);
            }
        }
        (frames, Ok(decoder.is_between_frames()))
    }

    proptest! {
        #[test]
        fn frame_1_streams_are_read_back_in_any_chunks(
            frames in prop::collection::vec(frames(), 0..5), lens in prop::collection::vec(1..50usize, 1..8),
        ) {
            let mut stream = Vec::new();
            frames.iter().for_each(|frame| frame.write(&mut stream));
            prop_assert_eq!(decode(&stream, &lens), (frames, Ok(true)));
        }

        #[test]
        fn frame_2_any_bytes_are_refused_or_waited_for(bytes: Vec<u8>, lens in prop::collection::vec(1..50usize, 1..8)) {
            let _ = decode(&bytes, &lens);
            let _ = decode(&[&MAGIC, &bytes[..]].concat(), &lens);
        }

        #[test]
        fn every_truncation_waits_and_every_flip_is_noticed(frame in frames(), lens in prop::collection::vec(1..50usize, 1..4)) {
            let mut stream = Vec::new();
            frame.write(&mut stream);
            for cut in 1..stream.len() {
                prop_assert_eq!(decode(&stream[..cut], &lens), (vec![], Ok(false)));
            }
            for bit in 0..stream.len() * 8 {
                let mut changed = stream.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let (frames, end) = decode(&changed, &lens);
                prop_assert_eq!(frames, vec![]);
                prop_assert!(end.is_err(), "bit {} is not noticed", bit);
            }
        }
    }

    fn sealed(class: u8, flags: u8, len: u32) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[class, flags], &len.to_le_bytes(), &[0; 12]].concat();
        let check = head_check(&bytes).to_le_bytes();
        bytes.extend_from_slice(&check);
        bytes
    }

    #[test]
    fn what_is_not_known_or_too_long_is_named_before_any_of_it_is_held() {
        let fails = |bytes: &[u8]| decode(bytes, &[1]).1.unwrap_err();
        assert_eq!(fails(b"GET / HTTP/1.1"), FrameError::NoFrame(*b"G\0"));
        assert_eq!(fails(b"RV"), FrameError::NoFrame(*b"RV"));
        assert_eq!(fails(&sealed(3, 0, 0)), FrameError::Class(3));
        assert_eq!(fails(&sealed(0, 2, 0)), FrameError::Flags(2));
        let (len, max) = (1001, 1000);
        assert_eq!(fails(&sealed(0, 0, len)), FrameError::TooLong { len, max });
        assert_eq!(decode(&sealed(0, 0, 1000), &[1]).1, Ok(false));
        let largest = Decoder::new(usize::MAX).payload_len_max;
        assert_eq!(largest, Frame::PAYLOAD_LEN_MAX);
    }

    #[test]
    fn no_payload_stands_behind_anothers_head() {
        let head = |request| Head {
            class: Class::Requests,
            is_answer: false,
            kind: 1,
            since: 1,
            request,
        };
        let sealed = [1, 2].map(|request| head(request).seal(b"payload"));
        let swapped = [&sealed[0].0[..], b"payload", &sealed[1].1].concat();
        assert_eq!(
            decode(&swapped, &[9]).1,
            Err(FrameError::Checksum { kind: 1 })
        );
    }

    #[test]
    fn limits_change_between_frames() {
        let mut decoder = Decoder::new(2);
        let mut stream = Vec::new();
        let head = Head {
            class: Class::Bulk,
            is_answer: true,
            kind: 1,
            since: 1,
            request: 3,
        };
        let frame = Frame {
            head,
            payload: vec![0; 3],
        };
        frame.write(&mut stream);
        decoder.set_payload_len_max(3);
        assert_eq!(decoder.feed(&mut &stream[..]), Ok(Some(frame)));
        decoder.set_payload_len_max(2);
        assert!(decoder.feed(&mut &stream[..]).is_err());
    }

    #[test]
    fn the_format_is_this_to_the_byte() {
        let head = Head {
            class: Class::Background,
            is_answer: true,
            kind: 0x0201,
            since: 0x0403,
            request: 0x0c0b_0a09_0807_0605,
        };
        let mut stream = Vec::new();
        Frame {
            head,
            payload: b"payload".to_vec(),
        }
        .write(&mut stream);
        let text: String = stream.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "52570101070000000102030405060708090a0b0cef3032907061796c6f6164050cd7d41d22b1f0"
        );
    }
}
