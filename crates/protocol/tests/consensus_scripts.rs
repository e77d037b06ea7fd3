//! Stories that random worlds seldom tell, step by step.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod order;
mod small;

use ringwood_protocol::consensus::{Body, Change, Index, Message, Outcome, Role, Round, Term};
use ringwood_types::NodeId;

use small::{Planted, Small};

fn node(n: u64) -> NodeId {
    NodeId::new(n)
}

/// Figure 8 of the Raft paper, with three nodes: an entry of an old term on a majority is not
/// committed, for a node without it may still be elected.
fn figure_8(planted: Planted) -> Option<String> {
    let mut small = Small::new(3, 3, true, planted);
    small.elect(1, &[2]);
    assert_eq!(
        (small.role(1), small.term(1), small.last(1)),
        (Role::Leader, 2, 2)
    );
    // Nobody hears of its entry; 3 leads with another one, of which nobody hears.
    small.elect(3, &[2]);
    assert_eq!(
        (small.role(3), small.term(3), small.last(3)),
        (Role::Leader, 3, 2)
    );
    small.crash(1, 0);
    small.crash(3, 0);
    // 1 does not know of term 3 yet.
    small.elect(1, &[2]);
    assert_eq!((small.role(1), small.term(1)), (Role::Leader, 4));
    // Its first entry goes to a majority, its entry of term 4 does not.
    let reply = |body: &Body| matches!(body, Body::AppendReply { .. });
    while small.last(2) < 2 {
        assert!(small.pass_one(1, 2, |body| matches!(body, Body::Append { .. })));
        assert!(small.pass_one(2, 1, reply));
    }
    small.crash(1, 0);
    // 3 has the later term at its end, and is elected by 2.
    small.elect(3, &[2]);
    assert_eq!(small.role(3), Role::Leader);
    small.talk(&[2, 3]);
    small.wake(3);
    small.talk(&[2, 3]);
    small.wake(3);
    small.talk(&[1, 2, 3]);
    assert!(planted.is_some() || small.applied(1) == small.applied(3));
    small.violation
}

#[test]
fn raft_3_copies_of_an_older_terms_entry_commit_nothing() {
    assert_eq!(figure_8(None), None);
}

/// A leader that has committed nothing in its term may not know what the members are.
///
/// Four nodes. 1 appends its own removal of 4 and is gone before anybody hears; 2 is elected by all
/// four and adds 5, which commits. If 1 may be elected by {1, 3} and change at once, two majorities
/// that do not meet decide.
fn change_before_commit(planted: Planted) -> Option<String> {
    let mut small = Small::new(5, 4, true, planted);
    small.elect(1, &[2, 3]);
    small.talk(&[1, 2, 3, 4]);
    small.wake(1);
    small.talk(&[1, 2, 3, 4]);
    // 1 begins to make do without 4, of which nobody hears.
    small.change(1, 100, Change::Remove(node(4)));
    small.lose_all();
    small.elect(2, &[3, 4]);
    assert_eq!(small.role(2), Role::Leader);
    // 2 has committed nothing of its own, and takes a change all the same: without 3.
    small.change(2, 101, Change::Remove(node(3)));
    let refused = small.outcomes.get(&101) == Some(&Outcome::NotApplied);
    if refused {
        return small.violation;
    }
    // {2, 4} is a majority of {1, 2, 4}: it commits.
    small.talk(&[2, 4]);
    small.wake(2);
    small.talk(&[2, 4]);
    // {1, 3} is a majority of {1, 2, 3}: 1 is elected, and goes on.
    small.crash(1, 0);
    small.elect(1, &[3]);
    small.talk(&[1, 3]);
    small.wake(1);
    small.talk(&[1, 3]);
    small.violation
}

#[test]
fn raft_4_no_change_before_a_commit_of_the_term() {
    assert_eq!(change_before_commit(None), None);
}

#[test]
fn a_sole_voter_that_crashes_does_not_take_back_what_its_learner_has() {
    let mut small = Small::new(2, 1, false, None);
    small.wake(1);
    small.write_all(1);
    assert_eq!(small.role(1), Role::Leader);
    small.change(1, 1, Change::AddLearner(node(2)));
    small.talk(&[1, 2]);
    small.wake(1);
    small.talk(&[1, 2]);
    assert_eq!(small.applied(2), small.applied(1));
    // Elected again, with nothing of that term on its disk: nothing of it may have left.
    small.crash(1, 0);
    small.wake(1);
    let before = small.net.len();
    assert_eq!(
        before, 0,
        "a message of a term that is not durable: {:?}",
        small.net
    );
    small.propose(1, 7);
    small.crash(1, 0);
    small.wake(1);
    small.write_all(1);
    small.propose(1, 8);
    small.talk(&[1, 2]);
    small.wake(1);
    small.talk(&[1, 2]);
    assert_eq!(
        (small.applied(2), small.violation.take()),
        (small.applied(1), None)
    );
    assert!(matches!(small.outcomes[&8], Outcome::Applied(_)));
}

#[test]
fn a_joint_change_needs_both_majorities() {
    joint_change(None);
}

fn joint_change(planted: Planted) {
    let mut small = Small::new(4, 3, true, planted);
    small.elect(1, &[2]);
    small.talk(&[1, 2, 3]);
    small.change(1, 1, Change::AddLearner(node(4)));
    small.talk(&[1, 2, 3, 4]);
    small.wake(1);
    small.talk(&[1, 2, 3, 4]);
    small.change(
        1,
        2,
        Change::Replace {
            joins: node(4),
            leaves: node(3),
        },
    );
    assert!(small.members(1).is_joint());
    let before = small.commit(1);
    // {1, 4} is no majority of the old voters, and {1, 3} none of the new ones.
    small.talk(&[1, 4]);
    assert_eq!(small.commit(1), before);
    small.lose_all();
    small.talk(&[1, 3]);
    assert_eq!(small.commit(1), before);
    small.wake(1);
    small.talk(&[1, 2, 3, 4]);
    small.wake(1);
    small.talk(&[1, 2, 3, 4]);
    let members = small.members(1);
    assert!(!members.is_joint());
    assert_eq!(members.voters(), [node(1), node(2), node(4)]);
    assert_eq!(members.learners(), [node(3)]);
    assert!(matches!(small.outcomes[&2], Outcome::Applied(_)));
}

#[test]
fn a_configuration_goes_with_its_entry_and_comes_with_a_snapshot() {
    configurations(None);
}

fn configurations(planted: Planted) {
    let mut small = Small::new(4, 4, true, planted);
    let settle = |small: &mut Small, leader, among: &[u64]| {
        for _ in 0..2 {
            small.talk(among);
            small.wake(leader);
        }
        small.talk(among);
    };
    small.elect(1, &[2, 3]);
    settle(&mut small, 1, &[1, 2, 3, 4]);
    small.change(1, 1, Change::Remove(node(3)));
    assert_eq!(small.members(1).voters().len(), 3);
    small.elect(2, &[3, 4]);
    settle(&mut small, 2, &[1, 2, 3, 4]);
    assert_eq!(small.members(1).voters().len(), 4, "its entry was cut off");
    assert_eq!(small.outcomes[&1], Outcome::NotApplied);
    // 3 hears nothing of what follows, until only a snapshot can tell it.
    small.change(2, 2, Change::Remove(node(1)));
    small.propose(2, 3);
    settle(&mut small, 2, &[2, 4]);
    assert!(matches!(small.outcomes[&3], Outcome::Applied(_)));
    small.compact(2);
    small.lose_all();
    small.wake(2);
    settle(&mut small, 2, &[2, 3, 4]);
    assert_eq!(small.members(3).voters(), [node(2), node(3), node(4)]);
    assert_eq!(
        (small.applied(3), small.violation.take()),
        (small.applied(2), None)
    );
}

#[test]
fn a_learner_that_lags_gets_no_vote() {
    lagging_learner(None);
}

fn lagging_learner(planted: Planted) {
    let mut small = Small::new(2, 1, true, planted);
    small.wake(1);
    small.change(1, 1, Change::AddLearner(node(2)));
    for number in 10..80 {
        small.propose(1, number);
    }
    small.change(1, 2, Change::Promote(node(2)));
    assert_eq!(small.outcomes.get(&2), Some(&Outcome::NotApplied));
}

#[test]
fn a_member_that_is_empty_gets_a_snapshot_whose_members_lack_it() {
    let mut small = Small::new(2, 1, true, None);
    small.wake(1);
    for number in 1..6 {
        small.propose(1, number);
    }
    // Cut before 2 is a member.
    small.compact(1);
    small.change(1, 9, Change::AddLearner(node(2)));
    small.talk(&[1, 2]);
    small.wake(1);
    small.talk(&[1, 2]);
    assert_eq!(
        (small.applied(2), small.violation.take()),
        (small.applied(1), None)
    );
    small.change(1, 10, Change::Promote(node(2)));
    small.talk(&[1, 2]);
    assert_eq!(small.members(2).voters().len(), 2);
}

#[test]
fn a_removed_leader_leads_until_that_is_committed_and_no_longer() {
    let mut small = Small::new(3, 3, true, None);
    small.elect(1, &[2]);
    small.talk(&[1, 2, 3]);
    small.wake(1);
    small.talk(&[1, 2, 3]);
    small.change(1, 1, Change::Remove(node(1)));
    assert_eq!(small.role(1), Role::Leader);
    small.propose(1, 2);
    assert_eq!(
        small.outcomes.get(&2),
        Some(&Outcome::NotApplied),
        "it does not count itself"
    );
    small.talk(&[1, 2, 3]);
    assert_eq!(small.role(1), Role::Follower);
    small.elect(2, &[3]);
    assert_eq!(small.role(2), Role::Leader);
}

#[test]
fn a_node_removed_by_an_uncommitted_change_still_stands_for_election() {
    let mut small = Small::new(2, 2, true, None);
    small.elect(1, &[2]);
    small.talk(&[1, 2]);
    small.wake(1);
    small.talk(&[1, 2]);
    // 2 does not hear of it, and its log is too short for 1's vote: only 1 can lead.
    small.change(1, 1, Change::Remove(node(1)));
    small.lose_all();
    small.crash(1, 0);
    small.elect(2, &[1]);
    assert_eq!(small.role(2), Role::Follower);
    small.elect(1, &[2]);
    assert_eq!(
        small.role(1),
        Role::Leader,
        "its log is the one that is needed"
    );
    small.talk(&[1, 2]);
    assert_eq!(small.role(1), Role::Follower, "the change is committed");
    small.elect(2, &[]);
    assert_eq!(small.role(2), Role::Leader);
}

#[test]
fn raft_5_a_deposed_leader_answers_no_read() {
    let mut small = Small::new(3, 3, true, None);
    small.elect(1, &[2]);
    small.talk(&[1, 2, 3]);
    small.wake(1);
    small.talk(&[1, 2, 3]);
    small.elect(2, &[3]);
    small.talk(&[2, 3]);
    small.propose(2, 5);
    small.talk(&[2, 3]);
    assert!(matches!(small.outcomes[&5], Outcome::Applied(_)));
    let read = small.read(1, 1);
    assert_eq!(small.reads.get(&read), None, "it cannot know");
    small.talk(&[1, 2, 3]);
    assert_eq!(small.reads.get(&read), None);
    let read = small.read(2, 2);
    small.talk(&[2, 3]);
    assert_eq!(small.reads.get(&read), Some(&Index::new(small.commit(2))));
    let followers = small.read(3, 3);
    small.wake(2);
    small.talk(&[2, 3]);
    assert!(small.reads.contains_key(&followers));
}

#[test]
fn raft_5_an_answer_to_an_older_question_confirms_no_newer_read() {
    let mut small = Small::new(3, 3, true, None);
    small.elect(1, &[2]);
    small.talk(&[1, 2, 3]);
    small.wake(1);
    small.talk(&[1, 2, 3]);
    let first = small.read(1, 1);
    let reply = |body: &Body| matches!(body, Body::AppendReply { .. });
    // 2 has answered the first read's round; the answer is still under way.
    small.pass(1, 2);
    // Meanwhile another leads, and something is acknowledged by it.
    let answers: Vec<_> = small
        .net
        .iter()
        .filter(|one| one.0 == 2 && reply(&one.2.body))
        .cloned()
        .collect();
    small.elect(3, &[2]);
    small.talk(&[2, 3]);
    small.propose(3, 5);
    small.talk(&[2, 3]);
    let second = small.read(1, 2);
    small.net.extend(answers);
    small.pass(2, 1);
    assert!(small.reads.contains_key(&first), "it began before");
    assert_eq!(
        small.reads.get(&second),
        None,
        "it began after 5 was acknowledged"
    );
}

#[test]
fn a_leader_hands_over_to_a_voter_that_has_everything() {
    let mut small = Small::new(3, 3, true, None);
    small.elect(1, &[2]);
    small.talk(&[1, 2, 3]);
    small.transfer(1, 3);
    small.propose(1, 4);
    assert_eq!(
        small.outcomes[&4],
        Outcome::NotApplied,
        "not while it hands over"
    );
    small.talk(&[1, 2, 3]);
    assert_eq!(
        (small.role(3), small.role(1)),
        (Role::Leader, Role::Follower)
    );
}

#[test]
fn a_stale_rejection_makes_no_storm() {
    let mut small = Small::new(2, 2, true, None);
    small.elect(1, &[2]);
    for number in 1..4 {
        small.propose(1, number);
    }
    small.talk(&[1, 2]);
    // A refusal of long ago comes again.
    let body = Body::AppendReply {
        ok: false,
        index: Index::ZERO,
        prev: Index::new(1),
        round: Round::default(),
    };
    let term = Term::new(small.term(1));
    small.net.push((2, 1, Message { term, body }));
    small.pass(2, 1);
    assert!(small.net.is_empty(), "{:?}", small.net);
}

#[cfg(feature = "plant")]
mod plants {
    use ringwood_protocol::consensus::plant::Plant;

    use super::*;

    #[test]
    fn figure_8_finds_a_leader_that_counts_copies_of_older_terms() {
        let found = figure_8(Some(Plant::OlderTermCounted));
        assert!(found.is_some_and(|why| why.contains("raft-2")));
    }

    #[test]
    fn two_majorities_are_found_that_never_met() {
        let found = change_before_commit(Some(Plant::ChangeBeforeCommit));
        assert!(found.is_some_and(|why| why.contains("raft-2")));
    }

    #[test]
    fn stories_of_changes_find_their_defects() {
        let stories: [(Plant, fn(Planted)); 3] = [
            (Plant::OldQuorumIgnored, joint_change),
            (Plant::ConfigurationKept, configurations),
            (Plant::PromotedUnseen, lagging_learner),
        ];
        for (defect, story) in stories {
            let told = std::panic::catch_unwind(|| story(Some(defect)));
            assert!(told.is_err(), "{defect:?} is not found");
        }
    }
}
