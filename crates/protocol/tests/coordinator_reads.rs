//! The walks of single reads, step by step: what goes in, and what is wanted done.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod scripts;

use ringwood_protocol::coordinator::{Failure, Health, Level, Stage};
use ringwood_types::Epoch;

use scripts::reads::{Latest, ReadPlan, ReadScript, Values};
use scripts::{moving, settled};

fn three() -> ReadPlan {
    ReadPlan::new(settled(1, &[1, 2, 3]))
}

#[test]
fn the_best_are_asked_and_agree() {
    let mut plan = three();
    plan.best = vec![3, 1];
    let mut read: ReadScript<Latest> = plan.read();
    read.expect("read n3; read n1");
    read.state(1, &[5]);
    read.expect("");
    read.state(3, &[5]);
    read.expect("found 5 [1, 3]; over");
}

#[test]
fn whoever_is_behind_is_repaired_when_the_client_has_its_answer() {
    let mut read: ReadScript<Latest> = three().read();
    read.skip_effects();
    read.state(1, &[4]);
    read.state(2, &[5]);
    read.expect("found 5 [1, 2]; repair n1 5; over");
}

#[test]
fn siblings_are_joined_and_both_learn_of_the_others() {
    let mut read: ReadScript<Values> = three().read();
    read.skip_effects();
    read.state(1, &[1, 2]);
    read.state(2, &[2, 3]);
    // Each may have seen what only the other has, and something since that it has purged.
    read.expect("exact n1; exact n2");
    read.exact(1, &[1, 2], &[]);
    read.exact(2, &[2, 3], &[]);
    read.expect("found {1, 2, 3} [1, 2]; repair n1 {1, 2, 3}; repair n2 {1, 2, 3}; over");
}

/// n1 answers before it hears of a delete; n2 when everybody has heard of it, and it has purged it.
#[test]
fn read_2_what_one_has_purged_is_not_shown_because_another_had_it() {
    let mut plan = three();
    plan.digests = true;
    let mut read: ReadScript<Latest> = plan.read();
    read.skip_effects();
    read.state(1, &[5]);
    read.digest(2, &[]);
    read.expect("exact n2");
    read.exact(2, &[], &[5, 6]);
    read.expect("found 0 [1, 2]; repair n1 0; over");
    // It never had it.
    let mut read: ReadScript<Latest> = plan.read();
    read.state(1, &[5]);
    read.digest(2, &[]);
    read.skip_effects();
    read.exact(2, &[], &[4]);
    read.expect("found 5 [1, 2]; repair n2 5; over");
    // It does not say: somebody else has to.
    let mut read: ReadScript<Latest> = plan.read();
    read.state(1, &[5]);
    read.digest(2, &[]);
    read.skip_effects();
    read.failed(2, Failure::Silent);
    read.expect("digest n3");
    read.digest(3, &[5]);
    read.expect("found 5 [1, 3]; over");
}

#[test]
fn what_nobody_has_is_found_to_be_nothing() {
    let mut plan = three();
    plan.digests = true;
    let mut read: ReadScript<Values> = plan.read();
    read.expect("read n1; digest n2");
    read.digest(2, &[]);
    read.state(1, &[]);
    read.expect("found {} [1, 2]; over");
}

#[test]
fn a_digest_counts_when_the_state_includes_it() {
    let mut plan = three();
    plan.digests = true;
    let mut read: ReadScript<Latest> = plan.read();
    read.expect("read n1; digest n2");
    read.digest(2, &[4]);
    read.expect("");
    // It is behind, which needs no second question.
    read.state(1, &[5]);
    read.expect("found 5 [1, 2]; repair n2 5; over");
    // It is ahead: it is asked for its state.
    let mut read: ReadScript<Latest> = plan.read();
    read.skip_effects();
    read.state(1, &[5]);
    read.digest(2, &[6]);
    read.expect("read n2");
    read.state(2, &[6]);
    read.expect("found 6 [1, 2]; repair n1 6; over");
}

#[test]
fn a_state_that_does_not_come_is_fetched_elsewhere() {
    let mut plan = three();
    plan.digests = true;
    let mut read: ReadScript<Latest> = plan.read();
    read.expect("read n1; digest n2");
    read.digest(2, &[5]);
    read.at(20);
    read.expect("read n2; digest n3");
    read.state(2, &[5]);
    read.digest(3, &[5]);
    read.expect("found 5 [2, 3]");
    // n1 is waited for a little longer: it may be behind.
    read.state(1, &[4]);
    read.expect("repair n1 5; over");
    // Or fails at once.
    let mut read: ReadScript<Latest> = plan.read();
    read.skip_effects();
    read.digest(2, &[5]);
    read.failed(1, Failure::Unreachable);
    read.expect("read n2; digest n3");
}

#[test]
fn a_replica_whose_state_will_not_come_has_not_answered() {
    let mut plan = three();
    plan.digests = true;
    let mut read: ReadScript<Latest> = plan.read();
    read.state(1, &[5]);
    read.digest(2, &[6]);
    read.expect("read n1; digest n2; read n2");
    read.failed(2, Failure::Silent);
    read.expect("digest n3");
    read.digest(3, &[5]);
    read.expect("found 5 [1, 3]; over");
}

#[test]
fn one_more_is_asked_when_one_fails_or_is_slow() {
    let mut read: ReadScript<Latest> = three().read();
    read.expect("read n1; read n2");
    read.failed(1, Failure::Overloaded);
    read.expect("read n3");
    read.state(2, &[5]);
    read.failed(3, Failure::Silent);
    read.expect("refused 1/2: TooFewAnswered; over");

    let mut read: ReadScript<Latest> = three().read();
    read.skip_effects();
    read.state(2, &[5]);
    read.at(19);
    read.expect("");
    read.at(20);
    read.expect("read n3");
    read.at(40);
    read.expect("");
    read.state(3, &[5]);
    read.expect("found 5 [2, 3]");
    read.at(60);
    read.expect("over");
}

#[test]
fn read_5_the_deadline_ends_it() {
    let mut read: ReadScript<Latest> = three().read();
    read.state(2, &[5]);
    read.at(20);
    read.skip_effects();
    read.at(1000);
    read.expect("refused 1/2: Deadline; over");
    read.state(3, &[5]);
    read.expect("");
}

#[test]
fn suspicious_replicas_come_last_and_those_that_are_down_not_at_all() {
    let mut plan = three();
    plan.best = vec![1, 2, 3];
    plan.health = vec![(1, Health::Suspicious)];
    plan.read::<Latest>().expect("read n2; read n3");
    plan.health.push((2, Health::Down));
    plan.read::<Latest>().expect("read n3; read n1");
    plan.health.push((3, Health::Down));
    plan.read::<Latest>()
        .expect("refused 0/2: TooFewUp(1); over");
    plan.level = Level::One;
    plan.read::<Latest>().expect("read n1");
}

#[test]
fn read_1_rebuilding_and_pending_replicas_are_not_asked() {
    let plan = ReadPlan::new(settled(1, &[1, 2]).and_rebuilding(3));
    let mut read: ReadScript<Latest> = plan.read();
    read.expect("read n1; read n2");
    // Nor is the answer of a stranger one.
    read.state(3, &[9]);
    read.state(7, &[9]);
    read.state(1, &[5]);
    read.at(20);
    read.expect("");
    let mut all = plan;
    all.level = Level::All;
    all.read::<Latest>()
        .expect("refused 0/0: Impossible(MoreThanReadable { needed: 3, readable: 2 }); over");

    let mut before = ReadPlan::new(moving(3, Stage::WriteBoth));
    before.level = Level::All;
    before.read::<Latest>().expect("read n1; read n2; read n3");
    before.table = moving(4, Stage::ReadNew);
    before.read::<Latest>().expect("read n2; read n3; read n4");
}

#[test]
fn read_3_a_monotonic_read_is_durable_before_it_is_answered() {
    let mut plan = three();
    plan.monotonic = true;
    let mut read: ReadScript<Latest> = plan.read();
    read.skip_effects();
    read.state(1, &[5]);
    read.state(2, &[5]);
    read.expect("found 5 [1, 2]; over");

    let mut read: ReadScript<Latest> = plan.read();
    read.skip_effects();
    read.state(1, &[5]);
    read.state(2, &[4]);
    read.expect("repair n2 5");
    read.repaired(2);
    read.expect("found 5 [1, 2]; over");

    // Somebody else has to have it, where the one that is behind does not take it.
    let mut read: ReadScript<Latest> = plan.read();
    read.skip_effects();
    read.state(1, &[5]);
    read.state(2, &[4]);
    read.expect("repair n2 5");
    read.not_repaired(2, Failure::DiskFull);
    read.expect("repair n3 5");
    // What comes meanwhile is not what is being made durable.
    read.state(3, &[6]);
    read.repaired(3);
    read.expect("found 5 [1, 2, 3]; repair n2 5; over");

    let mut read: ReadScript<Latest> = plan.read();
    read.skip_effects();
    read.state(1, &[5]);
    read.state(2, &[4]);
    read.not_repaired(2, Failure::DiskFull);
    read.not_repaired(3, Failure::Unreachable);
    read.expect("repair n2 5; repair n3 5; refused 2/2: NotRepaired; over");
}

#[test]
fn read_3_during_a_move_both_sets_have_it() {
    let mut plan = ReadPlan::new(moving(3, Stage::WriteBoth));
    plan.monotonic = true;
    let mut read: ReadScript<Latest> = plan.read();
    read.expect("read n1; read n2");
    read.state(1, &[5]);
    read.state(2, &[5]);
    // Of the new set (2, 3, 4), only 2 is known to have it.
    read.expect("repair n3 5; repair n4 5");
    read.repaired(4);
    read.expect("found 5 [1, 2]; over");
}

#[test]
fn a_fenced_read_goes_on_in_the_later_epoch() {
    let mut read: ReadScript<Latest> = three().read();
    read.skip_effects();
    read.state(1, &[5]);
    read.failed(2, Failure::Fenced(Epoch::new(4)));
    read.expect("read n3");
    read.failed(3, Failure::Fenced(Epoch::new(4)));
    read.expect("renew e4");
    read.renewed(&settled(1, &[1, 2, 3]));
    read.expect("");
    read.renewed(&moving(4, Stage::ReadNew));
    read.expect("read n2 #2 e4; read n3 #2 e4");
    // What has come is kept, but answers count anew; late ones of the earlier epoch do not.
    read.state(2, &[6]);
    read.state_of(2, 2, &[4]);
    read.state_of(2, 3, &[4]);
    read.expect("found 6 [2, 3]; repair n2 6; repair n3 6; over");
}

#[test]
fn nobody_waits_for_a_client_that_is_gone() {
    let mut read: ReadScript<Latest> = three().read();
    read.skip_effects();
    read.abandon();
    read.state(1, &[5]);
    read.state(2, &[4]);
    read.expect("over");
}
