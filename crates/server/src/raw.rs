//! `/kv/…`: bytes in, bytes out; what is known about them travels in headers.

use std::mem::take;
use std::ops::Range;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use ringwood_env::UnixMillis;
use ringwood_node::{Entry, KeyReply, Put, Reply, Step};
use ringwood_types::{ContextToken, Version};

use crate::answer_body::AnswerBody;
use crate::app::{App, Deadline, FullResponse};
use crate::call::{Call, key_reply, misfit};
use crate::error::{Code, Problem, Result};
use crate::head::Head;
use crate::request::{self, CONTEXT, Query};
use crate::route::Route;

const EXPIRES_AT: HeaderName = HeaderName::from_static("ringwood-expires-at");
const REPLICAS: HeaderName = HeaderName::from_static("ringwood-replicas");
/// One node is one replica, and it has answered.
const ALL_REPLICAS: HeaderValue = HeaderValue::from_static("1/1");
/// What was stored may be a page: opened in a browser, it is of no origin and runs no script.
const SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");
const UNTYPED: HeaderValue = HeaderValue::from_static("application/octet-stream");

const ETAG_LEN: usize = Version::TEXT_LEN + 2;
/// A token is its text and nothing beside.
const CONTEXT_LEN: usize = size_of::<ContextToken>();

/// How a raw read begins.
pub(crate) enum Begun {
    /// It took no waiting: here is what was found.
    Answered(Result<Found>),
    /// It waits for the disk: [`finish`] it.
    Waiting(Step),
    /// It is not of the common kind: ask [`get`].
    Uncommon,
}

/// Begins a `GET` or `HEAD` on the connection's own thread.
pub(crate) fn begin(
    app: &App,
    head: &Head<'_>,
    request: &Request<Incoming>,
    route: Route<'_>,
) -> Begun {
    // Pages of other origins, foreign hosts, bodies and the like are answered by the careful path.
    if head.origin.is_some()
        || head.transfer_encoding.is_some()
        || app.answers.are_full()
        || !request.body().is_end_stream()
        || app
            .hosts
            .check(request.version(), request.uri(), head)
            .is_err()
    {
        return Begun::Uncommon;
    }
    match read(app, head, route, Query::new(request.uri().query())) {
        Ok(Step::Reply(Ok(reply))) => Begun::Answered(Found::of(reply, head)),
        Ok(Step::Reply(Err(error))) => Begun::Answered(Err(error.into())),
        Ok(step) => Begun::Waiting(step),
        Err(problem) => Begun::Answered(Err(problem)),
    }
}

/// Waits for a read that [`begin`] began.
pub(crate) async fn finish(
    app: &App,
    head: &Head<'_>,
    step: Step,
    deadline: Deadline,
) -> Result<FullResponse> {
    let found = Found::of(app.finish(step, deadline).await?, head)?;
    Ok(found.into_response(HeaderMap::new()))
}

pub(crate) async fn get(call: Call<'_>) -> Result<FullResponse> {
    let step = read(call.app, &call.head, call.route, call.query)?;
    finish(call.app, &call.head, step, call.deadline).await
}

fn read(app: &App, head: &Head<'_>, route: Route<'_>, mut query: Query<'_>) -> Result<Step> {
    let key = request::key(route.key, &mut query)?;
    request::check_consistency(head, &mut query)?;
    query.finish()?;
    Ok(app.node.get(&app.namespace(&route)?, &key))
}

pub(crate) async fn put(mut call: Call<'_>) -> Result<FullResponse> {
    let mut target = call.target()?;
    let ttl = request::ttl(&mut call.query)?;
    call.query.finish()?;
    let content_type = request::content_type(&call.head)?;
    let mut received = call.read_value(0).await?;
    let put = Put {
        key: take(&mut target.key),
        value: take(&mut received.bytes),
        content_type,
        ttl,
        context: target.context.take(),
    };
    let KeyReply::Stored {
        version,
        context,
        deadline,
    } = call.put(target, put).await?
    else {
        return Err(misfit());
    };
    let mut response = no_content();
    let headers = response.headers_mut();
    headers.reserve(8);
    describe(headers, &Etag::of(version), &context, deadline);
    Ok(response)
}

pub(crate) async fn delete(mut call: Call<'_>) -> Result<FullResponse> {
    let target = call.target()?;
    call.query.finish()?;
    let KeyReply::Deleted { .. } = call.delete(target).await? else {
        return Err(misfit());
    };
    let mut response = no_content();
    response.headers_mut().insert(REPLICAS, ALL_REPLICAS);
    Ok(response)
}

fn no_content() -> FullResponse {
    let mut response = Response::new(AnswerBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A value, and how much of it a client wants.
pub(crate) struct Found {
    entry: Entry,
    etag: Etag,
    wanted: Wanted,
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// It has this version already.
    Nothing,
    Whole,
    Part(Range<usize>),
}

impl Found {
    fn of(reply: Reply, head: &Head<'_>) -> Result<Self> {
        let entry = match key_reply(reply)? {
            KeyReply::Entry(entry) => entry,
            KeyReply::Missing => {
                return Err(Problem::new(Code::KeyNotFound, "the key has no value"));
            }
            _ => return Err(misfit()),
        };
        let etag = Etag::of(entry.version());
        let wanted = wanted(head, &etag, entry.value().len())?;
        Ok(Self {
            entry,
            etag,
            wanted,
        })
    }

    /// The response; `headers`, an empty map, is memory for it.
    pub(crate) fn into_response(self, mut headers: HeaderMap) -> FullResponse {
        let Self {
            entry,
            etag,
            wanted,
        } = self;
        headers.reserve(10);
        describe(&mut headers, &etag, &entry.context(), entry.deadline());
        let mut response = Response::new(AnswerBody::default());
        if wanted == Wanted::Nothing {
            *response.headers_mut() = headers;
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, content_type_of(&entry));
        headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let len = entry.value().len();
        let value = entry.into_value();
        *response.body_mut() = if let Wanted::Part(part) = wanted {
            let content_range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
            let content_range = HeaderValue::from_str(&content_range).expect("digits fit a header");
            headers.insert(header::CONTENT_RANGE, content_range);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            AnswerBody::from(Bytes::from_owner(value).slice(part))
        } else {
            AnswerBody::from(value)
        };
        *response.headers_mut() = headers;
        response
    }
}

/// A version as `ETag` has it: in quotes.
struct Etag([u8; ETAG_LEN]);

impl Etag {
    fn of(version: Version) -> Self {
        let mut text = [b'"'; ETAG_LEN];
        text[1..=Version::TEXT_LEN].copy_from_slice(&version.to_text());
        Self(text)
    }
}

/// Says in headers which version a value is.
fn describe(
    headers: &mut HeaderMap,
    etag: &Etag,
    context: &ContextToken,
    deadline: Option<UnixMillis>,
) {
    // One piece of memory for both.
    let mut texts = [0; ETAG_LEN + CONTEXT_LEN];
    texts[..ETAG_LEN].copy_from_slice(&etag.0);
    texts[ETAG_LEN..].copy_from_slice(context.as_ref());
    let texts = Bytes::from_owner(texts);
    let text = |text| HeaderValue::from_maybe_shared(text).expect("versions are plain ASCII");
    headers.insert(header::ETAG, text(texts.slice(..ETAG_LEN)));
    headers.insert(CONTEXT, text(texts.slice(ETAG_LEN..)));
    headers.insert(REPLICAS, ALL_REPLICAS);
    if let Some(deadline) = deadline {
        headers.insert(EXPIRES_AT, HeaderValue::from(deadline));
    }
}

fn content_type_of(entry: &Entry) -> HeaderValue {
    let given = entry.content_type().map(HeaderValue::from_str);
    given.and_then(std::result::Result::ok).unwrap_or(UNTYPED)
}

fn wanted(head: &Head<'_>, etag: &Etag, len: usize) -> Result<Wanted> {
    if head
        .if_none_match
        .is_some_and(|known| is_known(known, etag))
    {
        return Ok(Wanted::Nothing);
    }
    let part = head
        .range
        .map(|range| wanted_part(range, head.if_range, etag, len));
    Ok(match part.transpose()?.flatten() {
        Some(part) => Wanted::Part(part),
        None => Wanted::Whole,
    })
}

/// Whether a version is among those that the client has already.
fn is_known(known: &HeaderValue, etag: &Etag) -> bool {
    known.as_bytes().split(|&byte| byte == b',').any(|one| {
        let one = one.trim_ascii();
        one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == etag.0
    })
}

/// The one range of bytes that a client asks for. Several ranges, other units and nonsense are
/// ignored, as RFC 9110 allows.
fn wanted_part(
    range: &HeaderValue,
    if_range: Option<&HeaderValue>,
    etag: &Etag,
    len: usize,
) -> Result<Option<Range<usize>>> {
    if if_range.is_some_and(|known| known.as_bytes() != etag.0) {
        return Ok(None);
    }
    let Some((first, last)) = range
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let part = match (
        request::number::<usize>(first),
        request::number::<usize>(last),
    ) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Some(first), None) if last.is_empty() => first..len,
        (None, Some(suffix)) if first.is_empty() => len.saturating_sub(suffix)..len,
        _ => return Ok(None),
    };
    if part.start < part.end {
        return Ok(Some(part));
    }
    let content_range = HeaderValue::from_str(&format!("bytes */{len}")).expect("digits fit");
    Err(Problem::new(
        Code::RangeNotSatisfiable,
        format!("the value has {len} bytes"),
    )
    .header(header::CONTENT_RANGE, content_range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwood_types::{Dot, Hlc, Incarnation};

    const LEN: usize = 10;

    fn etag() -> Etag {
        Etag::of(Version {
            time: Hlc::at(7),
            dot: Dot {
                incarnation: Incarnation::new(1),
                counter: 1,
            },
        })
    }

    fn part(range: &'static str, if_range: Option<&HeaderValue>) -> Result<Option<Range<usize>>> {
        wanted_part(&HeaderValue::from_static(range), if_range, &etag(), LEN)
    }

    #[test]
    fn one_range_is_served_nonsense_ignored_and_the_unsatisfiable_refused() {
        let part = |range| part(range, None);
        assert_eq!(part("bytes=0-3").unwrap(), Some(0..4));
        assert_eq!(part("bytes=9-").unwrap(), Some(9..10));
        assert_eq!(part("bytes=5-99").unwrap(), Some(5..10));
        assert_eq!(part("bytes=-4").unwrap(), Some(6..10));
        assert_eq!(part("bytes=-99").unwrap(), Some(0..10));
        for ignored in [
            "bytes=3-2",
            "bytes=a-b",
            "bytes=0-1,4-5",
            "lines=1-2",
            "bytes=-",
            "bytes=+0-1",
            "bytes=0-+1",
            "bytes=-+1",
        ] {
            assert_eq!(part(ignored).unwrap(), None, "{ignored}");
        }
        for refused in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(part(refused).unwrap_err().code, Code::RangeNotSatisfiable);
        }
    }

    #[test]
    fn a_range_of_another_version_is_not_served() {
        let same = HeaderValue::from_bytes(&etag().0).unwrap();
        assert_eq!(part("bytes=0-3", Some(&same)).unwrap(), Some(0..4));
        let other = HeaderValue::from_static("\"other\"");
        assert_eq!(part("bytes=0-3", Some(&other)).unwrap(), None);
    }

    #[test]
    fn known_versions_are_recognised_in_lists() {
        let etag = etag();
        let own = std::str::from_utf8(&etag.0).unwrap();
        let known = |text: &str| is_known(&HeaderValue::from_str(text).unwrap(), &etag);
        assert_eq!(own, "\"0000000000070000-0000000000000001\"");
        assert!(known(own) && known("*") && known(&format!("\"a\", W/{own}")));
        assert!(!known("\"a\"") && !known(""));
    }
}
