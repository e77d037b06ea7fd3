//! `/kv/…`: bytes in, bytes out; what is known about them travels in headers.

use std::ops::Range;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use ringwood_env::UnixMillis;
use ringwood_node::{Entry, KeyReply, Put, Reply, Request as NodeRequest, Step};
use ringwood_types::Version;

use crate::app::{App, FullResponse};
use crate::call::{Call, key_reply, misfit};
use crate::error::{Code, Problem, Result};
use crate::request::{self, CONTEXT, Query};
use crate::route::Route;

const EXPIRES_AT: HeaderName = HeaderName::from_static("ringwood-expires-at");
const REPLICAS: HeaderName = HeaderName::from_static("ringwood-replicas");
/// One node is one replica, and it has answered.
const ALL_REPLICAS: HeaderValue = HeaderValue::from_static("1/1");
const UNTYPED: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How a raw read begins.
pub(crate) enum Begun {
    /// It took no waiting: here is the answer.
    Answered(Result<FullResponse>),
    /// It waits for the disk: [`finish`] it.
    Waiting(Step),
    /// It is not of the common kind: ask [`get`].
    Uncommon,
}

/// Begins a `GET` or `HEAD` on the connection's own thread.
pub(crate) fn begin(app: &App, request: &Request<Incoming>, route: Route<'_>) -> Begun {
    let headers = request.headers();
    // Pages of other origins, bodies and the like are answered by the careful path.
    if headers.contains_key(header::ORIGIN) || !request.body().is_end_stream() {
        return Begun::Uncommon;
    }
    match read(app, headers, route, Query::new(request.uri().query())) {
        Ok(Step::Reply(Ok(reply))) => Begun::Answered(found(reply, headers)),
        Ok(Step::Reply(Err(error))) => Begun::Answered(Err(error.into())),
        Ok(step) => Begun::Waiting(step),
        Err(problem) => Begun::Answered(Err(problem)),
    }
}

/// Waits for a read that [`begin`] began.
pub(crate) async fn finish(app: &App, headers: &HeaderMap, step: Step) -> Result<FullResponse> {
    found(app.finish(step).await?, headers)
}

pub(crate) async fn get(call: Call<'_>) -> Result<FullResponse> {
    let step = read(call.app, call.headers, call.route, call.query)?;
    finish(call.app, call.headers, step).await
}

fn read(app: &App, headers: &HeaderMap, route: Route<'_>, mut query: Query<'_>) -> Result<Step> {
    let key = request::key(route.key, &mut query)?;
    request::check_consistency(headers, &mut query)?;
    query.finish()?;
    let request = NodeRequest::Get {
        namespace: app.namespace(&route)?,
        key: Bytes::copy_from_slice(&key),
    };
    Ok(app.node.step(app.node.now(), request))
}

pub(crate) async fn put(mut call: Call<'_>) -> Result<FullResponse> {
    let target = call.target()?;
    let ttl = request::ttl(&mut call.query)?;
    call.query.finish()?;
    let content_type = request::content_type(call.headers)?;
    let received = call.read_value(0).await?;
    let put = Put {
        key: target.key.clone(),
        value: received.bytes.clone(),
        content_type,
        ttl,
        context: target.context.clone(),
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
    describe(response.headers_mut(), version, &context, deadline);
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
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn found(reply: Reply, asked: &HeaderMap) -> Result<FullResponse> {
    let entry = match key_reply(reply)? {
        KeyReply::Entry(entry) => entry,
        KeyReply::Missing => return Err(Problem::new(Code::KeyNotFound, "the key has no value")),
        _ => return Err(misfit()),
    };
    let (version, context) = (entry.version(), entry.context());
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.reserve(8);
    describe(headers, version, &context, entry.deadline());
    if is_known(asked, &headers[header::ETAG]) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    headers.insert(header::CONTENT_TYPE, content_type_of(&entry));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let len = entry.value().len();
    let mut value = Bytes::from_owner(entry.into_value());
    if let Some(part) = wanted_part(asked, &headers[header::ETAG], len)? {
        let content_range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
        let content_range = HeaderValue::from_str(&content_range).expect("digits fit a header");
        headers.insert(header::CONTENT_RANGE, content_range);
        value = value.slice(part);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    *response.body_mut() = Full::new(value);
    Ok(response)
}

/// Says in headers which version a value is.
fn describe(
    headers: &mut HeaderMap,
    version: Version,
    context: &str,
    deadline: Option<UnixMillis>,
) {
    let text = |text: &str| HeaderValue::from_str(text).expect("versions are plain ASCII");
    headers.insert(header::ETAG, text(&format!("\"{version}\"")));
    headers.insert(CONTEXT, text(context));
    headers.insert(REPLICAS, ALL_REPLICAS);
    if let Some(deadline) = deadline {
        headers.insert(EXPIRES_AT, HeaderValue::from(deadline));
    }
}

fn content_type_of(entry: &Entry) -> HeaderValue {
    let given = entry.content_type().map(HeaderValue::from_str);
    given.and_then(std::result::Result::ok).unwrap_or(UNTYPED)
}

/// Whether the client has this version already.
fn is_known(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let Some(known) = asked.get(header::IF_NONE_MATCH) else {
        return false;
    };
    let tag = etag.as_bytes();
    known.as_bytes().split(|&byte| byte == b',').any(|one| {
        let one = one.trim_ascii();
        one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag
    })
}

/// The one range of bytes that a client asks for. Several ranges, other units and nonsense are
/// ignored, as RFC 9110 allows.
fn wanted_part(asked: &HeaderMap, etag: &HeaderValue, len: usize) -> Result<Option<Range<usize>>> {
    let Some(range) = asked.get(header::RANGE) else {
        return Ok(None);
    };
    if asked
        .get(header::IF_RANGE)
        .is_some_and(|known| known != etag)
    {
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
    let part = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Ok(first), Err(_)) if last.is_empty() => first..len,
        (Err(_), Ok(suffix)) if first.is_empty() => len.saturating_sub(suffix)..len,
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

    fn asking(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn one_range_is_served_nonsense_ignored_and_the_unsatisfiable_refused() {
        let etag = HeaderValue::from_static("\"e\"");
        let part = |range| wanted_part(&asking(header::RANGE, range), &etag, 10);
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
        ] {
            assert_eq!(part(ignored).unwrap(), None, "{ignored}");
        }
        for refused in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(part(refused).unwrap_err().code, Code::RangeNotSatisfiable);
        }
        let mut changed = asking(header::RANGE, "bytes=0-3");
        changed.insert(header::IF_RANGE, HeaderValue::from_static("\"other\""));
        assert_eq!(wanted_part(&changed, &etag, 10).unwrap(), None);
    }

    #[test]
    fn known_versions_are_recognised_in_lists() {
        let etag = HeaderValue::from_static("\"e\"");
        for known in ["\"e\"", "*", "\"a\", W/\"e\""] {
            assert!(is_known(&asking(header::IF_NONE_MATCH, known), &etag));
        }
        assert!(!is_known(&asking(header::IF_NONE_MATCH, "\"a\""), &etag));
        assert!(!is_known(&HeaderMap::new(), &etag));
    }
}
