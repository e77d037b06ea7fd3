//! Names for requests, so that a client's error and the server's log can be matched.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::header::{HeaderName, HeaderValue};
use ringwood_env::UnixMillis;
use ringwood_types::hexadecimal;

use crate::head::Head;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LEN_MAX: usize = 64;

/// A short text of letters, digits and a few signs.
#[derive(Clone, Debug)]
pub(crate) enum RequestId {
    Given(HeaderValue),
    Made([u8; 16]),
}

/// Gives out ids: the start's time and a count.
#[derive(Debug)]
pub(crate) struct RequestIds(AtomicU64);

impl RequestIds {
    /// Ids of servers started at different times differ for the first 16 million requests a
    /// millisecond of the difference.
    pub(crate) fn new(now: UnixMillis) -> Self {
        Self(AtomicU64::new(now << 24))
    }

    /// The id that the client sent, if it is fit for logs; a new one otherwise.
    pub(crate) fn of(&self, head: &Head<'_>) -> RequestId {
        match head.request_id {
            Some(given) if is_sane(given.as_bytes()) => RequestId::Given(given.clone()),
            _ => RequestId::Made(hexadecimal(self.0.fetch_add(1, Relaxed))),
        }
    }
}

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        let bytes = match self {
            Self::Given(value) => value.as_bytes(),
            Self::Made(digits) => digits,
        };
        std::str::from_utf8(bytes).expect("only visible ASCII is taken")
    }

    pub(crate) fn into_header(self) -> HeaderValue {
        match self {
            Self::Given(value) => value,
            Self::Made(digits) => HeaderValue::from_bytes(&digits).expect("digits fit a header"),
        }
    }
}

fn is_sane(id: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(byte);
    (1..=LEN_MAX).contains(&id.len()) && id.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        let ids = RequestIds::new(1);
        let of = |given: &[u8]| {
            let given = HeaderValue::from_bytes(given).unwrap();
            let head = Head {
                request_id: Some(&given),
                ..Head::default()
            };
            ids.of(&head).as_str().to_owned()
        };
        assert_eq!(of(b"abc-1.2:3/4_5"), "abc-1.2:3/4_5");
        assert_eq!(of(b"a b"), "0000000001000000");
        assert_eq!(of(b"\xff"), "0000000001000001");
        assert_eq!(of(&[b'a'; 65]), "0000000001000002");
        assert_eq!(ids.of(&Head::default()).as_str(), "0000000001000003");
    }
}
