//! Ctrl-C and SIGTERM, for commands that have something to put in order before they end.

use std::future::Future;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Completes when the process is told to end. Asked for at once: no signal kills us from then on.
///
/// # Errors
/// When the system does not let us listen.
pub(crate) fn told_to_stop() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
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
