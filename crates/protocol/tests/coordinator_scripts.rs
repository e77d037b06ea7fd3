//! The walks of single writes and reads, step by step: what goes in, and what is wanted done.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod scripts;

use ringwood_protocol::coordinator::write::Conflict;
use ringwood_protocol::coordinator::{Failure, Health, Level, Stage};
use ringwood_types::{Epoch, Hlc};

use scripts::{Plan, moving, settled};

#[test]
fn a_healthy_write_is_minted_once_and_stored_everywhere() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.expect("mint n1 #1 e1 (0, 1250]");
    write.minted(1, 1001);
    write.expect("store n2 #1 e1 1001; store n3 #1 e1 1001");
    write.held(3, 1);
    write.expect("applied 1001 [1, 3]/3");
    assert!(!write.is_over());
    write.held(2, 1);
    write.expect("over");
}

#[test]
fn who_is_no_replica_has_the_first_of_the_table_mint() {
    let mut write = Plan::new(9, settled(1, &[1, 2, 3])).write();
    write.expect("mint n1 #1 e1 (0, 1250]");
    // A replica has its own.
    let mut write = Plan::new(2, settled(1, &[1, 2, 3])).write();
    write.expect("mint n2 #1 e1 (0, 1250]");
    // One that is not heard comes last, one that is down not at all.
    let mut plan = Plan::new(9, settled(1, &[1, 2, 3]));
    plan.health = vec![(1, Health::Suspicious), (2, Health::Down)];
    let mut write = plan.write();
    write.expect("mint n3 #1 e1 (0, 1250]");
    write.failed(3, 1, Failure::Overloaded);
    write.expect("mint n1 #2 e1 (0, 1250]");
    write.minted(2, 1001);
    write.expect("store n3 #2 e1 1001");
    write.held(3, 2);
    write.expect("applied 1001 [1, 3]/3; hint n2 at n9 #2; over");
}

#[test]
fn a_minter_that_refuses_did_nothing_and_leaves_no_trace() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.expect("mint n1 #1 e1 (0, 1250]");
    write.failed(1, 1, Failure::DiskFull);
    write.expect("mint n2 #2 e1 (0, 1250]");
    write.failed(2, 2, Failure::Unreachable);
    write.expect("mint n3 #3 e1 (0, 1250]");
    write.failed(3, 3, Failure::Refused);
    write.expect("not applied: NobodyMints; over");
    let why: Vec<_> = write.failures().collect();
    assert_eq!(
        why,
        [
            (1, Failure::DiskFull),
            (2, Failure::Unreachable),
            (3, Failure::Refused)
        ]
    );
}

/// n2 holds something of time 1500, which was acknowledged; n3 has not heard of it, and is slow.
#[test]
fn write_2_what_is_older_is_minted_again_above_it() {
    let mut write = Plan::new(3, settled(1, &[1, 2, 3])).write();
    write.expect("mint n3 #1 e1 (0, 1250]");
    write.minted(1, 1001);
    write.expect("store n1 #1 e1 1001; store n2 #1 e1 1001");
    write.older(2, 1, 1500);
    // n1 may still hold it: then the order is right.
    write.expect("");
    write.older(1, 1, 1400);
    // It goes to the first of the table, not to this node: all who mint again meet there.
    write.expect("mint n1 #2 e1 (1500, 1750]");
    // An answer for the first minting is none for the second.
    write.held(2, 1);
    write.expect("");
    write.minted(2, 1501);
    write.expect("store n2 #2 e1 1501; store n3 #2 e1 1501");
    write.held(2, 1);
    write.expect("");
    write.held(2, 2);
    write.expect("applied 1501 [1, 2]/3");
    assert_eq!(write.mintings(), 2);
}

#[test]
fn one_older_does_not_forbid_the_others_to_vouch() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.expect("mint n1 #1 e1 (0, 1250]");
    write.minted(1, 1001);
    write.expect("store n2 #1 e1 1001; store n3 #1 e1 1001");
    write.older(2, 1, 1500);
    write.held(3, 1);
    write.expect("applied 1001 [1, 2, 3]/3; over");
}

#[test]
fn a_silent_replica_is_not_waited_for_when_something_later_is_known() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.minted(1, 1001);
    write.older(2, 1, 1500);
    write.skip_effects();
    write.at(249);
    write.expect("");
    write.at(250);
    write.expect("mint n1 #2 e1 (1500, 1750]");
}

#[test]
fn write_2_the_next_minter_is_above_what_a_silent_one_may_have_minted() {
    let mut write = Plan::new(2, settled(1, &[1, 2, 3])).write();
    write.expect("mint n2 #1 e1 (0, 1250]");
    write.at(250);
    write.expect("mint n1 #2 e1 (1250, 1500]");
    // Its answer is too late to count, and known to be below.
    write.minted(1, 1100);
    write.expect("");
    write.minted(2, 1251);
    write.expect("store n2 #2 e1 1251; store n3 #2 e1 1251");
    write.held(2, 2);
    write.expect("applied 1251 [1, 2]/3");
}

#[test]
fn a_lost_request_to_mint_leaves_the_outcome_unknown() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.expect("mint n1 #1 e1 (0, 1250]");
    write.failed(1, 1, Failure::Silent);
    write.expect("mint n2 #2 e1 (1250, 1500]");
    write.failed(2, 2, Failure::Overloaded);
    write.expect("mint n3 #3 e1 (1250, 1500]");
    write.failed(3, 3, Failure::Overloaded);
    // write-4
    write.expect("unknown []/3: NobodyMints; over");
}

#[test]
fn a_slow_minter_is_waited_for_when_nobody_else_will() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3]))
        .level(Level::One)
        .write();
    write.expect("mint n1 #1 e1 (0, 1250]");
    write.at(250);
    write.expect("mint n2 #2 e1 (1250, 1500]");
    write.failed(2, 2, Failure::Unreachable);
    write.expect("mint n3 #3 e1 (1250, 1500]");
    // It comes while the last one is being asked.
    write.minted(1, 1001);
    write.expect("");
    write.failed(3, 3, Failure::Unreachable);
    write.expect("store n2 #3 e1 1001; store n3 #3 e1 1001; applied 1001 [1]/3");
}

#[test]
fn write_4_silence_that_turns_out_to_be_a_refusal_is_one() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.at(250);
    write.failed(1, 1, Failure::Overloaded);
    write.failed(2, 2, Failure::Overloaded);
    write.failed(3, 3, Failure::Overloaded);
    write.expect(
        "mint n1 #1 e1 (0, 1250]; mint n2 #2 e1 (1250, 1500]; mint n3 #3 e1 (1250, 1500]; \
         not applied: NobodyMints; over",
    );
}

#[test]
fn a_clock_ahead_is_given_room_once_and_not_beyond_the_skew() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.expect("mint n1 #1 e1 (0, 1250]");
    write.failed(1, 1, Failure::AboveLimit(Hlc::at(1400)));
    write.expect("mint n1 #2 e1 (0, 1650]");
    write.failed(1, 2, Failure::AboveLimit(Hlc::at(1700)));
    write.expect("mint n2 #3 e1 (0, 1250]");
    write.failed(2, 3, Failure::AboveLimit(Hlc::at(1501)));
    write.expect("mint n3 #4 e1 (0, 1250]");
}

#[test]
fn a_minter_outside_its_bounds_is_passed_over_and_its_version_beaten() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.minted(1, 1251);
    write.expect("mint n1 #1 e1 (0, 1250]; mint n2 #2 e1 (1251, 1501]");
    write.minted(2, 1251);
    write.expect("mint n3 #3 e1 (1251, 1501]");
}

#[test]
fn the_context_of_a_client_is_a_time_to_be_above() {
    let mut plan = Plan::new(1, settled(1, &[1, 2, 3]));
    plan.context = 1200;
    plan.write().expect("mint n1 #1 e1 (1200, 1450]");
}

#[test]
fn a_strict_write_without_its_replicas_is_refused_before_it_is_minted() {
    let mut plan = Plan::new(1, settled(1, &[1, 2, 3]));
    plan.health = vec![(2, Health::Down), (3, Health::Down)];
    plan.write()
        .expect("not applied: TooFewUp { needed: 2, up: 1 }; over");
    let plan = Plan::new(1, settled(1, &[1, 2, 3]));
    plan.level(Level::Exactly(4))
        .write()
        .expect("not applied: Impossible(MoreThanReplicas { asked: 4, replicas: 3 }); over");
}

#[test]
fn too_few_answers_are_an_unknown_outcome_that_names_who_has_it() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.minted(1, 1001);
    write.skip_effects();
    write.failed(2, 1, Failure::DiskFull);
    write.expect("");
    write.failed(3, 1, Failure::Silent);
    write.expect("unknown [1]/3: TooFewAnswered; hint n2 at n1 #1; hint n3 at n1 #1; over");
}

#[test]
fn write_5_the_deadline_ends_it_wherever_it_is() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.minted(1, 1001);
    write.skip_effects();
    write.at(999);
    write.expect("");
    write.at(1000);
    write.expect("unknown [1]/3: Deadline; hint n2 at n1 #1; hint n3 at n1 #1; over");
    // Without the patience of others it is the only moment.
    let mut write = Plan::new(1, settled(1, &[1])).write();
    write.skip_effects();
    write.at(1000);
    write.expect("unknown []/1: Deadline; over");
}

#[test]
fn stores_go_on_behind_the_answer_until_the_deadline() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.minted(1, 1001);
    write.held(2, 1);
    write.skip_effects();
    write.at(500);
    write.expect("");
    write.at(1000);
    write.expect("hint n3 at n1 #1; over");
}

#[test]
fn write_3_nothing_is_minted_for_a_client_that_is_gone() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.minted(1, 1001);
    write.skip_effects();
    write.abandon();
    write.older(2, 1, 1500);
    write.older(3, 1, 1500);
    write.expect("over");
    // Nor is anybody else asked.
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.skip_effects();
    write.abandon();
    write.at(250);
    write.failed(1, 1, Failure::Overloaded);
    write.expect("over");
}

#[test]
fn rounds_end_and_are_apart() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.skip_effects();
    for round in 1..=4_u64 {
        write.minted(u32::try_from(round).unwrap(), 1000 + 100 * round);
        write.older(2, u32::try_from(round).unwrap(), 1050 + 100 * round);
        write.older(3, u32::try_from(round).unwrap(), 1050 + 100 * round);
        if round < 4 {
            write.at(10 * 3 * round);
        }
    }
    let all = write.take_effects();
    assert_eq!(all.matches("mint").count(), 3, "{all}");
    assert!(
        all.ends_with("unknown [1, 2, 3]/3: Contended; over"),
        "{all}"
    );
}

#[test]
fn sloppy_one_stands_with_the_last_replica_and_its_hints_follow() {
    let mut plan = Plan::new(1, settled(1, &[1, 2, 3])).level(Level::One);
    plan.health = vec![(2, Health::Down), (3, Health::Down)];
    plan.sloppy = true;
    plan.fallbacks = vec![7, 8];
    let mut write = plan.write();
    write.minted(1, 1001);
    write.expect("mint n1 #1 e1 (0, 1250]; hint n2 at n7 #1; hint n3 at n8 #1; applied 1001 [1]/3");
    write.hinted(7, 1);
    write.hinted(8, 1);
    write.expect("over");
}

#[test]
fn sloppy_quorum_counts_a_hint_for_the_replica_it_is_kept_for() {
    let mut plan = Plan::new(1, settled(1, &[1, 2, 3]));
    plan.sloppy = true;
    plan.fallbacks = vec![7, 8];
    let mut write = plan.write();
    write.minted(1, 1001);
    write.skip_effects();
    write.failed(2, 1, Failure::Unreachable);
    write.expect("hint n2 at n7 #1");
    write.failed(7, 1, Failure::DiskFull);
    write.expect("hint n2 at n8 #1");
    write.hinted(8, 1);
    write.expect("applied 1001 [1]/3 +1");
}

#[test]
fn a_strict_write_takes_no_hint_for_a_copy() {
    let mut plan = Plan::new(1, settled(1, &[1, 2, 3]));
    plan.fallbacks = vec![7, 8];
    let mut write = plan.write();
    write.minted(1, 1001);
    write.skip_effects();
    write.failed(2, 1, Failure::Unreachable);
    write.hinted(7, 1);
    write.failed(3, 1, Failure::Unreachable);
    write.expect("unknown [1]/3: TooFewAnswered; hint n2 at n7 #1; hint n3 at n8 #1; over");
}

#[test]
fn a_guest_mints_siblings_where_no_owner_can() {
    let mut plan = Plan::new(7, settled(1, &[1, 2, 3])).level(Level::One);
    plan.health = vec![(1, Health::Down), (2, Health::Down), (3, Health::Down)];
    plan.sloppy = true;
    plan.fallbacks = vec![7, 8, 9];
    plan.conflict = Conflict::Siblings;
    let mut write = plan.clone().write();
    write.expect("mint n7 for n1 #1 e1 (0, 1250]");
    write.minted(1, 1001);
    write.expect("hint n2 at n8 #1; hint n3 at n9 #1; applied 1001 []/3 +1");
    // Rule 3: in a last-write-wins namespace it may not.
    plan.conflict = Conflict::LastWriteWins;
    plan.write().expect("not applied: NobodyMints; over");
}

#[test]
fn siblings_are_counted_without_an_order_and_never_minted_twice() {
    let mut plan = Plan::new(1, settled(1, &[1, 2, 3]));
    plan.conflict = Conflict::Siblings;
    let mut write = plan.clone().write();
    write.minted(1, 1001);
    write.skip_effects();
    write.older(2, 1, 1500);
    write.expect("applied 1001 [1, 2]/3");
    let mut write = plan.write();
    write.skip_effects();
    write.at(250);
    write.expect("");
    write.failed(1, 1, Failure::Silent);
    write.expect("unknown []/3: NobodyMints; over");
}

#[test]
fn a_rebuilding_replica_counts_for_what_is_durable_and_not_for_the_order() {
    let table = settled(2, &[1, 2]).and_rebuilding(3);
    let mut write = Plan::new(3, table).write();
    // Nor does it mint, though it coordinates.
    write.expect("mint n1 #1 e2 (0, 1250]");
    write.minted(1, 1001);
    write.expect("store n2 #1 e2 1001; store n3 #1 e2 1001");
    write.held(3, 1);
    write.expect("");
    write.held(2, 1);
    write.expect("applied 1001 [1, 2, 3]/3; over");
}

#[test]
fn a_move_needs_both_quorums_and_the_read_set_vouches() {
    let mut write = Plan::new(1, moving(3, Stage::WriteBoth)).write();
    write.expect("mint n1 #1 e3 (0, 1250]");
    write.minted(1, 1001);
    write.expect("store n2 #1 e3 1001; store n3 #1 e3 1001; store n4 #1 e3 1001");
    // n4 is pending: what it holds says nothing of the order.
    write.held(4, 1);
    write.older(3, 1, 1500);
    write.expect("");
    write.held(2, 1);
    write.expect("applied 1001 [1, 2, 3, 4]/4; over");

    // n1 leaves, and is no longer read.
    let mut write = Plan::new(1, moving(4, Stage::ReadNew)).write();
    write.minted(1, 1001);
    write.skip_effects();
    write.held(4, 1);
    write.expect("");
    write.held(3, 1);
    write.expect("applied 1001 [1, 3, 4]/4");
}

#[test]
fn durable_in_the_old_set_alone_is_not_enough() {
    let mut plan = Plan::new(1, moving(3, Stage::WriteBoth));
    plan.order = Level::One;
    let mut write = plan.write();
    write.minted(1, 1001);
    write.skip_effects();
    // Old: 1, 2, 3. New: 2, 3, 4.
    write.held(2, 1);
    write.expect("");
    write.held(4, 1);
    write.expect("applied 1001 [1, 2, 4]/4");
}

#[test]
fn a_fenced_write_goes_on_in_the_later_epoch() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.skip_effects();
    write.failed(1, 1, Failure::Fenced(Epoch::new(3)));
    write.expect("renew e3");
    // Not that one.
    write.renewed(settled(1, &[1, 2, 3]));
    write.expect("");
    write.renewed(moving(3, Stage::WriteBoth));
    write.expect("mint n1 #2 e3 (0, 1250]");
    // Minted, and then fenced: minted again in the later one, above the first.
    write.minted(2, 1001);
    write.skip_effects();
    write.failed(2, 2, Failure::Fenced(Epoch::new(4)));
    write.failed(3, 2, Failure::Fenced(Epoch::new(4)));
    write.expect("renew e4");
    write.renewed(moving(4, Stage::ReadNew));
    write.expect("mint n1 #3 e4 (1001, 1251]");
    // Nobody brings the next one.
    write.failed(1, 3, Failure::Fenced(Epoch::new(5)));
    write.expect("renew e5");
    write.at(1000);
    write.expect("unknown []/4: Deadline; over");
}

#[test]
fn siblings_are_stored_again_in_the_later_epoch_and_counted_anew() {
    let mut plan = Plan::new(1, settled(1, &[1, 2, 3]));
    plan.conflict = Conflict::Siblings;
    let mut write = plan.write();
    write.minted(1, 1001);
    write.skip_effects();
    write.failed(2, 1, Failure::Fenced(Epoch::new(2)));
    write.failed(3, 1, Failure::Fenced(Epoch::new(2)));
    write.expect("renew e2");
    write.renewed(settled(2, &[2, 3, 4]));
    write.expect("store n2 #2 e2 1001; store n3 #2 e2 1001; store n4 #2 e2 1001");
    write.held(2, 2);
    write.expect("");
    write.held(4, 2);
    write.expect("applied 1001 [2, 4]/3");
}

#[test]
fn what_strangers_and_repetitions_say_changes_nothing() {
    let mut write = Plan::new(1, settled(1, &[1, 2, 3])).write();
    write.skip_effects();
    write.held(2, 1);
    write.minted(7, 1001);
    write.failed(1, 7, Failure::Overloaded);
    write.expect("");
    write.minted(1, 1001);
    write.minted(1, 1001);
    write.held(1, 1);
    write.held(1, 1);
    write.held(9, 1);
    write.failed(9, 1, Failure::Overloaded);
    write.expect("store n2 #1 e1 1001; store n3 #1 e1 1001");
}
