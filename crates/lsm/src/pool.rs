//! The threads of an open store: one writes the log, the others run jobs.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::commit::LogWork;
use crate::error::Error;
use crate::jobs::Role;
use crate::store::Store;

/// Groups the log thread writes before it looks whether the store is closing.
const LOG_ROUNDS: u32 = 64;

/// A store's threads. They hold the store's inside, not the handle: dropping the last handle ends them.
pub(crate) struct Pool {
    store: Arc<Store>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts a log thread and `workers` workers; none at all for 0.
    pub(crate) fn start(store: &Arc<Store>, workers: usize) -> Self {
        let mut threads = Vec::new();
        if workers > 0 {
            threads.push(spawn("ringwood-log", store, write_log));
        }
        for worker in 0..workers {
            // With two or more, one is always free for flushes: writers wait for those.
            let role = if worker == 0 && workers > 1 {
                Role::Urgent
            } else {
                Role::Any
            };
            threads.push(spawn("ringwood-work", store, move |store| {
                run_jobs(store, role)
            }));
        }
        Self {
            store: Arc::clone(store),
            threads,
        }
    }

    /// Ends the threads; running jobs are cancelled or finished first.
    pub(crate) fn stop(self) {
        self.store.jobs.shut_down();
        self.store.commit.close();
        let own = std::thread::current().id();
        // Who drops the last handle in a call is on one of these threads: that one ends when it returns.
        let others = |thread: &JoinHandle<()>| thread.thread().id() != own;
        for thread in self.threads.into_iter().filter(others) {
            // A panic was printed where it happened; what it left behind is the next open's to recover.
            let _ = thread.join();
        }
    }
}

fn spawn(
    name: &str,
    store: &Arc<Store>,
    body: impl FnOnce(&Arc<Store>) + Send + 'static,
) -> JoinHandle<()> {
    let store = Arc::clone(store);
    let name_inside = name.to_owned();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _watch = Watch {
                store: Arc::clone(&store),
                thread: name_inside,
            };
            body(&store);
        })
        .expect("the system gives the store its few threads")
}

/// Ends all writing when a thread of the pool panics: writers would wait for it for ever.
struct Watch {
    store: Arc<Store>,
    thread: String,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.store.commit.fail(Error::Panicked {
                thread: self.thread.clone(),
            });
            // Nobody else may come by any more: this may have been the log thread.
            self.store.commit.make_calls();
        }
    }
}

fn write_log(store: &Arc<Store>) {
    let commit = &store.commit;
    loop {
        match commit.wait_for_work() {
            LogWork::Write(token) => commit.run(token, &**store, LOG_ROUNDS),
            LogWork::Calls => {}
            LogWork::Ended => return,
        }
        if commit.has_slow_calls() {
            // They may wait for writes: workers stand in for as long as it takes.
            commit.set_log_thread_away(true);
            store.jobs.wake();
            commit.make_calls();
            commit.set_log_thread_away(false);
        } else {
            commit.make_calls();
        }
    }
}

fn run_jobs(store: &Arc<Store>, role: Role) {
    while let Some(job) = store.wait_for_job(role) {
        // The failure is counted, logged and shown by the job itself; it is offered again later.
        let _ = store.run_job(job);
    }
}
