//! Ctrl-C, SIGTERM and the terminal that closes, for commands that have something to put in order before they end.

use std::future::Future;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Completes when the process is told to end. Asked for at once: no signal kills us from then on. A terminal
/// that closes tells so too, unless whoever started us said that it does not, as `nohup` does.
///
/// # Errors
/// When the system does not let us listen.
pub(crate) fn told_to_stop() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = match ignores_hangups() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hung_up => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Whether SIGHUP is ignored, as the system says it; where it says nothing, it is not.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 != 0)
}

/// From now on Ctrl-C does not end this process; those it starts it does.
///
/// # Errors
/// When the system does not let us listen.
pub(crate) fn survive() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    // What listens once listens for ever; that nobody waits for it changes nothing.
    let _listening = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    Ok(())
}

/// The same for threads that wait.
pub(crate) struct Interrupts(Receiver<()>);

impl Interrupts {
    /// From now on a signal does not end the process, but a wait.
    ///
    /// # Errors
    /// When the system does not let us listen.
    pub(crate) fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (told, heard) = mpsc::sync_channel(1);
        let listening = {
            let _entered = runtime.enter();
            told_to_stop().context("cannot listen for signals")?
        };
        thread::spawn(move || {
            runtime.block_on(listening);
            // Nobody may be waiting any more.
            let _ = told.send(());
        });
        Ok(Self(heard))
    }

    /// Waits for at most so long; whether the process was told to end.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        match self.0.recv_timeout(time) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }
}
