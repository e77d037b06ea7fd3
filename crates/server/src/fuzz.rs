//! What fuzz targets call: the readers of requests, and whole connections, which are no part of the
//! interface.

use std::sync::Arc;

use hyper::Method;
use ringwood_env::SystemClock;
use ringwood_node::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::answers::Answers;
use crate::app::App;
use crate::config::Limits;
use crate::connection::{self, Stage};
use crate::encoding::{Encoding, base64_decode};
use crate::error::Code;
use crate::host::Hosts;
use crate::json::{self, BatchBody, PutBody};
use crate::namespaces::CreateBody;
use crate::request::{self, Query, percent_decode};
use crate::router::Handler;
use crate::{batch, route};

/// What a connection's two ends may have on their way to each other, in bytes.
const PIPE_LEN: usize = 64 << 10;

/// Reads arbitrary text as the path and the query of a request with each method.
///
/// # Panics
/// Where a decoded key is not read back from its encoding.
pub fn target(text: &str) {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE] {
        let Ok(route) = route::find(&method, path) else {
            continue;
        };
        let _ = route.namespace.map(request::decode_name);
        if let Ok(key) = request::key(route.key, &mut Query::new(query)) {
            let encoded: String = key.iter().map(|byte| format!("%{byte:02x}")).collect();
            assert_eq!(percent_decode(&encoded, true).as_ref(), Some(&key));
        }
    }
    let mut query = Query::new(query);
    let _ = query.take_number("limit", 1, 10);
    let _ = (query.take_flag("reverse"), query.take_bytes("start"));
    let _ = (query.take("cursor"), query.take("key64"));
    let _ = (request::ttl(&mut query), request::durability(&mut query));
    let _ = query.finish();
}

/// Reads arbitrary bytes as a body of every kind.
///
/// # Panics
/// Where the items of a batch are not read back as they would be given to be sent again.
pub fn body(bytes: &[u8]) {
    if let Ok(put) = json::parse::<PutBody>(bytes) {
        let _ = json::decode_value(put.value, put.encoding.unwrap_or(Encoding::Base64));
        let _ = request::json_ttl(put.ttl.as_ref());
    }
    if let Ok(body) = json::parse::<BatchBody>(bytes) {
        let again = serde_json::to_vec(&body).expect("our own shapes serialize");
        let again: BatchBody = json::parse(&again).expect("and are read");
        assert_eq!(body.items.len(), again.items.len());
        for (item, again) in body.items.iter().zip(&again.items) {
            let shown = |item| format!("{:?}", batch::decode(item));
            assert_eq!(shown(item), shown(again));
        }
    }
    let _ = json::parse::<CreateBody>(bytes);
    let _ = json::parse::<ringwood_node::PolicyChange>(bytes);
    let _ = std::str::from_utf8(bytes).map(base64_decode);
}

/// A server without a socket.
pub struct Connections {
    app: Arc<App>,
    runtime: Runtime,
    stage: watch::Sender<Stage>,
}

impl Connections {
    /// Serves `node`.
    ///
    /// # Panics
    /// When there are no threads to be had.
    #[must_use]
    pub fn new(node: Node) -> Self {
        let (stage, watched) = watch::channel(Stage::Serving);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(2)
            .build()
            .expect("threads and timers are to be had");
        let limits = Limits::default();
        let answers = Arc::new(Answers::new(limits.answer_bytes));
        Self {
            app: Arc::new(App::new(
                node,
                limits,
                Hosts::default(),
                answers,
                &SystemClock,
                watched,
            )),
            runtime,
            stage,
        }
    }

    /// Serves a connection on which a client sends `bytes` and no more, and reads all answers.
    ///
    /// # Panics
    /// When the server does, or when it tells of a mistake of its own or of damaged data.
    pub fn converse(&self, bytes: &[u8]) -> Vec<u8> {
        let answers = self.runtime.block_on(async {
            let (client, server) = tokio::io::duplex(PIPE_LEN);
            let (mut reader, mut writer) = tokio::io::split(client);
            let handler = Handler(Arc::clone(&self.app));
            let serving = connection::serve(
                server,
                handler,
                &self.app.limits,
                &self.app.answers,
                self.stage.subscribe(),
            );
            let sending = async {
                // A server that refuses to hear more closes first.
                let _ = writer.write_all(bytes).await;
                let _ = writer.shutdown().await;
            };
            let mut answers = Vec::new();
            let (_, (), _) = tokio::join!(serving, sending, reader.read_to_end(&mut answers));
            answers
        });
        for code in [
            Code::Internal,
            Code::CorruptData,
            Code::IoError,
            Code::StoreFailed,
        ] {
            let told = self.app.metrics.problems(code);
            assert_eq!(told, 0, "{}", code.as_str());
        }
        answers
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}
