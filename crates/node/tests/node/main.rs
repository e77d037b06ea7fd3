//! A node as its users meet it: requests through `Node::step` over a disk in memory.
#![allow(clippy::unwrap_used)] // helpers too stop at the first surprise

mod batches;
mod namespaces;
mod quotas;
mod replicas;
mod requests;
mod restarts;
mod scans;
mod world;
