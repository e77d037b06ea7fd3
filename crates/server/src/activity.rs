//! What happened on a connection lately, and whether its client takes too long.
//!
//! Whoever makes us wait is cut off: with a head, with silence, and with answers that it does not
//! take. Those are held to two rates at once: the bytes taken over the connection while it owes any, and the
//! time that each long answer has lasted. One answer that flows is no excuse for others that stand still.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use hyper::Version;
use tokio::time::Instant;

use crate::answers::Answers;
use crate::config::Limits;
use crate::frames::Frames;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How far a client may fall behind while others wait for the memory that its answers hold.
const PRESSED: Duration = Duration::from_secs(3);
/// How often a connection is looked at that owes answers.
const LOOK: Duration = Duration::from_secs(1);

/// What happened on a connection lately. Times are in milliseconds since its start, plus one; 0: none.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    answers: Arc<Answers>,
    bytes_per_second: u64,
    in_flight: AtomicU32,
    /// HTTP/2: heads come while requests are at work, in frames.
    multiplexed: AtomicBool,
    /// Bytes of HTTP/2's preface that have come; more: it is no HTTP/2.
    preface: AtomicUsize,
    /// What follows HTTP/2's preface.
    frames: Mutex<Frames>,
    /// HTTP/1: a head that has begun; HTTP/2: likewise, or any frame but a body's.
    head_since: AtomicU64,
    idle_since: AtomicU64,
    write_blocked_since: AtomicU64,
    /// Answers that wait until what was written before them has left.
    held_back: Mutex<Vec<Waker>>,
    /// Bytes of answers that the transport has and has not sent; of those without a share.
    owed: AtomicUsize,
    owed_short: AtomicUsize,
    /// The first look at which it owed, without a break: no request reads the clock for this.
    owed_since: AtomicU64,
    /// Bytes of answers that left since then.
    moved: AtomicU64,
    /// When each long answer must have left, had it left at its rate from the start.
    due: Mutex<Vec<Option<u64>>>,
}

/// What is to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing; look again after this time.
    GoOn(Duration),
    /// It has been silent for long: say goodbye.
    Retire,
    /// Its client takes too long.
    Cut,
}

impl Activity {
    pub(crate) fn new(limits: &Limits, answers: &Arc<Answers>) -> Self {
        Self {
            start: Instant::now(),
            answers: Arc::clone(answers),
            bytes_per_second: u64::from(limits.answer_rate.max(1)),
            in_flight: AtomicU32::new(0),
            multiplexed: AtomicBool::new(false),
            preface: AtomicUsize::new(0),
            frames: Mutex::default(),
            head_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(1),
            write_blocked_since: AtomicU64::new(0),
            held_back: Mutex::default(),
            owed: AtomicUsize::new(0),
            owed_short: AtomicUsize::new(0),
            owed_since: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            due: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Notes bytes that came from the client.
    pub(crate) fn read(&self, bytes: &[u8]) {
        let preface = self.preface.load(Relaxed);
        let bytes = match preface < PREFACE.len() {
            true => self.read_preface(preface, bytes),
            false => bytes,
        };
        if self.is_multiplexed() {
            self.read_frames(bytes);
        } else if self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    /// Gives what is behind it.
    fn read_preface<'a>(&self, before: usize, bytes: &'a [u8]) -> &'a [u8] {
        let rest = &PREFACE[before..];
        let len = rest.len().min(bytes.len());
        let after = match rest[..len] == bytes[..len] {
            true => before + len,
            false => PREFACE.len() + 1,
        };
        self.preface.store(after, Relaxed);
        if after == PREFACE.len() {
            self.multiplexed.store(true, Relaxed);
            self.head_since.store(0, Relaxed);
        }
        &bytes[len..]
    }

    fn read_frames(&self, bytes: &[u8]) {
        let owed = lock(&self.frames).pass(bytes);
        if owed.was_done {
            self.head_since.store(0, Relaxed);
        }
        if owed.rest && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    /// Notes whether the network took what was written.
    pub(crate) fn wrote(&self, pending: bool) {
        let blocked = self.write_blocked_since.load(Relaxed) != 0;
        if pending && !blocked {
            self.write_blocked_since.store(self.now(), Relaxed);
        } else if !pending && blocked {
            self.write_blocked_since.store(0, Relaxed);
            lock(&self.held_back).drain(..).for_each(Waker::wake);
        }
    }

    /// Whether an answer must wait for those before it, of which the network takes no more: otherwise
    /// a client that sends requests and reads nothing has us keep all their answers.
    pub(crate) fn holds_back(&self, waker: &Waker) -> bool {
        if self.write_blocked_since.load(Relaxed) == 0 {
            return false;
        }
        let mut held_back = lock(&self.held_back);
        // It may have gone on meanwhile, and have woken those it found.
        if self.write_blocked_since.load(Relaxed) == 0 {
            return false;
        }
        if !held_back.iter().any(|held| held.will_wake(waker)) {
            held_back.push(waker.clone());
        }
        true
    }

    pub(crate) fn request_begins(&self, version: Version) {
        self.in_flight.fetch_add(1, Relaxed);
        match version {
            // Its head has ended, and another may have begun.
            Version::HTTP_2 => self.multiplexed.store(true, Relaxed),
            _ => self.head_since.store(0, Relaxed),
        }
    }

    pub(crate) fn request_ends(&self) {
        self.idle_since.store(self.now(), Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Notes an answer that is given to the transport; gives its place among the long ones.
    pub(crate) fn answer_made(&self, len: usize, is_long: bool) -> Option<usize> {
        self.owed.fetch_add(len, Relaxed);
        if !is_long {
            let before = self.owed_short.fetch_add(len, Relaxed);
            self.answers.charge(before, before + len);
            return None;
        }
        let due = self.now() + self.time_for(len as u64);
        let mut places = lock(&self.due);
        let place = places.iter().position(Option::is_none);
        let place = place.unwrap_or_else(|| {
            places.push(None);
            places.len() - 1
        });
        places[place] = Some(due);
        Some(place)
    }

    /// Notes bytes of answers that left.
    pub(crate) fn answer_moved(&self, len: usize) {
        self.moved.fetch_add(len as u64, Relaxed);
    }

    /// Notes that nothing is left of an answer.
    pub(crate) fn answer_gone(&self, len: usize, place: Option<usize>) {
        match place {
            Some(place) => lock(&self.due)[place] = None,
            None => {
                let before = self.owed_short.fetch_sub(len, Relaxed);
                self.answers.charge(before, before - len);
            }
        }
        if self.owed.fetch_sub(len, Relaxed) == len {
            self.owed_since.store(0, Relaxed);
        }
    }

    /// Milliseconds in which so many bytes must have been taken.
    fn time_for(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(1000) / self.bytes_per_second
    }

    /// When the client must have taken what is owed, but for the time that it may fall behind.
    fn due(&self) -> u64 {
        let flowing = self.owed_since.load(Relaxed) + self.time_for(self.moved.load(Relaxed));
        let places = lock(&self.due);
        places
            .iter()
            .flatten()
            .fold(flowing, |due, &one| due.min(one))
    }

    /// Whether the client may go on.
    pub(crate) fn verdict(&self, limits: &Limits) -> Verdict {
        let now = self.now();
        let time_left = |since: u64, limit: Duration| {
            limit.checked_sub(Duration::from_millis(now.saturating_sub(since)))
        };
        let blocked = self.write_blocked_since.load(Relaxed);
        let head = self.head_since.load(Relaxed);
        let owes = self.owed.load(Relaxed) > 0;
        if owes {
            self.idle_since.store(now, Relaxed);
            if self.owed_since.load(Relaxed) == 0 {
                self.owed_since.store(now, Relaxed);
                self.moved.store(0, Relaxed);
            }
        }
        let left = if owes {
            let slack = match self.answers.long.waiting() > 0 {
                true => limits.write_timeout.min(PRESSED),
                false => limits.write_timeout,
            };
            time_left(self.due(), slack)
        } else if blocked != 0 {
            time_left(blocked, limits.write_timeout)
        } else if self.in_flight.load(Relaxed) > 0 {
            Some(look_interval(limits)) // bodies and requests have deadlines of their own
        } else if head != 0 {
            time_left(head, limits.head_timeout)
        } else {
            match time_left(self.idle_since.load(Relaxed), limits.idle_timeout) {
                None => return Verdict::Retire,
                left => left,
            }
        };
        // No request at work and no answer excuses a head that does not end. While the network takes nothing
        // of what is written, nothing is read either.
        let left = match head != 0 && self.is_multiplexed() && blocked == 0 {
            true => left.and_then(|other| Some(other.min(time_left(head, limits.head_timeout)?))),
            false => left,
        };
        let soon = Duration::from_millis(1);
        let longest = match owes {
            true => LOOK.min(look_interval(limits)),
            false => look_interval(limits),
        };
        left.map_or(Verdict::Cut, |left| {
            Verdict::GoOn(left.clamp(soon, longest.max(soon)))
        })
    }
}

/// The longest time between two looks: one falls into every request that takes too long.
pub(crate) fn look_interval(limits: &Limits) -> Duration {
    limits.head_timeout.min(limits.request_timeout)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            head_timeout: Duration::from_millis(20),
            idle_timeout: Duration::from_millis(60),
            write_timeout: Duration::from_millis(20),
            answer_rate: 1000,
            ..Limits::default()
        }
    }

    fn started() -> (Activity, Limits) {
        let limits = limits();
        (
            Activity::new(&limits, &Arc::new(Answers::new(1 << 20))),
            limits,
        )
    }

    async fn wait(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    fn goes_on(activity: &Activity) -> bool {
        matches!(activity.verdict(&limits()), Verdict::GoOn(_))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_ends_patience_and_silence_does_so_later() {
        let (activity, limits) = started();
        wait(40).await;
        assert!(goes_on(&activity), "idle");
        activity.read(b"GET ");
        wait(15).await;
        activity.read(b"/");
        wait(15).await;
        assert_eq!(
            activity.verdict(&limits),
            Verdict::Cut,
            "counts from the first byte"
        );
        activity.request_begins(Version::HTTP_11);
        wait(500).await;
        assert!(goes_on(&activity), "requests have their own deadlines");
        activity.request_ends();
        wait(59).await;
        assert!(goes_on(&activity));
        wait(2).await;
        assert_eq!(
            activity.verdict(&limits),
            Verdict::Retire,
            "idle for too long"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_ends_patience() {
        let (activity, limits) = started();
        activity.wrote(true);
        wait(15).await;
        activity.wrote(false);
        activity.wrote(true);
        wait(15).await;
        assert!(goes_on(&activity), "it took some");
        wait(15).await;
        assert_eq!(activity.verdict(&limits), Verdict::Cut);
    }

    #[tokio::test(start_paused = true)]
    async fn the_preface_of_http2_is_no_head_and_half_of_it_is() {
        for (pieces, verdict) in [
            (vec![&PREFACE[..3], &PREFACE[3..]], true),
            (vec![&[PREFACE, PING].concat()[..]], true),
            (vec![&[PREFACE, b"more"].concat()[..]], false),
            (vec![&PREFACE[..23]], false),
            (vec![b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n"], false),
        ] {
            let (activity, _) = started();
            pieces.iter().for_each(|piece| activity.read(piece));
            wait(40).await;
            assert_eq!(goes_on(&activity), verdict, "{pieces:?}");
        }
    }

    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0nobody's";
    /// Their heads go on in the next frame.
    const HEADERS: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x82";
    const CONTINUATION: &[u8] = b"\0\0\x01\x09\0\0\0\0\x01\x84";

    #[tokio::test(start_paused = true)]
    async fn between_http2_requests_whole_frames_are_no_head() {
        let (activity, _) = started();
        activity.read(PREFACE);
        activity.request_begins(Version::HTTP_2);
        activity.request_ends();
        activity.read(PING);
        wait(40).await;
        assert!(goes_on(&activity));
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_head_that_does_not_end_ends_patience() {
        for begun in [HEADERS, &HEADERS[..4], &PING[..10]] {
            for at_work in [false, true] {
                let (activity, limits) = started();
                activity.read(&[PREFACE, PING].concat());
                if at_work {
                    activity.request_begins(Version::HTTP_2);
                    activity.answer_made(1000, true);
                }
                activity.read(begun);
                wait(15).await;
                assert!(goes_on(&activity));
                if begun == HEADERS {
                    activity.read(CONTINUATION);
                }
                wait(15).await;
                let verdict = activity.verdict(&limits);
                assert_eq!(verdict, Verdict::Cut, "{begun:?}, at work: {at_work}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_taken_at_a_rate_or_patience_ends() {
        let (activity, limits) = started();
        let place = activity.answer_made(1000, false);
        assert!(goes_on(&activity));
        for _ in 0..10 {
            wait(15).await;
            activity.answer_moved(15);
        }
        assert!(goes_on(&activity), "15 bytes in 15 ms");
        wait(18).await;
        activity.answer_moved(1);
        assert!(goes_on(&activity), "behind by less than it may");
        wait(10).await;
        activity.answer_moved(1);
        assert_eq!(
            activity.verdict(&limits),
            Verdict::Cut,
            "some bytes are not enough"
        );
        activity.answer_gone(1000, place);
        assert!(goes_on(&activity), "nothing is owed");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_flows_does_not_excuse_one_that_stands_still() {
        let (activity, limits) = started();
        let stuck = activity.answer_made(50, true);
        let flowing = activity.answer_made(10_000, true);
        assert!(goes_on(&activity));
        for _ in 0..6 {
            wait(10).await;
            activity.answer_moved(100);
            assert!(goes_on(&activity));
        }
        wait(15).await;
        activity.answer_moved(100);
        assert_eq!(activity.verdict(&limits), Verdict::Cut);
        activity.answer_gone(50, stuck);
        assert!(goes_on(&activity));
        activity.answer_gone(10_000, flowing);
    }

    #[tokio::test(start_paused = true)]
    async fn while_others_wait_for_memory_patience_is_shorter() {
        let answers = Arc::new(Answers::new(100));
        let limits = Limits {
            write_timeout: Duration::from_secs(60),
            ..limits()
        };
        let activity = Activity::new(&limits, &answers);
        let all = answers.long.try_take(1000);
        let place = activity.answer_made(75, true);
        wait(5000).await;
        assert_ne!(activity.verdict(&limits), Verdict::Cut);
        let waiting = tokio::spawn({
            let answers = Arc::clone(&answers);
            async move {
                answers
                    .long
                    .take(1, Instant::now() + Duration::from_secs(9))
                    .await
            }
        });
        while answers.long.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(activity.verdict(&limits), Verdict::Cut);
        activity.answer_gone(75, place);
        drop(all);
        assert!(waiting.await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_wait_while_the_network_takes_nothing() {
        let (activity, _) = started();
        let waker = Waker::noop();
        assert!(!activity.holds_back(waker));
        activity.wrote(true);
        assert!(activity.holds_back(waker) && activity.holds_back(waker));
        assert_eq!(lock(&activity.held_back).len(), 1);
        activity.wrote(false);
        assert!(!activity.holds_back(waker));
        assert!(lock(&activity.held_back).is_empty(), "all were woken");
    }
}
