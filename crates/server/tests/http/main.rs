//! A server over loopback, spoken to as clients do: well, badly, slowly and many at once.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod admin;
mod answers;
mod bad_input;
mod client;
mod connections;
mod data;
mod disk;
mod pages;
mod quotas;
mod service;

use std::net::SocketAddr;

use ringwood_node::{Node, NodeConfig};
use ringwood_server::{Server, ServerConfig};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How test nodes are brought up.
pub(crate) fn settings(directory: &TempDir) -> NodeConfig {
    let mut settings = NodeConfig::new(directory.path());
    settings.engine.memory_budget = 16 << 20;
    settings.engine.log_segment_len = 4 << 20;
    settings
}

/// A server in a directory of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) node: Node,
    stop: oneshot::Sender<()>,
    served: JoinHandle<usize>,
    pub(crate) directory: TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with(ServerConfig::default()).await
    }

    pub(crate) async fn with(config: ServerConfig) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), config).await
    }

    pub(crate) async fn in_directory(directory: TempDir, config: ServerConfig) -> Self {
        let node = Node::open(settings(&directory)).unwrap();
        Self::over(node, directory, config)
    }

    pub(crate) fn over(node: Node, directory: TempDir, mut config: ServerConfig) -> Self {
        config.listen.set_port(0);
        let server = Server::bind(config, node.clone()).unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            node,
            stop,
            served,
            directory,
        }
    }

    /// Stops the server; gives back how many connections were cut off.
    pub(crate) async fn stop(self) -> (usize, TempDir) {
        self.stop.send(()).unwrap();
        let cut = self.served.await.unwrap();
        self.node.close().unwrap();
        (cut, self.directory)
    }

    /// Tells the server to stop, and gives back what to wait for.
    pub(crate) fn begin_stop(self) -> JoinHandle<usize> {
        self.stop.send(()).unwrap();
        self.served
    }
}
