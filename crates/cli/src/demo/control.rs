//! How a command reaches the demonstration that runs in another terminal: a socket of this user, and a line of JSON
//! each way.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::Order;
use crate::outcome::UsageError;

/// Longest line of either side.
const LINE_LEN_MAX: u64 = 64 << 10;
/// How long a command may take to say what it wants.
const ASK_TIME: Duration = Duration::from_secs(2);
/// How long what it wants may take: a node that leaves hands over its data.
const DONE_TIME: Duration = Duration::from_secs(600);

/// What came of an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// This was done.
    Done(String),
    /// It does not fit, and nothing was done.
    Refused {
        /// Why.
        what: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// It was tried.
    Failed(String),
}

impl Reply {
    pub(super) fn of(done: Result<String>) -> Self {
        let error = match done {
            Ok(done) => return Self::Done(done),
            Err(error) => error,
        };
        match error.downcast_ref::<UsageError>() {
            Some(refused) => Self::Refused {
                what: refused.to_string(),
                help: refused.help().map(str::to_owned),
            },
            None => Self::Failed(format!("{error:#}")),
        }
    }
}

/// The demonstration's end.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Whoever wants something.
pub(super) struct Asker(UnixStream);

impl Control {
    /// Listens for what is to be done to the demonstration on these ports.
    ///
    /// # Errors
    /// [`UsageError`] where one runs already.
    pub(super) fn bind(base_port: u16) -> Result<Self> {
        let path = path(base_port)?;
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            let what = format!("a demonstration runs on port {base_port} and above already");
            return Err(UsageError::new(what)
                .with_help("end it, or choose other ports with --base-port")
                .into());
        }
        // Left by one that was killed.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self { listener, path })
    }

    /// Somebody who wants something. May be dropped and called again.
    ///
    /// # Errors
    /// When the system does not let us listen.
    pub(super) async fn next(&self) -> io::Result<Asker> {
        Ok(Asker(self.listener.accept().await?.0))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Asker {
    /// What it wants; `None` where it says nothing that is understood.
    pub(super) async fn order(&mut self) -> Option<Order> {
        let line = timeout(ASK_TIME, line(&mut self.0)).await.ok()?.ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Says what came of it. Who asked and went away is no matter.
    pub(super) async fn answer(mut self, reply: &Reply) {
        let _ = say(&mut self.0, reply).await;
    }
}

/// Tells the demonstration on these ports what to do.
///
/// # Errors
/// [`UsageError`] where none runs.
pub(super) async fn ask(base_port: u16, order: &Order) -> Result<Reply> {
    let Ok(mut stream) = UnixStream::connect(path(base_port)?).await else {
        let what = format!("no demonstration of yours runs on port {base_port} and above");
        return Err(UsageError::new(what)
            .with_help("start one with `ringwood demo`, or name its port with --base-port")
            .into());
    };
    say(&mut stream, order).await?;
    let line = timeout(DONE_TIME, line(&mut stream))
        .await
        .context("the demonstration does not answer")?
        .context("the demonstration has ended")?;
    serde_json::from_str(&line).context("the demonstration has ended")
}

async fn say(stream: &mut UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

async fn line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = String::new();
    let mut bounded = BufReader::new(stream.take(LINE_LEN_MAX));
    bounded.read_line(&mut line).await?;
    Ok(line)
}

/// The socket, in a directory that nobody else may write to.
fn path(base_port: u16) -> Result<PathBuf> {
    let user = rustix::process::getuid();
    let directory = std::env::temp_dir().join(format!("ringwood-demo-{}", user.as_raw()));
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot make {}", directory.display()));
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(&directory)?;
    if !found.is_dir() || found.uid() != user.as_raw() {
        let what = format!("{} is not yours", directory.display());
        return Err(UsageError::new(what)
            .with_help("name another directory for temporary files with TMPDIR")
            .into());
    }
    std::fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
    Ok(directory.join(format!("{base_port}.socket")))
}
