//! Two writes of one key at three replicas: every order in which messages arrive, with messages lost and
//! replicas waited for in vain, for every order of clocks and every pair of coordinators.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod requests;
mod scripts;

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use ringwood_protocol::Time;
#[cfg(feature = "plant")]
use ringwood_protocol::coordinator::plant::Plant;
use ringwood_protocol::coordinator::write::{Answer, Effect, Input, Outcome};
use ringwood_protocol::coordinator::{Attempt, Failure, Write};
use ringwood_types::{Hlc, NodeId, Version};

use requests::{Kept, Replica};

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Mint(u64, usize, Attempt, Hlc, Hlc),
    Store(u64, usize, Attempt, Version),
    Minted(usize, Attempt, Version),
    Held(usize, u64, Attempt),
    Older(usize, u64, Attempt, Hlc),
    AboveLimit(usize, u64, Attempt, Hlc),
}

#[derive(Clone, Debug, Hash)]
struct State {
    replicas: Vec<Replica>,
    writes: Vec<Write>,
    replies: Vec<Option<Outcome>>,
    /// The first was acknowledged when the second began.
    in_order: bool,
    messages: Vec<Message>,
    faults_left: u8,
    now: Time,
}

/// Where clocks stand, who coordinates, and how much goes wrong.
#[derive(Clone, Copy, Debug)]
struct Scope {
    skews: [i64; 3],
    coordinators: [u64; 2],
    faults: u8,
    #[cfg(feature = "plant")]
    plant: Option<Plant>,
}

impl Scope {
    fn all(faults: u8) -> Vec<Self> {
        let orders = [
            [0, 100, 200],
            [0, 200, 100],
            [100, 0, 200],
            [100, 200, 0],
            [200, 0, 100],
            [200, 100, 0],
        ];
        let mut all = Vec::new();
        for skews in orders {
            for one in 1..=3 {
                for other in 1..=3 {
                    all.push(Self {
                        skews,
                        coordinators: [one, other],
                        faults,
                        #[cfg(feature = "plant")]
                        plant: None,
                    });
                }
            }
        }
        all
    }

    fn begin(&self, state: &mut State) {
        let number = state.writes.len();
        let plan = scripts::Plan::new(self.coordinators[number], scripts::settled(1, &[1, 2, 3]));
        let mut request = plan.request();
        let me = usize::try_from(self.coordinators[number]).unwrap();
        request.hybrid = state.replicas[me].time(state.now.micros());
        request.deadline = state.now.after(std::time::Duration::from_secs(1));
        let write = self.write(request, state.now);
        state.in_order |= number == 1 && state.acknowledged(0);
        state.writes.push(write);
        state.replies.push(None);
        state.pump(number);
    }

    fn write(&self, request: ringwood_protocol::coordinator::write::Request, now: Time) -> Write {
        #[cfg(feature = "plant")]
        if let Some(plant) = self.plant {
            return Write::with_plant(request, scripts::tuning(), now, plant);
        }
        Write::new(request, scripts::tuning(), now)
    }

    fn start(&self) -> State {
        let replica = |node: u64| {
            let skew = usize::try_from(node).unwrap().checked_sub(1);
            Replica::new(node, skew.map_or(0, |place| self.skews[place]), None)
        };
        let mut state = State {
            replicas: (0..4).map(replica).collect(),
            writes: Vec::new(),
            replies: Vec::new(),
            in_order: false,
            messages: Vec::new(),
            faults_left: self.faults,
            now: Time::ZERO,
        };
        self.begin(&mut state);
        state
    }

    /// Every state that can come next.
    fn next(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        for place in 0..state.messages.len() {
            if place > 0 && state.messages[place] == state.messages[place - 1] {
                continue;
            }
            let mut then = state.clone();
            let message = then.messages.remove(place);
            if then.faults_left > 0 {
                let mut lost = then.clone();
                lost.faults_left -= 1;
                next.push(lost);
            }
            then.deliver(message);
            next.push(then);
        }
        if state.writes.len() < 2 {
            let mut then = state.clone();
            self.begin(&mut then);
            next.push(then);
        }
        for number in 0..state.writes.len() {
            // Impatient, though nothing may be lost; or out of time.
            if let Some(due) = state.writes[number].next_deadline()
                && (state.messages.is_empty() || state.faults_left > 0)
            {
                let mut then = state.clone();
                then.faults_left = then.faults_left.saturating_sub(1);
                then.now = then.now.max(due);
                then.writes[number].handle(then.now, Input::Wake);
                then.pump(number);
                next.push(then);
            }
        }
        next
    }
}

impl State {
    fn acknowledged(&self, number: usize) -> bool {
        matches!(
            self.replies.get(number),
            Some(Some(Outcome::Applied { .. }))
        )
    }

    fn pump(&mut self, number: usize) {
        while let Some(effect) = self.writes[number].poll_effect() {
            match effect {
                Effect::Mint {
                    to,
                    attempt,
                    above,
                    limit,
                    ..
                } => {
                    let mint = Message::Mint(to.get(), number, attempt, above, limit);
                    self.messages.push(mint);
                }
                Effect::Store {
                    to,
                    attempt,
                    version,
                    ..
                } => {
                    let store = Message::Store(to.get(), number, attempt, version);
                    self.messages.push(store);
                }
                Effect::Reply(outcome) => self.replies[number] = Some(outcome),
                Effect::Hint { .. } | Effect::Renew { .. } => {}
            }
        }
        self.messages.sort();
    }

    fn deliver(&mut self, message: Message) {
        let now = self.now.micros();
        let answer = match message {
            Message::Mint(to, write, attempt, above, limit) => {
                let replica = &mut self.replicas[usize::try_from(to).unwrap()];
                match replica.mint(now, (above, limit), write, false) {
                    Ok(version) => Message::Minted(write, attempt, version),
                    Err(Failure::AboveLimit(time)) => Message::AboveLimit(write, to, attempt, time),
                    Err(other) => panic!("{other:?}"),
                }
            }
            Message::Store(to, write, attempt, version) => {
                let kept = Kept {
                    version,
                    write,
                    tombstone: false,
                };
                match self.replicas[usize::try_from(to).unwrap()].store(kept) {
                    Answer::Held => Message::Held(write, to, attempt),
                    Answer::Older(time) => Message::Older(write, to, attempt, time),
                }
            }
            answer => return self.answer(answer),
        };
        self.messages.push(answer);
        self.messages.sort();
    }

    fn answer(&mut self, message: Message) {
        let answered = |from: u64, attempt, answer| Input::Answered {
            from: NodeId::new(from),
            attempt,
            answer,
        };
        let (write, input) = match message {
            Message::Minted(write, attempt, version) => (write, Input::Minted { attempt, version }),
            Message::Held(write, from, attempt) => (write, answered(from, attempt, Answer::Held)),
            Message::Older(write, from, attempt, time) => {
                (write, answered(from, attempt, Answer::Older(time)))
            }
            Message::AboveLimit(write, from, attempt, time) => {
                let (from, failure) = (NodeId::new(from), Failure::AboveLimit(time));
                (
                    write,
                    Input::Failed {
                        from,
                        attempt,
                        failure,
                    },
                )
            }
            Message::Mint(..) | Message::Store(..) => unreachable!("for replicas"),
        };
        self.writes[write].handle(self.now, input);
        self.pump(write);
    }

    /// Invariant 28 and durability, for whatever two replicas show.
    fn wrong(&self) -> Option<String> {
        for (one, other) in [(1, 2), (1, 3), (2, 3)] {
            let shown = [one, other].map(|node: usize| self.replicas[node].kept);
            let shown = shown.into_iter().flatten().max_by_key(|kept| kept.version);
            for (number, reply) in self.replies.iter().enumerate() {
                let Some(Outcome::Applied { version, .. }) = reply else {
                    continue;
                };
                if shown.is_none_or(|kept| kept.version < *version) {
                    return Some(format!("w{number} is lost at n{one}, n{other}"));
                }
                if number == 1 && self.in_order && shown.is_some_and(|kept| kept.write == 0) {
                    return Some(format!("w0 wins over w1 at n{one}, n{other}"));
                }
            }
        }
        None
    }

    /// Nothing is left to happen.
    fn at_rest(&self) -> Option<String> {
        let open = self.replies.iter().any(Option::is_none);
        open.then(|| "a write was never answered".to_owned())
    }
}

#[derive(Debug, Default)]
struct Visited {
    states: usize,
    cut: usize,
    ends: usize,
    minted_again: usize,
}

fn explore(scope: &Scope, states_max: usize, all: &mut Visited) -> Option<String> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut seen = HashSet::new();
    let mut open = vec![scope.start()];
    while let Some(state) = open.pop() {
        if !seen.insert(hasher.hash_one(&state)) {
            continue;
        }
        if let Some(why) = state.wrong() {
            return Some(why);
        }
        if seen.len() >= states_max {
            all.cut += 1;
            break;
        }
        let next = scope.next(&state);
        if next.is_empty() {
            if let Some(why) = state.at_rest() {
                return Some(why);
            }
            all.ends += 1;
            let again = state.writes.iter().any(|write| write.mintings() > 1);
            all.minted_again += usize::from(again);
        }
        open.extend(next);
    }
    all.states += seen.len();
    None
}

/// From the environment, where there is more to spend.
fn states() -> usize {
    let asked = std::env::var("RINGWOOD_COORDINATOR_STATES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

#[test]
fn two_writes_in_every_order_of_messages() {
    for (faults, states_max) in [(0, usize::MAX), (1, states())] {
        let mut all = Visited::default();
        for scope in Scope::all(faults) {
            let wrong = explore(&scope, states_max, &mut all);
            assert_eq!(wrong, None, "{scope:?}");
        }
        println!("{faults} faults: {all:?}");
        assert!(all.ends > 0 && all.minted_again > 0, "{all:?}");
    }
}

#[cfg(feature = "plant")]
#[test]
fn shortcuts_are_found_in_every_order_of_messages() {
    for (plant, faults) in [
        (Plant::OlderIgnored, 0),
        (Plant::AnswersCarried, 0),
        (Plant::AnyMintingAcknowledged, 1),
        (Plant::NotAboveTheLimit, 1),
    ] {
        let found = Scope::all(faults).into_iter().find_map(|mut scope| {
            scope.plant = Some(plant);
            explore(&scope, 200_000, &mut Visited::default())
        });
        println!("{plant:?}: {found:?}");
        assert!(found.is_some(), "{plant:?}");
    }
}
