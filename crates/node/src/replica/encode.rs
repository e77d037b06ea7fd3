//! How questions to replicas, and their answers, stand in bytes.
//!
//! # Format
//! ```text
//! PeerRequest   epoch varint | namespace u32 | key bytes | what u8
//!               1 Mint a put     above u64 | limit u64 | Deadline | content type: length u8, text | value to the end
//!               2 Mint a delete  above u64 | limit u64
//!               3 Store          Deadline | record to the end
//!               4 Read           nothing
//! PeerReply     1 Minted: version | 2 Stored, held | 3 Stored, something later is there: time u64
//!               4 Found nothing | 5 Found: Deadline | record to the end
//!               6 Failed: why u8, with 3 Fenced: epoch varint, with 6 AboveLimit: time u64
//! Deadline      flag, [milliseconds varint]
//! ```
//! Values and records come last, and say nowhere how long they are: the frame around them does.
//!
//! # Invariants
//! - `replica-encode-1`: any bytes are exactly one message or refused, a key and a content type within their
//!   limits. What depends on a node's configuration is held against that by whoever serves.

use bytes::Bytes;
use ringwood_env::UnixMillis;
use ringwood_protocol::coordinator::Failure;
use ringwood_protocol::coordinator::write::Answer;
use ringwood_types::{Epoch, Hlc, NamespaceId, Version};
use ringwood_wire::{Encoded, Kind, Reader, Writer};

use super::message::{Found, Payload, PeerReply, PeerRequest, ReplicaRequest};
use crate::check::check_content_type;
use crate::limits::check_key;

impl PeerRequest {
    /// The kind of message that it travels as.
    pub const KIND: Kind = Kind::Replica;
}

impl PeerReply {
    /// The kind of message that it travels as.
    pub const KIND: Kind = Kind::ReplicaReply;
}

impl Encoded for PeerRequest {
    fn write(&self, to: &mut Writer) {
        self.epoch.write(to);
        self.namespace.write(to);
        to.bytes(&self.key);
        self.request.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (epoch, namespace) = (Epoch::read(from)?, NamespaceId::read(from)?);
        let key = from.bytes().filter(|key| check_key(key).is_ok())?;
        Some(Self {
            epoch,
            namespace,
            key: Bytes::copy_from_slice(key),
            request: ReplicaRequest::read(from)?,
        })
    }
}

impl Encoded for ReplicaRequest {
    fn write(&self, to: &mut Writer) {
        match self {
            Self::Mint {
                payload,
                above,
                limit,
            } => {
                to.u8(match payload {
                    Payload::Put { .. } => 1,
                    Payload::Delete => 2,
                });
                above.write(to);
                limit.write(to);
                payload.write(to);
            }
            Self::Store { record, deadline } => {
                to.u8(3);
                deadline.write(to);
                to.put(record);
            }
            Self::Read => to.u8(4),
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let what = from.u8()?;
        Some(match what {
            1 | 2 => Self::Mint {
                above: Hlc::read(from)?,
                limit: Hlc::read(from)?,
                payload: match what {
                    1 => read_put(from)?,
                    _ => Payload::Delete,
                },
            },
            3 => Self::Store {
                deadline: Encoded::read(from)?,
                record: rest(from),
            },
            4 => Self::Read,
            _ => return None,
        })
    }
}

impl Payload {
    fn write(&self, to: &mut Writer) {
        if let Self::Put {
            value,
            content_type,
            deadline,
        } = self
        {
            deadline.write(to);
            to.u8(u8::try_from(content_type.len()).expect("content types were checked"));
            to.put(content_type.as_bytes());
            to.put(value);
        }
    }
}

fn read_put(from: &mut Reader<'_>) -> Option<Payload> {
    let deadline: Option<UnixMillis> = Encoded::read(from)?;
    let len = usize::from(from.u8()?);
    let content_type = std::str::from_utf8(from.take(len)?).ok()?;
    check_content_type(content_type).ok()?;
    Some(Payload::Put {
        value: rest(from),
        content_type: content_type.to_owned(),
        deadline,
    })
}

/// All that is left.
fn rest(from: &mut Reader<'_>) -> Bytes {
    Bytes::copy_from_slice(std::mem::take(&mut from.0))
}

impl Encoded for PeerReply {
    fn write(&self, to: &mut Writer) {
        match self {
            Self::Minted(version) => {
                to.u8(1);
                version.write(to);
            }
            Self::Stored(Answer::Held) => to.u8(2),
            Self::Stored(Answer::Older(time)) => {
                to.u8(3);
                time.write(to);
            }
            Self::Found(None) => to.u8(4),
            Self::Found(Some(Found { record, deadline })) => {
                to.u8(5);
                deadline.write(to);
                to.put(record);
            }
            Self::Failed(failure) => {
                to.u8(6);
                write_failure(*failure, to);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(match from.u8()? {
            1 => Self::Minted(Version::read(from)?),
            2 => Self::Stored(Answer::Held),
            3 => Self::Stored(Answer::Older(Hlc::read(from)?)),
            4 => Self::Found(None),
            5 => Self::Found(Some(Found {
                deadline: Encoded::read(from)?,
                record: rest(from),
            })),
            6 => Self::Failed(read_failure(from)?),
            _ => return None,
        })
    }
}

fn write_failure(failure: Failure, to: &mut Writer) {
    to.u8(match failure {
        Failure::Unreachable => 1,
        Failure::Silent => 2,
        Failure::Fenced(_) => 3,
        Failure::DiskFull => 4,
        Failure::Overloaded => 5,
        Failure::AboveLimit(_) => 6,
        Failure::Refused => 7,
        Failure::DiskFailed => 8,
    });
    match failure {
        Failure::Fenced(epoch) => epoch.write(to),
        Failure::AboveLimit(time) => time.write(to),
        _ => {}
    }
}

fn read_failure(from: &mut Reader<'_>) -> Option<Failure> {
    Some(match from.u8()? {
        1 => Failure::Unreachable,
        2 => Failure::Silent,
        3 => Failure::Fenced(Epoch::read(from)?),
        4 => Failure::DiskFull,
        5 => Failure::Overloaded,
        6 => Failure::AboveLimit(Hlc::read(from)?),
        7 => Failure::Refused,
        8 => Failure::DiskFailed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::KEY_LEN_MAX;
    use proptest::prelude::*;
    use ringwood_types::{Dot, Incarnation};

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn hlc() -> impl Strategy<Value = Hlc> {
        any::<u64>().prop_map(Hlc::from_bits)
    }

    fn payload() -> impl Strategy<Value = Payload> {
        let content_type = proptest::collection::vec(b' '..=b'~', 0..=255)
            .prop_map(|text| String::from_utf8(text).expect("ASCII"));
        let put = (bytes(), content_type, any::<Option<u64>>());
        prop_oneof![
            Just(Payload::Delete),
            put.prop_map(|(value, content_type, deadline)| Payload::Put {
                value,
                content_type,
                deadline,
            }),
        ]
    }

    fn request() -> impl Strategy<Value = PeerRequest> {
        let mint = (payload(), hlc(), hlc());
        let store = (bytes(), any::<Option<u64>>());
        let request = prop_oneof![
            Just(ReplicaRequest::Read),
            mint.prop_map(|(payload, above, limit)| ReplicaRequest::Mint {
                payload,
                above,
                limit
            }),
            store.prop_map(|(record, deadline)| ReplicaRequest::Store { record, deadline }),
        ];
        let key = proptest::collection::vec(any::<u8>(), 1..40);
        (any::<u64>(), any::<u32>(), key, request).prop_map(|(epoch, namespace, key, request)| {
            PeerRequest {
                epoch: Epoch::new(epoch),
                namespace: NamespaceId::new(namespace),
                key: key.into(),
                request,
            }
        })
    }

    fn reply() -> impl Strategy<Value = PeerReply> {
        let failure = prop_oneof![
            Just(Failure::Unreachable),
            Just(Failure::Silent),
            Just(Failure::DiskFull),
            Just(Failure::Overloaded),
            Just(Failure::Refused),
            Just(Failure::DiskFailed),
            any::<u64>().prop_map(|epoch| Failure::Fenced(Epoch::new(epoch))),
            hlc().prop_map(Failure::AboveLimit),
        ];
        let version =
            (hlc(), any::<u64>(), any::<u64>()).prop_map(|(time, incarnation, counter)| {
                let incarnation = Incarnation::new(incarnation);
                let dot = Dot {
                    incarnation,
                    counter,
                };
                Version { time, dot }
            });
        let found = (bytes(), any::<Option<u64>>());
        prop_oneof![
            version.prop_map(PeerReply::Minted),
            Just(PeerReply::Stored(Answer::Held)),
            hlc().prop_map(|time| PeerReply::Stored(Answer::Older(time))),
            Just(PeerReply::Found(None)),
            found.prop_map(|(record, deadline)| PeerReply::Found(Some(Found { record, deadline }))),
            failure.prop_map(PeerReply::Failed),
        ]
    }

    /// What is cut off `bytes` is refused, or, inside of what comes last, a shorter message.
    fn there_and_back<T: Encoded + PartialEq + std::fmt::Debug>(value: &T, last: usize) {
        let bytes = value.to_vec();
        assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
        let fixed = bytes.len() - last;
        for cut in 0..bytes.len() {
            let read = T::decode(&bytes[..cut]);
            assert_eq!(read.is_ok(), cut >= fixed, "{cut} bytes of {value:?}");
        }
        if last == 0 && !is_open(value) {
            let more = [&bytes[..], &[0]].concat();
            assert!(T::decode(&more).is_err(), "one byte more than {value:?}");
        }
    }

    /// Whether bytes behind it would belong to it.
    fn is_open<T: std::fmt::Debug>(value: &T) -> bool {
        let text = format!("{value:?}");
        ["Put {", "Store {", "Found(Some"]
            .iter()
            .any(|open| text.contains(open))
    }

    proptest! {
        #[test]
        fn replica_encode_1_requests_are_read_back(asked in request()) {
            let last = match &asked.request {
                ReplicaRequest::Mint { payload: Payload::Put { value, .. }, .. } => value.len(),
                ReplicaRequest::Store { record, .. } => record.len(),
                _ => 0,
            };
            there_and_back(&asked, last);
        }

        #[test]
        fn replica_encode_1_replies_are_read_back(reply in reply()) {
            let last = match &reply {
                PeerReply::Found(Some(found)) => found.record.len(),
                _ => 0,
            };
            there_and_back(&reply, last);
        }

        #[test]
        fn replica_encode_1_any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(asked) = PeerRequest::decode(&bytes) {
                prop_assert_eq!(asked.to_vec(), &bytes[..]);
            }
            if let Ok(reply) = PeerReply::decode(&bytes) {
                prop_assert_eq!(reply.to_vec(), &bytes[..]);
            }
        }

        #[test]
        fn replica_encode_1_a_changed_message_is_read_or_refused(
            asked in request(), at: prop::sample::Index, byte: u8,
        ) {
            let mut bytes = asked.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(asked) = PeerRequest::decode(&bytes) {
                prop_assert_eq!(asked.to_vec(), bytes);
            }
        }
    }

    #[test]
    fn replica_encode_1_keys_and_content_types_are_held_to_their_limits() {
        let asked = |key: Vec<u8>, content_type: &str| PeerRequest {
            epoch: Epoch::new(1),
            namespace: NamespaceId::new(1),
            key: key.into(),
            request: ReplicaRequest::Mint {
                payload: Payload::Put {
                    value: Bytes::from_static(b"v"),
                    content_type: content_type.to_owned(),
                    deadline: None,
                },
                above: Hlc::from_bits(1),
                limit: Hlc::from_bits(2),
            },
        };
        let is_taken = |asked: PeerRequest| PeerRequest::decode(&asked.to_vec()).is_ok();
        assert!(is_taken(asked(vec![0; KEY_LEN_MAX], "text/plain")));
        assert!(!is_taken(asked(vec![0; KEY_LEN_MAX + 1], "text/plain")));
        assert!(!is_taken(asked(vec![], "text/plain")));
        assert!(!is_taken(asked(vec![0], "text/plain\r\nset-cookie: a=b")));
        assert!(!is_taken(asked(vec![0], "text/pläin")));
    }

    #[test]
    fn messages_are_these_to_the_byte() {
        let asked = PeerRequest {
            epoch: Epoch::new(300),
            namespace: NamespaceId::new(2),
            key: Bytes::from_static(b"k"),
            request: ReplicaRequest::Store {
                record: Bytes::from_static(b"rec"),
                deadline: Some(5),
            },
        };
        assert_eq!(
            asked.to_vec(),
            b"\xac\x02\x02\0\0\0\x01\0\0\0k\x03\x01\x05rec"
        );
        let failed = PeerReply::Failed(Failure::Fenced(Epoch::new(300)));
        assert_eq!(failed.to_vec(), b"\x06\x03\xac\x02");
    }
}
