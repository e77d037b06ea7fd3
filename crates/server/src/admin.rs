//! `/v1/cluster/nodes/self`: this node's upkeep, while it serves.
//!
//! `self` is the node that answers. What takes long has no deadline but a place: one at a time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::StatusCode;
use ringwood_env::UnixMillis;
use ringwood_lsm as lsm;
use ringwood_node::NodeError;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::app::FullResponse;
use crate::call::Call;
use crate::error::{Code, Problem, Result};
use crate::health::State;
use crate::json;

/// Longer than reading any disk once takes; clients give up when they like, and the work ends by itself.
const UPKEEP_TIME: Duration = Duration::from_secs(24 * 3600);

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeReply {
    /// Its id.
    node: String,
    /// The version it runs.
    version: &'static str,
    /// Where it keeps its data, on its own machine.
    #[schema(value_type = String)]
    data_dir: PathBuf,
    /// How it is.
    state: State,
    /// Since when, give or take a second, in milliseconds since the Unix epoch.
    state_since: UnixMillis,
    /// Why, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// When it began to serve, in milliseconds since the Unix epoch.
    started_at: UnixMillis,
    /// What requests are held to.
    limits: LimitsReply,
    /// How far the checkpoint is that is being made, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointState>,
}

/// What requests of this node are held to. Lengths are in bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitsReply {
    /// Most items of a page.
    page_items: usize,
    /// Most items of a batch.
    batch_items: usize,
    /// Longest body of a batch.
    batch_len: usize,
    /// Longest value.
    value_len: usize,
}

/// How far a checkpoint is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointState {
    /// Tables that the copy consists of.
    tables: u64,
    /// Those that are there.
    tables_done: u64,
    /// Bytes of all tables.
    bytes: u64,
    /// Bytes of what is there.
    bytes_done: u64,
}

impl From<lsm::CheckpointProgress> for CheckpointState {
    fn from(progress: lsm::CheckpointProgress) -> Self {
        Self {
            tables: progress.tables,
            tables_done: progress.tables_done,
            bytes: progress.bytes,
            bytes_done: progress.bytes_done,
        }
    }
}

/// Where a checkpoint goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointBody {
    /// An absolute path on the node's machine: not there yet, or an empty directory. On the file system of
    /// the data it is made of links; elsewhere everything is copied.
    #[schema(value_type = String)]
    to: PathBuf,
}

/// A checkpoint that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointReply {
    /// `copied`.
    status: &'static str,
    /// Where it is.
    #[schema(value_type = String)]
    to: PathBuf,
}

/// What reading and checking everything on the disk found.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerifyReply {
    /// `clean` or `damaged`.
    pub status: &'static str,
    /// Files read.
    pub files: u64,
    /// Bytes of them that count.
    pub bytes: u64,
    /// Entries of tables.
    pub table_entries: u64,
    /// Changes that stand in the log.
    pub log_entries: u64,
    /// Where a crash tore the log off, if one did: behind it nothing was acknowledged.
    pub torn_tail: Option<TornTail>,
    /// Damage of what stands twice: nothing is lost.
    pub healed: Vec<Damage>,
    /// Damage.
    pub problems: Vec<Damage>,
}

/// A place where bytes are not what was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct Damage {
    /// The file.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// In what way.
    pub what: String,
}

/// Where a crash tore the log off.
#[derive(Debug, Serialize, ToSchema)]
pub struct TornTail {
    /// The segment.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// Where the last whole record ends.
    pub offset: u64,
    /// Bytes behind it that were left out.
    pub skipped_bytes: u64,
}

impl From<&lsm::VerifyReport> for VerifyReply {
    fn from(report: &lsm::VerifyReport) -> Self {
        Self {
            status: if report.is_clean() {
                "clean"
            } else {
                "damaged"
            },
            files: report.files,
            bytes: report.bytes,
            table_entries: report.table_entries,
            log_entries: report.log_entries,
            torn_tail: report.torn_tail.as_ref().map(|torn| TornTail {
                file: torn.file.clone(),
                offset: torn.offset,
                skipped_bytes: torn.skipped_bytes,
            }),
            healed: report.healed.iter().map(Damage::from).collect(),
            problems: report.problems.iter().map(Damage::from).collect(),
        }
    }
}

impl From<&lsm::Corruption> for Damage {
    fn from(damage: &lsm::Corruption) -> Self {
        Self {
            file: damage.file.clone(),
            offset: damage.offset,
            what: damage.kind.to_string(),
        }
    }
}

pub(crate) fn get(call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    let node = &call.app.node;
    let (state, state_since) = call.app.state();
    let reply = NodeReply {
        node: node.identity().node.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        data_dir: absolute(node.data_dir()),
        state,
        state_since,
        failure: node.engine().failure().map(|failure| failure.to_string()),
        started_at: call.app.health.started_at(),
        limits: LimitsReply {
            page_items: node.page_entries_max(),
            batch_items: node.batch_items_max(),
            batch_len: call.app.limits.batch_len,
            value_len: call.app.limits.value_len,
        },
        checkpoint: node
            .engine()
            .checkpoint_progress()
            .map(CheckpointState::from),
    };
    Ok(json::respond(StatusCode::OK, &reply))
}

pub(crate) async fn checkpoint(mut call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    let received = call.read_json().await?;
    let CheckpointBody { to } = json::parse(&received.bytes)?;
    if !to.is_absolute() {
        return Err(Problem::new(
            Code::PathInvalid,
            "to must be an absolute path on the server's machine",
        ));
    }
    let node = call.app.node.clone();
    let target = to.clone();
    upkeep(&call, move || Ok(node.engine().checkpoint(&target)?)).await?;
    let reply = CheckpointReply {
        status: "copied",
        to,
    };
    Ok(json::respond(StatusCode::OK, &reply))
}

pub(crate) async fn verify(call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    let node = call.app.node.clone();
    let report = upkeep(&call, move || Ok(node.engine().verify()?)).await?;
    Ok(json::respond(StatusCode::OK, &VerifyReply::from(&report)))
}

/// Does what takes long, unless something of the kind is at work already.
async fn upkeep<T: Send + 'static>(
    call: &Call<'_>,
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T> {
    let place = call.app.upkeep_place().ok_or_else(|| {
        Problem::new(
            Code::Overloaded,
            "a checkpoint is being made or the store verified already; one at a time",
        )
    })?;
    let until = Instant::now() + UPKEEP_TIME;
    let work = move || {
        let _place = place;
        work()
    };
    call.app.on_disk_thread(until, work).await
}

/// The path as another process of the machine may use it.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
