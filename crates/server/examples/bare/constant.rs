//! An application that answers every request at once with the same 1 KiB, and a `PUT` with 204, once
//! its body is read.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use ringwood_server::AnswerBody;

static ANSWER: [u8; 1024] = [b'x'; 1024];

#[derive(Clone)]
pub(crate) struct Constant;

impl Service<Request<Incoming>> for Constant {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        if *request.method() != Method::PUT {
            let answer = Response::new(AnswerBody::from(Bytes::from_static(&ANSWER)));
            return Answer::Now(Some(answer));
        }
        Answer::Later(Box::pin(async move {
            // A body that breaks off ends its connection; there is nothing to say.
            let _ = request.into_body().collect().await;
            let mut answer = Response::new(AnswerBody::default());
            *answer.status_mut() = StatusCode::NO_CONTENT;
            answer
        }))
    }
}

pub(crate) enum Answer {
    Now(Option<Response<AnswerBody>>),
    Later(Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>),
}

impl Future for Answer {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(answer) => Poll::Ready(Ok(answer.take().expect("polled once"))),
            Self::Later(answer) => answer.as_mut().poll(context).map(Ok),
        }
    }
}
