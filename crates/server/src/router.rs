//! From a request to its answer: one place that routes, bounds, counts and logs.
//!
//! It stands above the handlers, and is the only one that names them all. A raw `GET` whose value is
//! in memory is answered in [`Handler::call`](hyper::service::Service::call) itself: no future is
//! made, no timer is set, and it never leaves its thread. Everything else is a boxed future, so that
//! idle connections stay small.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Method, Request, Version as HttpVersion};
use ringwood_env::SystemClock;
use ringwood_node::{Node, Step};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer_body::AnswerBody;
use crate::answers::Answers;
use crate::app::{App, Deadline, FullResponse, no_room};
use crate::body::RequestBody;
use crate::call::Call;
use crate::config::Limits;
use crate::connection::{Application, Stage};
use crate::counted::Counted;
use crate::error::{Code, Outcome, Problem, Result};
use crate::head::Head;
use crate::host::Hosts;
use crate::request::Query;
use crate::request_id::{REQUEST_ID, RequestId};
use crate::route::{self, Action, NoRoute, Route};
use crate::{admin, batch, kv, namespaces, raw, service};

/// What an answer is, it says: a browser must not make a page of what was stored as text.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

impl App {
    async fn handle(
        &self,
        parts: &Parts,
        head: Head<'_>,
        route: Route<'_>,
        body: &mut RequestBody,
        deadline: Deadline,
    ) -> Result<FullResponse> {
        let _at_work = match route.action.serves_data() {
            false => None,
            true if self.answers.are_full() => return Err(no_room()),
            true => Some(self.enter()?),
        };
        let call = Call {
            app: self,
            head,
            route,
            query: Query::new(parts.uri.query()),
            body,
            deadline,
        };
        match route.action {
            Action::RawGet => raw::get(call).await,
            Action::RawPut => raw::put(call).await,
            Action::RawDelete => raw::delete(call).await,
            Action::JsonGet => kv::get(call).await,
            Action::JsonPut => kv::put(call).await,
            Action::JsonDelete => kv::delete(call).await,
            Action::Scan => kv::scan(call).await,
            Action::Batch => batch::run(call).await,
            Action::NamespaceList => namespaces::list(call),
            Action::NamespaceCreate => namespaces::create(call).await,
            Action::NamespaceGet => namespaces::get(call),
            Action::NamespaceSet => namespaces::set(call).await,
            Action::NamespaceDrop => namespaces::drop(call).await,
            Action::NodeGet => admin::get(call),
            Action::NodeCheckpoint => admin::checkpoint(call).await,
            Action::NodeVerify => admin::verify(call).await,
            Action::Live => service::live(call),
            Action::Ready => service::ready(call),
            Action::Metrics => service::metrics(call),
            Action::OpenApi => service::openapi(call),
            Action::Welcome => service::welcome(call),
        }
    }

    /// Counts a request as at work until the guard goes.
    fn enter(&self) -> Result<Counted<'_>> {
        let limit = self.limits.requests;
        Counted::below(&self.metrics.requests_at_work, limit).ok_or_else(|| {
            Problem::new(
                Code::Overloaded,
                format!("{limit} requests are at work already"),
            )
        })
    }

    /// Where a request goes that may come in.
    fn admit<'a>(&self, parts: &'a Parts, head: &Head<'a>) -> Result<Route<'a>> {
        let host = self.hosts.check(parts.version, &parts.uri, head)?;
        check_origin(head, host)?;
        check_coding(head)?;
        find_route(parts)
    }

    async fn answer(&self, request: Request<Incoming>, begun: Begun) -> FullResponse {
        let (parts, incoming) = request.into_parts();
        let head = Head::of(&parts.headers);
        let mut body = RequestBody::new(incoming, &head);
        let deadline = self.deadline_of(&begun);
        let result = match self.admit(&parts, &head) {
            Ok(route) => self.handle(&parts, head, route, &mut body, deadline).await,
            Err(problem) => Err(problem),
        };
        if result.is_err() {
            body.discard();
        }
        let result = self.share(result).await;
        self.conclude(&parts.method, parts.uri.path(), begun, result)
    }

    /// As [`App::answer`], for a raw read that waits for the disk.
    async fn answer_read(&self, parts: Parts, begun: Begun, step: Step) -> FullResponse {
        let result = match self.enter() {
            Ok(_at_work) => {
                let head = Head::of(&parts.headers);
                raw::finish(self, &head, step, self.deadline_of(&begun)).await
            }
            Err(problem) => Err(problem),
        };
        let result = self.share(result).await;
        self.conclude(&parts.method, parts.uri.path(), begun, result)
    }

    /// Turns a result into the response, counts it and logs it.
    fn conclude(
        &self,
        method: &Method,
        path: &str,
        begun: Begun,
        result: Result<FullResponse>,
    ) -> FullResponse {
        let code = result.as_ref().err().map(|problem| problem.code);
        let mut response = result.unwrap_or_else(|problem| {
            self.metrics.problem(problem.code);
            let outcome = match begun.action.is_some_and(Action::writes) {
                true => Some(problem.outcome.unwrap_or(Outcome::NotApplied)),
                false => None,
            };
            problem
                .with_outcome(outcome)
                .into_response(begun.id.as_str())
        });
        let took = begun.at.elapsed();
        let status = response.status().as_u16();
        if let Some(action) = begun.action {
            self.metrics.request(action, status, took);
        }
        let code = code.map(Code::as_str);
        if status >= 500 {
            let id = begun.id.as_str();
            tracing::warn!(%method, path, status, code, ?took, id, "request failed");
        } else {
            let id = || begun.id.as_str();
            tracing::debug!(%method, path, status, code, ?took, id = id(), "request");
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, begun.id.into_header());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if *method == Method::HEAD {
            drop_body(&mut response);
        }
        response
    }

    fn begin(&self, head: &Head<'_>, version: HttpVersion, action: Option<Action>) -> Begun {
        Begun {
            at: Instant::now(),
            id: self.request_ids.of(head),
            action,
            version,
        }
    }

    /// Requests of HTTP/2 are tasks of their own, which their connection's timer does not wake.
    fn deadline_of(&self, begun: &Begun) -> Deadline {
        let watched = begun.version != HttpVersion::HTTP_2;
        Deadline::new(begun.at, &self.limits, watched)
    }
}

/// What is known of a request before it is handled.
struct Begun {
    at: Instant,
    id: RequestId,
    action: Option<Action>,
    version: HttpVersion,
}

/// A request's place in the table.
fn find_route(parts: &Parts) -> Result<Route<'_>> {
    route::find(&parts.method, parts.uri.path()).map_err(|no_route| match no_route {
        NoRoute::Path => Problem::new(
            Code::RouteNotFound,
            "no such route; GET / names the first ones, /openapi.json all of them",
        ),
        NoRoute::Method(allowed) => {
            let allow = HeaderValue::from_str(&allowed).expect("methods are tokens");
            Problem::new(
                Code::MethodNotAllowed,
                format!("this route takes {allowed}"),
            )
            .header(header::ALLOW, allow)
        }
    })
}

/// A browser names the page that sends a request: without authentication, any page that its user
/// looks at could write to a server on the same machine.
fn check_origin(head: &Head<'_>, host: &[u8]) -> Result<()> {
    let Some(origin) = head.origin else {
        return Ok(());
    };
    match origin.as_bytes().strip_prefix(b"http://") {
        Some(from) if from == host => Ok(()),
        _ => Err(Problem::new(
            Code::OriginForbidden,
            "the request comes from a web page of another origin",
        )),
    }
}

/// The protocol takes chunks apart, and no other coding: what is left would be taken for the body. Being
/// told, a client can send it plainly (RFC 9112, 6.1).
fn check_coding(head: &Head<'_>) -> Result<()> {
    match head.transfer_encoding {
        None => Ok(()),
        Some(coding)
            if coding.as_bytes().eq_ignore_ascii_case(b"chunked") && !head.coding_repeated =>
        {
            Ok(())
        }
        Some(_) => Err(Problem::new(
            Code::TransferUnsupported,
            "send the body with Content-Length, or with Transfer-Encoding: chunked and nothing else",
        )),
    }
}

/// Leaves of a response what `HEAD` asks for.
fn drop_body(response: &mut FullResponse) {
    let len = response.body().size_hint().exact().unwrap_or(0);
    let headers = response.headers_mut();
    if !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    }
    *response.body_mut() = AnswerBody::default();
}

/// What answers the requests of connections that somebody else accepts: pass it to
/// [`connection::serve`](crate::connection::serve).
#[must_use]
pub fn application(
    node: Node,
    limits: Limits,
    answers: Arc<Answers>,
    stage: watch::Receiver<Stage>,
) -> impl Application {
    let hosts = Hosts::default();
    Handler(Arc::new(App::new(
        node,
        limits,
        hosts,
        answers,
        &SystemClock,
        stage,
    )))
}

/// The application, as connections hold it.
#[derive(Clone)]
pub(crate) struct Handler(pub(crate) Arc<App>);

impl Service<Request<Incoming>> for Handler {
    type Response = FullResponse;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let app = &self.0;
        let head = Head::of(request.headers());
        let found = route::find(request.method(), request.uri().path());
        let action = found.as_ref().ok().map(|route| route.action);
        let begun = app.begin(&head, request.version(), action);
        let read = match found {
            Ok(route) if route.action == Action::RawGet => raw::begin(app, &head, &request, route),
            _ => raw::Begun::Uncommon,
        };
        match read {
            raw::Begun::Answered(result) => {
                // The map of the request serves the answer, and the connection's next request.
                let mut headers = std::mem::take(request.headers_mut());
                headers.clear();
                let mut result = result.map(|found| found.into_response(headers));
                if !app.fits(&mut result) {
                    let app = Arc::clone(app);
                    let (parts, _) = request.into_parts();
                    return Answer::Later(Box::pin(async move {
                        let result = app.share(result).await;
                        app.conclude(&parts.method, parts.uri.path(), begun, result)
                    }));
                }
                let (method, path) = (request.method(), request.uri().path());
                Answer::Now(Some(app.conclude(method, path, begun, result)))
            }
            raw::Begun::Waiting(step) => {
                let app = Arc::clone(app);
                let (parts, _) = request.into_parts();
                Answer::Later(Box::pin(async move {
                    app.answer_read(parts, begun, step).await
                }))
            }
            raw::Begun::Uncommon => {
                let app = Arc::clone(app);
                Answer::Later(Box::pin(async move { app.answer(request, begun).await }))
            }
        }
    }
}

/// A response that is there, or on its way.
pub(crate) enum Answer {
    Now(Option<FullResponse>),
    Later(Pin<Box<dyn Future<Output = FullResponse> + Send>>),
}

impl Future for Answer {
    type Output = Result<FullResponse, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(response) => {
                Poll::Ready(Ok(response.take().expect("polled after it was ready")))
            }
            Self::Later(answer) => answer.as_mut().poll(context).map(Ok),
        }
    }
}
