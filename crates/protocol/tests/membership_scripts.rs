//! Failure detection by script: one thing goes wrong at a time, at the moment that matters.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod membership_world;

use std::collections::BTreeSet;
use std::time::Duration;

use membership_world::{Plan, World, seconds};
use proptest::prelude::*;
use ringwood_protocol::Time;
use ringwood_protocol::membership::{
    Body, Brake, Claim, Detector, Effect, Input, Life, MESSAGE_LEN_MAX, Message, Rumor, Standing,
    State, Tuning,
};
use ringwood_types::NodeId;
use ringwood_wire::Encoded;

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

fn calm(nodes: u64) -> World {
    let mut world = World::new(Plan::calm(7, nodes, Tuning::default()));
    world.run_for(60);
    assert!(world.changes.is_empty(), "all is well: {:?}", world.changes);
    world
}

fn states_of(world: &World, of: NodeId) -> BTreeSet<State> {
    let observers = world.alive().into_iter().filter(|observer| *observer != of);
    observers
        .filter_map(|observer| world.state(observer, of))
        .collect()
}

fn all_are(world: &World, of: NodeId, state: State) -> bool {
    states_of(world, of) == BTreeSet::from([state])
}

fn end(world: &World) {
    assert_eq!(world.violation, None, "{:#?}", world.log);
}

#[test]
fn a_dead_node_is_suspicious_then_down_then_proposed_and_not_before() {
    for nodes in [3, 5, 9] {
        let mut world = calm(nodes);
        let died = world.now;
        world.kill(node(1));
        world.run_until(died.after(Duration::from_secs(5)));
        assert!(all_are(&world, node(1), State::Healthy));
        world.run_until(died.after(Duration::from_secs(15)));
        assert!(all_are(&world, node(1), State::Suspicious));
        world.run_until(died.after(Duration::from_secs(45)));
        assert!(all_are(&world, node(1), State::Down));
        world.run_until(died.after(Duration::from_secs(599)));
        assert!(world.proposals.is_empty());
        world.run_until(died.after(Duration::from_secs(660)));
        let by: BTreeSet<_> = world
            .proposals
            .iter()
            .map(|(_, by, of)| (*by, *of))
            .collect();
        let expected = (2..=nodes).map(|other| (node(other), node(1)));
        assert_eq!(by, expected.collect());
        // Back, before anything was agreed on.
        world.start(node(1));
        world.run_for(20);
        assert!(all_are(&world, node(1), State::Healthy));
        end(&world);
    }
}

#[test]
fn two_nodes_see_each_other_and_neither_gives_the_other_up() {
    let mut world = calm(2);
    world.kill(node(1));
    world.run_for(2000);
    assert!(all_are(&world, node(1), State::Down));
    assert!(world.proposals.is_empty());
    world.start(node(1));
    world.run_for(20);
    assert!(all_are(&world, node(1), State::Healthy));
    end(&world);
}

#[test]
fn a_cut_between_two_is_bridged_by_the_others() {
    let mut world = calm(5);
    world.set_cut(BTreeSet::from([
        (node(1), node(2)),
        (node(2), node(1)),
        (node(3), node(4)),
    ]));
    world.run_for(300);
    assert!(world.changes.is_empty(), "{:?}", world.changes);
}

#[test]
fn a_deaf_node_is_found_out_although_it_speaks() {
    let mut world = calm(5);
    let others = (2..=5).map(|other| (node(other), node(1)));
    world.set_cut(others.collect());
    world.run_for(60);
    for observer in 2..=5 {
        assert_eq!(world.state(node(observer), node(1)), Some(State::Down));
        for other in (2..=5).filter(|other| *other != observer) {
            let state = world.state(node(observer), node(other));
            assert_eq!(
                state,
                Some(State::Healthy),
                "what {observer} has of {other}"
            );
        }
    }
    world.set_cut(BTreeSet::new());
    world.run_for(30);
    assert!((1..=5).all(|one| all_are(&world, node(one), State::Healthy)));
    end(&world);
}

#[test]
fn a_stopped_node_suspects_itself_and_nobody_else() {
    for wait in [10, 60, 1200] {
        let mut world = calm(5);
        world.pause(node(1), Duration::from_secs(wait));
        world.run_for(wait);
        world.run_for(30);
        assert!((1..=5).all(|one| all_are(&world, node(one), State::Healthy)));
        let by_it = world
            .changes
            .iter()
            .filter(|(_, observer, ..)| *observer == node(1));
        assert_eq!(by_it.count(), 0, "it thinks ill of others after {wait} s");
        let its_own = world.proposals.iter().filter(|(_, by, _)| *by == node(1));
        assert_eq!(its_own.count(), 0);
        end(&world);
    }
}

#[test]
fn nobody_is_given_up_while_many_are_gone() {
    // A network that breaks into two of five and three of five; into halves; and a zone of three of
    // nine that dies.
    for (nodes, gone, dies) in [(5, 2, false), (4, 2, false), (9, 3, true)] {
        let mut world = calm(nodes);
        if dies {
            (1..=gone).for_each(|one| world.kill(node(one)));
        } else {
            let all = |from: u64| (1..=nodes).map(move |to| (from, to));
            let pairs = (1..=nodes)
                .flat_map(all)
                .filter(|(from, to)| (*from <= gone) != (*to <= gone));
            world.set_cut(pairs.map(|(from, to)| (node(from), node(to))).collect());
        }
        world.run_for(3600);
        assert_eq!(world.state(node(nodes), node(1)), Some(State::Down));
        assert_eq!(world.proposals, []);
        for observer in world.alive() {
            let brake = world.nodes[&observer].detector.as_ref().unwrap().brake();
            assert!(matches!(
                brake,
                Some(Brake::MostUnreachable { .. } | Brake::ManyDown { .. })
            ));
        }
        // Back: nobody is proposed for the time in which the brake was on.
        world.set_cut(BTreeSet::new());
        (1..=gone).for_each(|one| world.start(node(one)));
        world.run_for(60);
        assert_eq!(world.proposals, []);
        assert!((1..=nodes).all(|one| all_are(&world, node(one), State::Healthy)));
        end(&world);
    }
}

#[test]
fn one_that_stays_dead_is_given_up_once_the_others_are_back_for_as_long() {
    let mut world = calm(5);
    world.kill(node(1));
    world.kill(node(2));
    world.run_for(1200);
    assert_eq!(world.proposals, []);
    world.start(node(2));
    world.run_for(590);
    assert_eq!(world.proposals, []);
    world.run_for(60);
    assert!(world.proposals.iter().all(|(_, _, of)| *of == node(1)));
    assert!(!world.proposals.is_empty());
    end(&world);
}

#[test]
fn times_change_while_it_runs() {
    let mut world = calm(3);
    let tuning = Tuning {
        gossip_interval: Duration::from_millis(200),
        suspicion_threshold: Duration::from_secs(1),
        down_threshold: Duration::from_secs(3),
        permanent_failure_threshold: Duration::from_secs(6),
    };
    world
        .alive()
        .into_iter()
        .for_each(|one| world.input(one, Input::Tune(tuning)));
    world.kill(node(1));
    world.run_for(3);
    assert!(all_are(&world, node(1), State::Suspicious));
    world.run_for(3);
    assert!(all_are(&world, node(1), State::Down));
    let slower = Tuning {
        permanent_failure_threshold: Duration::from_secs(60),
        ..tuning
    };
    world
        .alive()
        .into_iter()
        .for_each(|one| world.input(one, Input::Tune(slower)));
    let senseless = Tuning {
        down_threshold: Duration::ZERO,
        ..tuning
    };
    world
        .alive()
        .into_iter()
        .for_each(|one| world.input(one, Input::Tune(senseless)));
    world.run_for(50);
    assert_eq!(
        (world.proposals.len(), states_of(&world, node(1))),
        (0, BTreeSet::from([State::Down]))
    );
    world.run_for(10);
    assert!(!world.proposals.is_empty());
}

/// A detector alone, and what it did.
struct Alone {
    detector: Detector,
    effects: Vec<Effect>,
    now: Time,
}

impl Alone {
    /// Node 1 in its second life, of three.
    fn new() -> Self {
        let detector = Detector::new(node(1), 2, Tuning::default(), 1, Time::ZERO);
        let mut alone = Self {
            detector,
            effects: Vec::new(),
            now: Time::ZERO,
        };
        alone.members(3, None);
        alone
    }

    fn members(&mut self, count: u64, failed: Option<u64>) {
        let standing = |number| Standing {
            node: node(number),
            has_failed: failed == Some(number),
        };
        self.input(Input::Members((1..=count).map(standing).collect()));
    }

    fn input(&mut self, input: Input) {
        self.effects.clear();
        self.detector.handle(self.now, input);
        self.effects
            .extend(std::iter::from_fn(|| self.detector.poll_effect()));
    }

    fn hears(&mut self, from: u64, life: Life, rumors: &[Rumor]) {
        let (from, rumors) = (node(from), rumors.to_vec());
        let message = Message {
            life,
            body: Body::Ping { number: 5 },
            rumors,
        };
        self.input(Input::Received { from, message });
    }

    fn answers(&self) -> bool {
        let ack = |effect: &Effect| matches!(effect, Effect::Send { message, .. } if message.body == Body::Ack { number: 5 });
        self.effects.iter().any(ack)
    }

    fn run_until(&mut self, end: Time) {
        while self.detector.next_deadline().unwrap() <= end {
            self.now = self.detector.next_deadline().unwrap();
            self.input(Input::Wake);
        }
        self.now = end;
    }
}

fn silent(of: u64, life: Life, for_: u64, reporter: u64) -> Rumor {
    let (silent_for, reporter) = (Duration::from_secs(for_), node(reporter));
    Rumor {
        node: node(of),
        life,
        claim: Claim::Silent {
            silent_for,
            reporter,
        },
    }
}

#[test]
fn it_refutes_what_is_said_of_its_present_life_only() {
    let mut alone = Alone::new();
    alone.hears(2, Life::of_start(1), &[silent(1, Life::of_start(1), 9, 2)]);
    assert_eq!(alone.detector.life(), Life::of_start(2));
    alone.hears(2, Life::of_start(1), &[silent(1, Life::of_start(2), 9, 2)]);
    let refuted = Life {
        generation: 2,
        refutation: 1,
    };
    assert_eq!(alone.detector.life(), refuted);
    let says_so = |effect: &Effect| {
        matches!(effect, Effect::Send { message, .. } if message.rumors.contains(&Rumor {
            node: node(1), life: refuted, claim: Claim::Alive,
        }))
    };
    assert!(alone.effects.iter().any(says_so));
    // Whatever is claimed, its life ends nowhere.
    let last = Life {
        generation: 2,
        refutation: u64::MAX,
    };
    alone.hears(2, Life::of_start(1), &[silent(1, last, 9, 2)]);
    alone.hears(2, Life::of_start(1), &[silent(1, last, 9, 2)]);
    assert_eq!(alone.detector.life(), last);
}

#[test]
fn a_later_process_with_its_id_is_told_once_and_an_earlier_one_is_told_off() {
    let mut alone = Alone::new();
    let later = Rumor {
        node: node(1),
        life: Life::of_start(3),
        claim: Claim::Alive,
    };
    alone.hears(2, Life::of_start(5), &[later]);
    assert!(
        alone
            .effects
            .contains(&Effect::Superseded { generation: 3 })
    );
    alone.hears(2, Life::of_start(5), &[later]);
    assert!(
        !alone
            .effects
            .contains(&Effect::Superseded { generation: 3 })
    );
    // An earlier process of node 2 is not answered, but told.
    alone.hears(
        2,
        Life::of_start(4),
        &[silent(3, Life::of_start(1), 100, 2)],
    );
    assert!(!alone.answers());
    let told = Rumor {
        node: node(2),
        life: Life::of_start(5),
        claim: Claim::Alive,
    };
    assert!(
        matches!(&alone.effects[..], [Effect::Send { message, .. }] if message.rumors == [told])
    );
    assert_eq!(
        alone
            .detector
            .members()
            .find(|view| view.node == node(3))
            .unwrap()
            .silent_for,
        None
    );
}

#[test]
fn what_others_say_leaves_time_to_refute_it() {
    let mut alone = Alone::new();
    let life = Life::of_start(1);
    alone.hears(2, life, &[silent(3, life, 1_000_000, 2)]);
    assert_eq!(alone.detector.state(node(3)), Some(State::Healthy));
    // Neither a stranger nor the node itself is a witness.
    let mut other = Alone::new();
    other.hears(2, life, &[silent(3, life, 4, 77), silent(3, life, 4, 3)]);
    assert!(
        other
            .detector
            .members()
            .all(|view| view.silent_for.is_none())
    );
}

#[test]
fn strangers_are_not_answered_and_removed_ones_forgotten() {
    let mut alone = Alone::new();
    alone.hears(77, Life::of_start(1), &[]);
    assert!(alone.effects.is_empty());
    alone.hears(3, Life::of_start(1), &[]);
    assert!(alone.answers());
    alone.members(2, None);
    let removed = |effect: &Effect| matches!(effect, Effect::Changed { to: State::Removed, node: gone, .. } if *gone == node(3));
    assert!(alone.effects.iter().any(removed));
    let life = Life::of_start(9);
    alone.hears(
        2,
        Life::of_start(1),
        &[Rumor {
            node: node(3),
            life,
            claim: Claim::Alive,
        }],
    );
    alone.hears(3, life, &[]);
    assert!(alone.effects.is_empty());
    assert_eq!(alone.detector.state(node(3)), None);
    alone.run_until(seconds(60));
    let to_it = |effect: &Effect| matches!(effect, Effect::Send { to, .. } if *to == node(3));
    assert!(!alone.effects.iter().any(to_it));
}

#[test]
fn what_is_committed_comes_from_any_state_and_is_taken_back() {
    let mut alone = Alone::new();
    alone.members(3, Some(2));
    assert_eq!(
        alone.detector.state(node(2)),
        Some(State::PermanentlyFailed)
    );
    alone.members(3, Some(2));
    assert!(alone.effects.is_empty());
    alone.run_until(seconds(100));
    assert_eq!(
        alone.detector.state(node(2)),
        Some(State::PermanentlyFailed)
    );
    alone.members(3, None);
    let edges = alone.effects.iter().filter_map(|effect| match effect {
        Effect::Changed { from, to, .. } => Some((*from, *to)),
        _ => None,
    });
    let edges: Vec<_> = edges.collect();
    assert_eq!(
        edges,
        [
            (State::PermanentlyFailed, State::Down),
            (State::Down, State::Healthy)
        ]
    );
}

fn forged() -> impl Strategy<Value = Message> {
    let life = || {
        (0..4u64, 0..4u64).prop_map(|(generation, refutation)| Life {
            generation,
            refutation,
        })
    };
    let claim = prop_oneof![
        Just(Claim::Alive),
        (0..100_000u64, 0..6u64).prop_map(|(millis, reporter)| Claim::Silent {
            silent_for: Duration::from_millis(millis),
            reporter: node(reporter),
        }),
    ];
    let rumor = (0..6u64, life(), claim).prop_map(|(of, life, claim)| Rumor {
        node: node(of),
        life,
        claim,
    });
    let body = (0..6u8, 0..6u64, any::<u64>()).prop_map(|(tag, target, number)| match tag {
        0 => Body::Ping { number },
        1 => Body::Ack { number },
        2 => Body::PingFor {
            number,
            target: node(target),
        },
        3 => Body::Nack { number },
        4 => Body::News,
        _ => Body::Compare {
            digest: number,
            is_answer: target > 2,
        },
    });
    (life(), body, prop::collection::vec(rumor, 0..6)).prop_map(|(life, body, rumors)| Message {
        life,
        body,
        rumors,
    })
}

proptest! {
    /// Whatever peers say, at whatever time: no panic, legal edges, messages of bounded length, and what
    /// was once refuted stays so.
    #[test]
    fn member_1_forged_messages_break_nothing(
        said in prop::collection::vec((0..6u64, 0..20_000u64, forged()), 1..60),
    ) {
        let mut alone = Alone::new();
        let mut life = alone.detector.life();
        for (from, wait, message) in said {
            alone.run_until(alone.now.after(Duration::from_millis(wait)));
            alone.input(Input::Received { from: node(from), message });
            prop_assert!(alone.detector.life() >= life);
            life = alone.detector.life();
            for effect in &alone.effects {
                match effect {
                    Effect::Changed { from, to, .. } => prop_assert!(from.may_become(*to) && to.is_local()),
                    Effect::Send { message, .. } => prop_assert!(message.to_vec().len() <= MESSAGE_LEN_MAX),
                    Effect::Propose { .. } => prop_assert!(alone.detector.brake().is_none()),
                    Effect::Superseded { generation } => prop_assert!(*generation > life.generation),
                }
            }
        }
    }
}
