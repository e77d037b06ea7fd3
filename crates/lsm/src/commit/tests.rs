use super::*;
use crate::batch::KeyspaceId;
use crate::budget::Elastic;

/// A store that only notes what happens to it, and where it is told to, panics.
#[derive(Default)]
struct Target {
    /// Never held where the model checker may switch.
    steps: std::sync::Mutex<Vec<Step>>,
    panic_at: Option<fn(Step) -> bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The first sequence number and how many.
    Append(u64, u32),
    Apply(u64, u32),
    Publish,
}

impl Target {
    fn note(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
        if self.panic_at.is_some_and(|panics| panics(step)) {
            panic!("as planned");
        }
    }

    /// Checks that groups went one after another through all stations (commit-1), and says how many
    /// changes there were.
    fn check_order(&self) -> u64 {
        let steps = self.steps.lock().unwrap();
        let mut next = 1;
        for group in steps.chunks(3) {
            let &[Step::Append(first, count), applied, Step::Publish] = group else {
                panic!("{steps:?}");
            };
            assert_eq!((first, applied), (next, Step::Apply(first, count)));
            next += u64::from(count);
        }
        next - 1
    }

    fn count(&self, wanted: fn(&Step) -> bool) -> usize {
        self.steps
            .lock()
            .unwrap()
            .iter()
            .filter(|step| wanted(step))
            .count()
    }
}

impl CommitTarget for Target {
    type Log<'a> = ();

    fn make_room(&self, _: &Frame) -> Result<()> {
        Ok(())
    }

    fn append(&self, (): (), frame: &mut Frame, first: SeqNo, _: Durability) -> Result<()> {
        crate::sync::thread::yield_now();
        self.note(Step::Append(first.get(), frame.count()));
        Ok(())
    }

    fn apply(&self, frame: &Frame, first: SeqNo) {
        crate::sync::thread::yield_now();
        self.note(Step::Apply(first.get(), frame.count()));
    }

    fn after_publish(&self, _: &Token<'_>) {
        self.note(Step::Publish);
    }
}

struct NoCache;

impl Elastic for NoCache {
    fn set_capacity(&self, _: usize) {}
}

/// A queue that makes a group of every batch.
fn queue(has_thread: bool) -> CommitQueue {
    let budget = MemoryBudget::new(1 << 20, Arc::new(NoCache));
    CommitQueue::new(SeqNo::new(1), has_thread, 1, budget)
}

/// The token, as the log thread gets it.
fn token_of_work(queue: &CommitQueue) -> Token<'_> {
    match queue.wait_for_work() {
        LogWork::Write(token) => token,
        other => panic!("{other:?}"),
    }
}

/// What the log thread does.
#[cfg(shuttle)]
fn serve(queue: &CommitQueue, target: &Target) {
    loop {
        match queue.wait_for_work() {
            LogWork::Write(token) => queue.run(token, target, u32::MAX),
            LogWork::Calls => {}
            LogWork::Ended => return,
        }
        queue.make_calls();
    }
}

fn batch() -> Batch {
    let mut batch = Batch::new();
    batch
        .put(KeyspaceId::for_tests(0), b"key", b"value")
        .unwrap();
    batch
}

#[cfg(not(shuttle))]
mod threads {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_for_the_token_is_let_in_between_groups() {
        for has_thread in [false, true] {
            let (queue, target) = (queue(has_thread), Target::default());
            let token = queue.take_token().unwrap();
            let tickets: Vec<_> = (0..3)
                .map(|_| queue.submit(&batch(), Durability::Buffered).unwrap())
                .collect();
            let inside = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let _token = queue.take_token().unwrap();
                    inside.store(true, Ordering::Relaxed);
                    assert_eq!(target.count(|step| *step == Step::Publish), 1);
                });
                while queue.lock().token_waiters == 0 {
                    thread::yield_now();
                }
                queue.run(token, &target, u32::MAX);
            });
            assert!(inside.load(Ordering::Relaxed));
            let token = token_of_work(&queue);
            queue.run(token, &target, u32::MAX);
            assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
            assert_eq!(target.check_order(), 3);
        }
    }

    #[test]
    fn commit_4_members_hear_that_the_outcome_is_unknown_when_the_writer_panics() {
        let places: [fn(Step) -> bool; 2] = [
            |step| matches!(step, Step::Append(..)),
            |step| matches!(step, Step::Apply(..)),
        ];
        for panic_at in places {
            let target = Target {
                panic_at: Some(panic_at),
                ..Target::default()
            };
            let queue = queue(false);
            let tickets = [0, 1].map(|_| queue.submit(&batch(), Durability::Synced).unwrap());
            let called = Arc::new(AtomicBool::new(false));
            let call = Arc::clone(&called);
            tickets[0]
                .clone()
                .on_complete(move |_| call.store(true, Ordering::Relaxed));
            let token = token_of_work(&queue);
            let ran = catch_unwind(AssertUnwindSafe(|| queue.run(token, &target, u32::MAX)));
            assert!(ran.is_err());
            assert!(queue.needs_writer(), "a job makes the call");
            let [first, second] = tickets.map(|ticket| {
                assert!(ticket.is_done());
                ticket.wait()
            });
            let Err(Error::OutcomeUnknown { cause }) = first else {
                panic!("{first:?}");
            };
            assert!(matches!(*cause, Error::Panicked { .. }));
            assert!(matches!(second, Err(Error::Failed { .. })), "{second:?}");
            let later = queue.write(&batch(), Durability::Synced, &target);
            assert!(matches!(later, Err(Error::Failed { .. })), "{later:?}");
            assert!(called.load(Ordering::Relaxed) && !queue.needs_writer());
            assert!(queue.take_token().is_some(), "it was put back");
        }
    }

    #[test]
    fn groups_count_until_they_are_written() {
        let (queue, target) = (queue(false), Target::default());
        let reserved = || {
            queue
                .budget
                .usage()
                .iter()
                .map(|(_, bytes)| bytes)
                .sum::<usize>()
        };
        assert_eq!(reserved(), 0);
        let tickets = [0; 3].map(|_| queue.submit(&batch(), Durability::Buffered).unwrap());
        let of_three = reserved();
        queue.run(token_of_work(&queue), &target, u32::MAX);
        assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
        assert_eq!(reserved(), of_three / 3, "the spare one");
    }
}

/// Every interleaving that the checker finds: `RUSTFLAGS='--cfg shuttle' cargo test shuttle_schedules`. A wake-up
/// or a ticket that is lost is a deadlock, which it reports.
#[cfg(shuttle)]
mod shuttle_schedules {
    use shuttle::thread;

    use super::*;

    const DURABILITIES: [Durability; 2] = [Durability::Synced, Durability::Buffered];

    fn check(scenario: fn()) {
        shuttle::check_random(scenario, 3000);
        shuttle::check_pct(scenario, 3000, 3);
    }

    /// Writes, and sees its own write published.
    fn write(queue: &CommitQueue, target: &Target, durability: Durability) -> u64 {
        let seq = queue.write(&batch(), durability, target).unwrap();
        assert!(queue.published() >= seq, "commit-2");
        seq.get()
    }

    /// What is published was applied before (commit-2).
    fn look(queue: &CommitQueue, target: &Target) {
        let published = queue.published().get();
        let applied = target.count(|step| matches!(step, Step::Apply(..)));
        assert!(applied as u64 >= published, "{applied} of {published}");
    }

    fn expect_all(mut seqs: Vec<u64>, target: &Target) {
        seqs.sort_unstable();
        let count = target.check_order();
        assert_eq!(seqs, (1..=count).collect::<Vec<_>>());
    }

    /// Writers who serve the queue themselves, and one who wants the token for something else.
    fn writers_inline() {
        let (queue, target) = (Arc::new(queue(false)), Arc::new(Target::default()));
        let writers = DURABILITIES.map(|durability| {
            let (queue, target) = (Arc::clone(&queue), Arc::clone(&target));
            thread::spawn(move || [0; 2].map(|_| write(&queue, &target, durability)))
        });
        drop(queue.take_token().unwrap());
        look(&queue, &target);
        let seqs = writers.map(|writer| writer.join().unwrap()).concat();
        expect_all(seqs, &target);
    }

    /// A log thread, a writer, one who submits, and one who wants the token; then the end.
    fn with_a_log_thread() {
        let (queue, target) = (Arc::new(queue(true)), Arc::new(Target::default()));
        let spawn = |work: fn(&CommitQueue, &Target) -> Vec<u64>| {
            let (queue, target) = (Arc::clone(&queue), Arc::clone(&target));
            thread::spawn(move || work(&queue, &target))
        };
        let log = spawn(|queue, target| {
            serve(queue, target);
            Vec::new()
        });
        let others = [
            spawn(|queue, target| {
                DURABILITIES
                    .map(|durability| write(queue, target, durability))
                    .into()
            }),
            spawn(|queue, _| {
                let ticket = queue.submit(&batch(), Durability::Synced).unwrap();
                vec![ticket.wait().unwrap().get()]
            }),
            spawn(|queue, target| {
                drop(queue.take_token().unwrap());
                look(queue, target);
                Vec::new()
            }),
        ];
        let seqs = others.map(|other| other.join().unwrap()).concat();
        queue.close();
        log.join().unwrap();
        expect_all(seqs, &target);
    }

    /// Whoever comes while the queue is closed is told so, or written.
    fn closed_under_way() {
        let (queue, target) = (Arc::new(queue(true)), Arc::new(Target::default()));
        let submitter = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || match queue.submit(&batch(), Durability::Synced) {
                Ok(ticket) => ticket.wait().is_ok(),
                Err(_) => false,
            })
        };
        let log = {
            let (queue, target) = (Arc::clone(&queue), Arc::clone(&target));
            thread::spawn(move || serve(&queue, &target))
        };
        queue.close();
        let written = submitter.join().unwrap();
        log.join().unwrap();
        assert_eq!(target.check_order(), u64::from(written));
    }

    /// A callback that writes, and waits for it, on the log thread; beside it others write.
    fn calls_that_write() {
        let (queue, target) = (Arc::new(queue(true)), Arc::new(Target::default()));
        let log = {
            let (queue, target) = (Arc::clone(&queue), Arc::clone(&target));
            thread::spawn(move || serve(&queue, &target))
        };
        let writer = {
            let (queue, target) = (Arc::clone(&queue), Arc::clone(&target));
            thread::spawn(move || DURABILITIES.map(|durability| write(&queue, &target, durability)))
        };
        let called = Arc::new(AtomicU64::new(0));
        let inside = {
            let (queue, target) = (Arc::clone(&queue), Arc::clone(&target));
            let called = Arc::clone(&called);
            move |outcome: Result<SeqNo>| {
                outcome.unwrap();
                let seq = write(&queue, &target, Durability::Synced);
                called.store(seq, Ordering::SeqCst);
            }
        };
        let ticket = queue.submit(&batch(), Durability::Synced).unwrap();
        ticket.clone().on_complete(inside);
        let own = ticket.wait().unwrap().get();
        let mut seqs = writer.join().unwrap().to_vec();
        while called.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        queue.close();
        log.join().unwrap();
        seqs.extend([own, called.load(Ordering::SeqCst)]);
        expect_all(seqs, &target);
    }

    /// What failed with the queue is called by the log thread, also if it has just gone to sleep.
    fn calls_of_a_failed_queue() {
        let (queue, target) = (Arc::new(queue(true)), Arc::new(Target::default()));
        let (told, heard) = shuttle::sync::mpsc::channel();
        let ticket = queue.submit(&batch(), Durability::Synced).unwrap();
        ticket.on_complete(move |outcome| told.send(outcome.is_ok()).unwrap());
        let log = {
            let (queue, target) = (Arc::clone(&queue), Arc::clone(&target));
            thread::spawn(move || serve(&queue, &target))
        };
        queue.fail(Error::Closed);
        let written = heard.recv().unwrap();
        queue.close();
        log.join().unwrap();
        assert_eq!(target.check_order(), u64::from(written));
    }

    #[test]
    fn shuttle_commit_failed() {
        check(calls_of_a_failed_queue);
    }

    #[test]
    fn shuttle_commit_calls() {
        check(calls_that_write);
    }

    #[test]
    fn shuttle_commit_inline() {
        check(writers_inline);
    }

    #[test]
    fn shuttle_commit_log_thread() {
        check(with_a_log_thread);
    }

    #[test]
    fn shuttle_commit_close() {
        check(closed_under_way);
    }
}
