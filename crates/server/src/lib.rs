//! Ringwood's front doors: HTTP over one node.
//!
//! How to read it: [`Server`] (in `server`) listens and stops; `connection` serves one stream,
//! `activity` watches for clients that take too long, and `answers` counts what they hold; `router` takes
//! a request to its answer, by the one table of routes in `route`, once `host` knows it for ours. The handlers, below it, are `raw` (`/kv/…`), `kv`, `batch` and `namespaces`
//! (`/v1/…`), `admin` (a node's upkeep) and `service` (health, metrics, description); what they have in
//! common is in `call`, `head`, `request`, `body`, `json` and `object`, and `app` is what all connections share. `error` is the one table
//! of everything that can go wrong.
//! `peers` is apart from all that: what nodes ask each other, over connections of their own.
//!
//! No framework: keys are bytes and stand in the path, which routers take for text; and a value in
//! memory must be answered without a detour. What is left is a table (see
//! `docs/decisions/0006-http-without-a-framework.md`).

mod activity;
mod admin;
mod answer_body;
mod answers;
mod app;
mod batch;
mod body;
mod budget;
mod call;
mod config;
pub mod connection;
mod counted;
mod encoding;
mod engine_metrics;
mod error;
mod frames;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod head;
mod health;
mod host;
mod json;
mod kv;
mod metrics;
mod namespaces;
mod object;
mod openapi;
pub mod peers;
mod raw;
mod request;
mod request_id;
mod route;
mod router;
mod server;
mod service;

pub use admin::{Damage, TornTail, VerifyReply};
pub use answer_body::AnswerBody;
pub use answers::Answers;
pub use config::{Limits, ServerConfig};
pub use error::ProblemBody;
pub use object::{Object, object, objects};
pub use router::application;
pub use server::{BindError, Server};
