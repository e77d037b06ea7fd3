//! What a request's head says that means something here, found in one pass over its headers.
//!
//! A map of headers is asked by hashing a name, and a request that has two headers would be asked for
//! a dozen. Of a header that is given several times the first counts, as in the map.

use hyper::header::{self, HeaderMap, HeaderValue};

macro_rules! head {
    ($($(#[$doc:meta])* $field:ident $name:literal,)*) => {
        /// The headers of a request that are known here, as they came.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Head<'a> {
            $($(#[$doc])* pub(crate) $field: Option<&'a HeaderValue>,)*
            /// Whether `host` is given several times.
            pub(crate) host_repeated: bool,
            /// Whether a coding of the body is: what the first one says is not all that was done to it.
            pub(crate) coding_repeated: bool,
        }

        impl<'a> Head<'a> {
            pub(crate) fn of(headers: &'a HeaderMap) -> Self {
                let mut head = Self::default();
                for (name, value) in headers {
                    let place = match name.as_str() {
                        $($name => &mut head.$field,)*
                        _ => continue,
                    };
                    match place {
                        None => *place = Some(value),
                        Some(_) if name == header::HOST => head.host_repeated = true,
                        Some(_) => {
                            head.coding_repeated |= name == header::CONTENT_ENCODING
                                || name == header::TRANSFER_ENCODING;
                        }
                    }
                }
                head
            }
        }
    };
}

head! {
    host "host",
    /// Sent by browsers.
    origin "origin",
    request_id "x-request-id",
    consistency "ringwood-consistency",
    /// Another name of it.
    consistency_alias "x-consistency-level",
    context "ringwood-context",
    content_type "content-type",
    content_encoding "content-encoding",
    transfer_encoding "transfer-encoding",
    expect "expect",
    range "range",
    if_range "if-range",
    if_match "if-match",
    if_none_match "if-none-match",
    if_unmodified_since "if-unmodified-since",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_counts_and_the_unknown_is_passed_over() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::RANGE, "bytes=0-1"),
            (header::RANGE, "bytes=2-3"),
            (header::USER_AGENT, "test"),
            (header::HOST, "here"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let head = Head::of(&headers);
        assert_eq!(head.range.unwrap(), "bytes=0-1");
        assert_eq!(head.host.unwrap(), "here");
        assert!(head.origin.is_none() && head.if_range.is_none() && !head.host_repeated);
        headers.append(header::HOST, HeaderValue::from_static("here"));
        let head = Head::of(&headers);
        assert!(head.host_repeated && !head.coding_repeated);
        for name in [header::CONTENT_ENCODING, header::TRANSFER_ENCODING] {
            let mut headers = HeaderMap::new();
            headers.append(&name, HeaderValue::from_static("gzip"));
            assert!(!Head::of(&headers).coding_repeated);
            headers.append(&name, HeaderValue::from_static("chunked"));
            assert!(Head::of(&headers).coding_repeated, "{name}");
        }
    }
}
