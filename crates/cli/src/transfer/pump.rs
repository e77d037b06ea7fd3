//! Spreads jobs over threads, and brings the results back to one.

use std::sync::Mutex;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use anyhow::Result;

/// Jobs, or results, that may wait between two stages.
const QUEUE: usize = 256;

/// Runs `source` on a thread, `work` on `threads`, and `sink` here, for each result as it comes.
/// The sink gets `None` when nothing waits: a moment to flush.
///
/// # Errors
/// The first of the sink or the source, after all threads have stopped; `stop` is called then.
pub(crate) fn pump<Job: Send, Done: Send>(
    threads: usize,
    source: impl FnOnce(&SyncSender<Job>) -> Result<()> + Send,
    work: impl Fn(Job) -> Done + Sync,
    mut sink: impl FnMut(Option<Done>) -> Result<()>,
    stop: impl Fn(),
) -> Result<()> {
    let (job_in, job_out) = mpsc::sync_channel(QUEUE);
    let (done_in, done_out) = mpsc::sync_channel(QUEUE);
    let job_out = Mutex::new(job_out);
    thread::scope(|scope| {
        let source = scope.spawn(move || source(&job_in));
        let (job_out, work) = (&job_out, &work);
        for _ in 0..threads.max(1) {
            let done_in = done_in.clone();
            scope.spawn(move || {
                loop {
                    let job = job_out.lock().expect("no holder panics").recv();
                    // Either end is gone: all is done, or the sink has failed.
                    let Ok(job) = job else { break };
                    if done_in.send(work(job)).is_err() {
                        // Lets the source see it, which may be waiting for room.
                        while job_out.lock().expect("no holder panics").recv().is_ok() {}
                        break;
                    }
                }
            });
        }
        drop(done_in);
        let drained = (|| {
            loop {
                let done = match done_out.try_recv() {
                    Ok(done) => done,
                    Err(_) => {
                        sink(None)?;
                        match done_out.recv() {
                            Ok(done) => done,
                            Err(_) => return Ok(()),
                        }
                    }
                };
                sink(Some(done))?;
            }
        })();
        if drained.is_err() {
            stop();
        }
        drop(done_out);
        let read = source
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        drained.and(read)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u64) -> impl FnOnce(&SyncSender<u64>) -> Result<()> + Send {
        move |out| {
            for number in 0..count {
                if out.send(number).is_err() {
                    break;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn every_job_is_done_once() {
        let mut sum = 0;
        let sink = |done: Option<u64>| {
            sum += done.unwrap_or_default();
            Ok(())
        };
        pump(4, numbers(10_000), |number| number + 1, sink, || ()).unwrap();
        assert_eq!(sum, 50_005_000);
    }

    #[test]
    fn a_failing_sink_or_source_ends_it_all() {
        let sink = |done: Option<u64>| {
            if done == Some(500) {
                anyhow::bail!("full")
            } else {
                Ok(())
            }
        };
        let stopped = std::cell::Cell::new(false);
        assert!(
            pump(
                3,
                numbers(100_000),
                |number| number,
                sink,
                || stopped.set(true)
            )
            .is_err()
        );
        assert!(stopped.get());
        let source = |_: &SyncSender<u64>| anyhow::bail!("unreadable");
        assert!(pump(3, source, |number| number, |_| Ok(()), || ()).is_err());
    }
}
