//! Tests of the tests: every shortcut of a coordinator, and of what replicas answer it, is found.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod requests;
mod scripts;

use ringwood_protocol::Time;
use ringwood_protocol::coordinator::plant::Plant;
use ringwood_protocol::coordinator::write::{Effect, Input, Outcome, Why};
use ringwood_protocol::coordinator::{Attempt, Health, Write};

use requests::{Aim, Kept, Plan, Replica, ReplicaDefect, World};

fn must_find(name: &str, budget: u64, defect: impl Fn(&mut Plan)) {
    let found = (0..budget).find_map(|seed| {
        let mut plan = Plan::new(seed);
        defect(&mut plan);
        let violation = World::run(&plan).violation;
        violation.map(|why| (seed + 1, why))
    });
    let (seeds, why) = found.unwrap_or_else(|| panic!("{name}: not found in {budget} seeds"));
    println!("{name}: found after {seeds} of {budget}: {why}");
}

#[test]
fn there_is_nothing_to_find_without_a_defect() {
    for aim in [Aim::Wipe, Aim::Move, Aim::Repairs] {
        for seed in 0..300 {
            let mut plan = Plan::new(seed);
            plan.aim = aim;
            assert_eq!(World::run(&plan).violation, None, "{aim:?}, seed {seed}");
        }
    }
}

#[test]
fn every_shortcut_of_a_coordinator_is_found() {
    for (plant, budget) in [
        (Plant::OlderIgnored, 50),
        (Plant::MintedAgainBehind, 50),
        (Plant::RebuildingVouches, 2000),
        (Plant::PendingVouches, 4000),
        (Plant::AnyMintingAcknowledged, 1000),
        (Plant::NotAboveTheLimit, 2000),
        (Plant::AnswersCarried, 100),
        (Plant::SecondUnchecked, 40000),
        (Plant::MintedAfterUnknown, 50),
        (Plant::OldSetOnly, 200),
        (Plant::HintCounts, 50),
        (Plant::SilenceIsNo, 50),
        (Plant::RebuildingRead, 1000),
        (Plant::FirstAnswerOnly, 50),
        (Plant::DigestsNotCompared, 100),
        (Plant::AbsenceIgnored, 4000),
        (Plant::RepairNotAwaited, 1000),
    ] {
        must_find(&format!("{plant:?}"), budget, |plan| {
            plan.plant = Some(plant);
            plan.aim = match plant {
                Plant::RebuildingVouches | Plant::RebuildingRead => Aim::Wipe,
                Plant::SecondUnchecked => Aim::Move,
                Plant::AbsenceIgnored => Aim::Repairs,
                _ => Aim::Nothing,
            };
        });
    }
}

#[test]
fn every_shortcut_of_an_answer_is_found() {
    for (defect, budget) in [
        (ReplicaDefect::SkipIsHeld, 100),
        (ReplicaDefect::GoneIsHeld, 8000),
        (ReplicaDefect::DeadIsNothing, 100),
        (ReplicaDefect::SameDot, 1000),
    ] {
        must_find(&format!("{defect:?}"), budget, |plan| {
            plan.defect = Some(defect);
            plan.aim = Aim::Repairs;
        });
    }
}

/// Row 40. That replicas refuse such a request too is their own affair.
#[test]
fn a_rebuilding_replica_that_is_asked_to_mint_is_noticed() {
    let table = scripts::settled(1, &[1, 2]).and_rebuilding(3);
    let plan = scripts::Plan::new(3, table);
    let minter = |mut write: Write| match write.poll_effect() {
        Some(Effect::Mint { to, .. }) => to.get(),
        other => panic!("{other:?}"),
    };
    let now = Time::ZERO;
    let right = Write::new(plan.request(), scripts::tuning(), now);
    let wrong = Write::with_plant(
        plan.request(),
        scripts::tuning(),
        now,
        Plant::RebuildingMints,
    );
    assert_eq!((minter(right), minter(wrong)), (1, 3));
}

/// One of two writes in a duel.
struct Fencer {
    write: Write,
    stores: Vec<(u64, Attempt, Kept)>,
    reply: Option<Outcome>,
}

/// Row 42: two writes in lock-step, 3 being down. Each message of the one arrives when the other has just
/// been minted again.
fn duel(plant: Option<Plant>) -> [Option<Outcome>; 2] {
    let mut replicas: Vec<_> = (0..3).map(|node| Replica::new(node, 0, None)).collect();
    let mut now = Time::ZERO;
    let mut fencers: Vec<_> = [1, 2]
        .map(|me| {
            let mut plan = scripts::Plan::new(me, scripts::settled(1, &[1, 2, 3]));
            plan.health = vec![(3, Health::Down)];
            let mut request = plan.request();
            request.hybrid = replicas[1].time(0);
            let tuning = scripts::tuning();
            Fencer {
                write: match plant {
                    Some(plant) => Write::with_plant(request, tuning, now, plant),
                    None => Write::new(request, tuning, now),
                },
                stores: Vec::new(),
                reply: None,
            }
        })
        .into_iter()
        .collect();
    for turn in 0..40 {
        let number = turn % 2;
        let fencer = &mut fencers[number];
        if turn > 1 && !fencer.stores.is_empty() {
            let (to, attempt, kept) = fencer.stores.remove(0);
            let answer = replicas[usize::try_from(to).unwrap()].store(kept);
            let from = ringwood_types::NodeId::new(to);
            let input = Input::Answered {
                from,
                attempt,
                answer,
            };
            fencer.write.handle(now, input);
        } else if turn > 1
            && let Some(due) = fencer.write.next_deadline()
        {
            now = now.max(due);
            fencer.write.handle(now, Input::Wake);
        }
        fence(fencer, number, now, &mut replicas);
        // It paused: it goes on before the other has its turn.
        while fencer.stores.is_empty() && fencer.reply.is_none() {
            now = now.max(fencer.write.next_deadline().unwrap());
            fencer.write.handle(now, Input::Wake);
            fence(fencer, number, now, &mut replicas);
        }
    }
    [fencers[0].reply, fencers[1].reply]
}

fn fence(fencer: &mut Fencer, number: usize, now: Time, replicas: &mut [Replica]) {
    while let Some(effect) = fencer.write.poll_effect() {
        match effect {
            Effect::Mint {
                to,
                attempt,
                above,
                limit,
                ..
            } => {
                let minter = &mut replicas[usize::try_from(to.get()).unwrap()];
                let version = minter
                    .mint(now.micros(), (above, limit), number, false)
                    .unwrap();
                fencer.write.handle(now, Input::Minted { attempt, version });
            }
            Effect::Store {
                to,
                attempt,
                version,
                ..
            } => {
                let kept = Kept {
                    version,
                    write: number,
                    tombstone: false,
                };
                fencer.stores.push((to.get(), attempt, kept));
            }
            Effect::Reply(outcome) => fencer.reply = Some(outcome),
            Effect::Hint { .. } | Effect::Renew { .. } => {}
        }
    }
}

#[test]
fn a_duel_ends_where_all_second_mintings_go_to_one_place() {
    let stands = |outcome| matches!(outcome, Some(Outcome::Applied { .. }));
    let right = duel(None);
    assert!(right.into_iter().all(stands), "{right:?}");
    let wrong = duel(Some(Plant::SecondMintingAnywhere));
    let contended = |outcome| {
        let why = Why::Contended;
        matches!(outcome, Some(Outcome::Unknown { why: is, .. }) if is == why)
    };
    assert!(wrong.into_iter().any(contended), "{wrong:?}");
}
