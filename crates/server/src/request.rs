//! What a request says besides its body: namespace, key, parameters, consistency, time to live.

use std::borrow::Cow;
use std::str::FromStr;

use hyper::header::{self, HeaderName, HeaderValue};

use ringwood_node::{Durability, TTL_SECONDS_MAX, Ttl};

use crate::encoding::{Encoding, base64_decode};
use crate::error::{Code, Problem, Result};
use crate::head::Head;

pub(crate) const CONSISTENCY: HeaderName = HeaderName::from_static("ringwood-consistency");
pub(crate) const CONSISTENCY_ALIAS: HeaderName = HeaderName::from_static("x-consistency-level");
pub(crate) const CONTEXT: HeaderName = HeaderName::from_static("ringwood-context");

/// Undoes percent-encoding; every `%` must be followed by two hexadecimal digits.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, [u8]>> {
    let bytes = text.as_bytes();
    let plain = |byte: &u8| *byte != b'%' && !(plus_is_space && *byte == b'+');
    if bytes.iter().all(plain) {
        return Some(Cow::Borrowed(bytes));
    }
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                out.push(u8::try_from(digit(at + 1)? << 4 | digit(at + 2)?).ok()?);
                at += 2;
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    Some(Cow::Owned(out))
}

/// The name of a namespace in a path.
///
/// # Errors
/// [`Code::NamespaceNotFound`] for what can be no name.
pub(crate) fn decode_name(segment: &str) -> Result<Cow<'_, str>> {
    let name = match percent_decode(segment, false) {
        Some(Cow::Borrowed(_)) => Some(Cow::Borrowed(segment)),
        Some(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
        None => None,
    };
    name.ok_or_else(|| Problem::new(Code::NamespaceNotFound, "no namespace has such a name"))
}

/// The key a request names in its path, or in `key64`.
///
/// # Errors
/// [`Code::KeyInvalid`].
pub(crate) fn key<'a>(path: &'a str, query: &mut Query<'_>) -> Result<Cow<'a, [u8]>> {
    let invalid = |detail: &'static str| Problem::new(Code::KeyInvalid, detail);
    match query.take("key64")? {
        Some(_) if !path.is_empty() => {
            Err(invalid("the key stands in the path and in key64; give one"))
        }
        Some(key) => base64_decode(&key)
            .map(Cow::Owned)
            .ok_or_else(|| invalid("key64 is not base64url")),
        None => percent_decode(path, false).ok_or_else(|| {
            invalid("a % in the path is not followed by two hexadecimal digits (a plain % is %25)")
        }),
    }
}

/// The query parameters of a request; each is taken once, and none may be left.
pub(crate) struct Query<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(query: Option<&'a str>) -> Self {
        let pairs = query.unwrap_or_default().split('&');
        Self {
            pairs: pairs
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .collect(),
        }
    }

    /// Takes a parameter as bytes.
    ///
    /// # Errors
    /// [`Code::ParameterInvalid`] when it is given twice or cannot be decoded.
    pub(crate) fn take_bytes(&mut self, name: &str) -> Result<Option<Cow<'a, [u8]>>> {
        let Some(at) = self.pairs.iter().position(|pair| pair.0 == name) else {
            return Ok(None);
        };
        let (_, value) = self.pairs.swap_remove(at);
        if self.pairs.iter().any(|pair| pair.0 == name) {
            return Err(invalid_parameter(name, "is given twice"));
        }
        percent_decode(value, true)
            .map(Some)
            .ok_or_else(|| invalid_parameter(name, "has a % without two hexadecimal digits"))
    }

    /// Takes a parameter as text.
    ///
    /// # Errors
    /// As [`Query::take_bytes`]; and when it is not UTF-8.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Cow<'a, str>>> {
        let text = match self.take_bytes(name)? {
            None => return Ok(None),
            Some(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Some(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        text.map(Some)
            .ok_or_else(|| invalid_parameter(name, "is not UTF-8"))
    }

    /// Takes a number.
    ///
    /// # Errors
    /// As [`Query::take`]; and when it is not a whole number within the bounds.
    pub(crate) fn take_number(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>> {
        let Some(text) = self.take(name)? else {
            return Ok(None);
        };
        match number(&text) {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(invalid_parameter(
                name,
                &format!("must be a whole number from {least} to {most}"),
            )),
        }
    }

    /// Takes a switch: `true`, `1` or nothing for on, `false` or `0` for off.
    ///
    /// # Errors
    /// As [`Query::take`]; and when it is none of these.
    pub(crate) fn take_flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(_) => Err(invalid_parameter(name, "must be true or false")),
        }
    }

    fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// # Errors
    /// [`Code::ParameterInvalid`] names a parameter that nobody took.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid_parameter(name, "is not known here")),
        }
    }
}

/// A whole number as requests write it; Rust would also take `+5`.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    let text = (!text.starts_with('+')).then_some(text)?;
    text.parse().ok()
}

pub(crate) fn invalid_parameter(name: &str, why: &str) -> Box<Problem> {
    let shown: String = name.chars().take(64).collect();
    Problem::new(Code::ParameterInvalid, format!("parameter {shown:?} {why}"))
}

/// Reads and checks how many replicas a request wants to hear from. One node is one replica, so
/// `one`, `quorum` and `all` are the same, and more than one cannot be had.
///
/// # Errors
/// [`Code::HeaderInvalid`], [`Code::ParameterInvalid`], [`Code::InsufficientReplicas`].
pub(crate) fn check_consistency(head: &Head<'_>, query: &mut Query<'_>) -> Result<()> {
    for (name, level) in [
        (CONSISTENCY, head.consistency),
        (CONSISTENCY_ALIAS, head.consistency_alias),
    ] {
        if let Some(level) = level
            && ![&b"one"[..], b"quorum", b"all"]
                .iter()
                .any(|known| level.as_bytes().eq_ignore_ascii_case(known))
        {
            let detail = format!("{name} must be one, quorum or all");
            return Err(Problem::new(Code::HeaderInvalid, detail));
        }
    }
    if query.is_empty() {
        return Ok(());
    }
    for name in ["r", "w"] {
        if let Some(wanted) = query.take_number(name, 1, u64::from(u8::MAX))?
            && wanted > 1
        {
            let detail = format!("{name}={wanted}, and there is 1 replica");
            return Err(Problem::new(Code::InsufficientReplicas, detail));
        }
    }
    Ok(())
}

/// # Errors
/// [`Code::ConditionUnsupported`]: an eventual namespace does not serialise writes, so a condition
/// would promise what it cannot keep.
pub(crate) fn refuse_conditions(head: &Head<'_>) -> Result<()> {
    let conditions = [
        (header::IF_MATCH, head.if_match),
        (header::IF_NONE_MATCH, head.if_none_match),
        (header::IF_UNMODIFIED_SINCE, head.if_unmodified_since),
    ];
    match conditions.iter().find(|(_, given)| given.is_some()) {
        None => Ok(()),
        Some((name, _)) => {
            let detail = format!(
                "{name} on a write: this namespace is eventual and does not put writes in one order"
            );
            Err(Problem::new(Code::ConditionUnsupported, detail))
        }
    }
}

/// Takes the time to live: seconds, or `never`.
///
/// # Errors
/// [`Code::TtlInvalid`]; the node checks the bounds.
pub(crate) fn ttl(query: &mut Query<'_>) -> Result<Ttl> {
    match query.take("ttl")?.as_deref() {
        None => Ok(Ttl::Default),
        Some("never") => Ok(Ttl::Never),
        Some(text) => number(text).map(Ttl::Seconds).ok_or_else(invalid_ttl),
    }
}

/// As [`ttl`], of a JSON body.
///
/// # Errors
/// As there.
pub(crate) fn json_ttl(ttl: Option<&serde_json::Value>) -> Result<Ttl> {
    match ttl {
        None | Some(serde_json::Value::Null) => Ok(Ttl::Default),
        Some(value) if value == "never" => Ok(Ttl::Never),
        Some(value) => value.as_i64().map(Ttl::Seconds).ok_or_else(invalid_ttl),
    }
}

fn invalid_ttl() -> Box<Problem> {
    let detail =
        format!("ttl must be a whole number of seconds from 1 to {TTL_SECONDS_MAX}, or never");
    Problem::new(Code::TtlInvalid, detail)
}

/// What the client says its bytes are. `curl --data` does not know and says form.
///
/// # Errors
/// [`Code::HeaderInvalid`]; the node checks the length.
pub(crate) fn content_type(head: &Head<'_>) -> Result<Option<String>> {
    match head.content_type.map(HeaderValue::to_str) {
        None | Some(Ok("" | "application/x-www-form-urlencoded")) => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => {
            let detail = "Content-Type must be printable ASCII";
            Err(Problem::new(Code::HeaderInvalid, detail))
        }
    }
}

/// Takes how values stand in JSON.
///
/// # Errors
/// [`Code::ParameterInvalid`].
pub(crate) fn encoding(query: &mut Query<'_>) -> Result<Encoding> {
    match query.take("encoding")?.as_deref() {
        None | Some("base64") => Ok(Encoding::Base64),
        Some("utf8") => Ok(Encoding::Utf8),
        Some(_) => Err(invalid_parameter("encoding", "must be base64 or utf8")),
    }
}

/// Entries of a page that does not say how many, unless the node allows fewer.
const PAGE_LEN: usize = 100;

/// Takes how many entries a page may have, on a node that allows `most`.
///
/// # Errors
/// [`Code::ParameterInvalid`]; the node knows the most.
pub(crate) fn limit(query: &mut Query<'_>, most: usize) -> Result<usize> {
    Ok(match query.take_number("limit", 1, u64::from(u32::MAX))? {
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => PAGE_LEN.min(most),
    })
}

/// Takes when a write is acknowledged.
///
/// # Errors
/// [`Code::ParameterInvalid`].
pub(crate) fn durability(query: &mut Query<'_>) -> Result<Option<Durability>> {
    match query.take("durability")?.as_deref() {
        None => Ok(None),
        Some("synced") => Ok(Some(Durability::Synced)),
        Some("buffered") => Ok(Some(Durability::Buffered)),
        Some(_) => Err(invalid_parameter(
            "durability",
            "must be synced or buffered",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T>) -> Option<Code> {
        result.err().map(|problem| problem.code)
    }

    #[test]
    fn percent_encoding_is_strict_and_gives_any_bytes() {
        let decode = |text| percent_decode(text, false).map(Cow::into_owned);
        assert_eq!(decode("a%2Fb%00%ff+"), Some(b"a/b\0\xff+".to_vec()));
        for bad in ["%", "a%2", "%zz", "%+1", "%%20"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(percent_decode("a+b", true).as_deref(), Some(&b"a b"[..]));
    }

    #[test]
    fn keys_stand_in_one_place() {
        let parse = |path, query| key(path, &mut Query::new(query)).map(Cow::into_owned);
        assert_eq!(parse("abcd", None).unwrap(), b"abcd");
        assert_eq!(parse("", None).unwrap(), b"", "refused by the node");
        assert_eq!(code(parse("%4", None)), Some(Code::KeyInvalid));
        assert_eq!(parse("", Some("key64=_-8")).unwrap(), b"\xff\xef");
        assert_eq!(parse("", Some("key64=_-8%3D")).unwrap(), b"\xff\xef");
        assert_eq!(code(parse("a", Some("key64=_w"))), Some(Code::KeyInvalid));
        assert_eq!(code(parse("", Some("key64=!"))), Some(Code::KeyInvalid));
    }

    #[test]
    fn parameters_are_known_given_once_and_within_bounds() {
        let mut query = Query::new(Some("limit=7&reverse&x=%ff&y=1&y=2"));
        assert_eq!(query.take_number("limit", 1, 9).unwrap(), Some(7));
        assert!(query.take_flag("reverse").unwrap());
        assert!(!query.take_flag("keys_only").unwrap());
        assert_eq!(code(query.take("x")), Some(Code::ParameterInvalid));
        assert_eq!(code(query.take("y")), Some(Code::ParameterInvalid));
        assert_eq!(code(query.finish()), Some(Code::ParameterInvalid));
        for bad in ["0", "10", "-1", "1.0", "%2B5", "99999999999999999999", ""] {
            let text = format!("limit={bad}");
            let mut query = Query::new(Some(&text));
            assert_eq!(
                code(query.take_number("limit", 1, 9)),
                Some(Code::ParameterInvalid),
                "{bad}"
            );
        }
    }

    #[test]
    fn times_to_live_are_whole_seconds_or_never() {
        let parse = |text: &str| ttl(&mut Query::new(Some(text)));
        assert_eq!(parse("ttl=1").unwrap(), Ttl::Seconds(1));
        assert_eq!(
            parse("ttl=-1").unwrap(),
            Ttl::Seconds(-1),
            "refused by the node"
        );
        assert_eq!(parse("ttl=never").unwrap(), Ttl::Never);
        assert_eq!(parse("").unwrap(), Ttl::Default);
        for bad in [
            "ttl=1e3",
            "ttl=",
            "ttl=1.5",
            "ttl=%2B5",
            "ttl=99999999999999999999",
        ] {
            assert_eq!(code(parse(bad)), Some(Code::TtlInvalid), "{bad}");
        }
        for bad in ["1.5", "\"1\"", "true", "[]", "1e40", "99999999999999999999"] {
            let value = serde_json::from_str(bad).unwrap();
            assert_eq!(
                code(json_ttl(Some(&value))),
                Some(Code::TtlInvalid),
                "{bad}"
            );
        }
    }

    #[test]
    fn one_replica_satisfies_every_level_and_no_count_above_one() {
        let check = |level: Option<&'static str>, query| {
            let level = level.map(HeaderValue::from_static);
            let head = Head {
                consistency_alias: level.as_ref(),
                ..Head::default()
            };
            code(check_consistency(&head, &mut Query::new(query)))
        };
        for level in [None, Some("one"), Some("Quorum"), Some("ALL")] {
            assert_eq!(check(level, Some("r=1&w=1")), None);
        }
        assert_eq!(check(Some("two"), None), Some(Code::HeaderInvalid));
        assert_eq!(check(None, Some("r=2")), Some(Code::InsufficientReplicas));
        assert_eq!(check(None, Some("w=many")), Some(Code::ParameterInvalid));
        assert_eq!(check(None, Some("w=0")), Some(Code::ParameterInvalid));
    }
}
