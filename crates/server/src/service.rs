//! What the server tells about itself: health, metrics, its API, and a first page.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{self, HeaderValue};

use crate::answer_body::AnswerBody;
use crate::app::FullResponse;
use crate::call::Call;
use crate::error::{Code, Problem, Result};
use crate::health::State;
use crate::metrics::Page;
use crate::{engine_metrics, openapi};

const WELCOME: &str = "\
Ringwood: a key-value store.

  curl -T photo.jpg        localhost:7400/kv/photos/1      store bytes
  curl -O                  localhost:7400/kv/photos/1      get them back
  curl -X DELETE           localhost:7400/kv/photos/1      remove them
  curl 'localhost:7400/v1/kv?prefix=photos/&keys_only=true'   list keys, in order

JSON lives below /v1/, its description in /openapi.json; health in /livez and /readyz, metrics in
/metrics. The whole API is in docs/api.md.
";

/// The process runs and answers.
pub(crate) fn live(call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    Ok(text("text/plain; charset=utf-8", "ok\n"))
}

/// Requests can be sent here.
pub(crate) fn ready(call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    let told = match call.app.state().0 {
        State::Ready => "ready\n",
        // Reads and deletes are what makes room: whoever takes a full node out of service stops both.
        State::DiskFull => {
            "ready, but the disk is full: reads and deletes only, until there is room\n"
        }
        State::Failed => {
            let failure = call.app.node.engine().failure();
            let why = failure.map(|failure| failure.to_string());
            return Err(Problem::new(Code::StoreFailed, why.unwrap_or_default()));
        }
        State::Stopping => {
            return Err(Problem::new(Code::Unavailable, "the server is stopping"));
        }
    };
    Ok(text("text/plain; charset=utf-8", told))
}

pub(crate) fn metrics(call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    let mut page = Page::default();
    call.app.metrics.render(&mut page);
    page.single(
        "ringwood_http_answer_bytes",
        "gauge",
        "Bytes of answers that clients have not taken yet.",
        call.app.answers.held(),
    );
    page.single(
        "ringwood_http_body_bytes",
        "gauge",
        "Bytes of long request bodies in memory.",
        call.app.bodies.held(),
    );
    page.single(
        "ringwood_start_time_seconds",
        "gauge",
        "When the server began to serve, in seconds since the Unix epoch.",
        call.app.health.started_at() / 1000,
    );
    engine_metrics::render(&call.app.node, &mut page);
    Ok(text(
        "text/plain; version=0.0.4; charset=utf-8",
        page.into_text(),
    ))
}

pub(crate) fn openapi(call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    Ok(text("application/json", openapi::document()))
}

pub(crate) fn welcome(call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    Ok(text("text/plain; charset=utf-8", WELCOME))
}

fn text(kind: &'static str, body: impl Into<Bytes>) -> FullResponse {
    let mut response = Response::new(AnswerBody::from(body.into()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
