//! Moves, rebuilding and settling (rules 11, 13, 14, 22), stage by stage: what each is refused without.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod cluster;

use cluster::{Cluster, P0, new_node, node, start_of};
use ringwood_protocol::topology::{Command, GoneStage, NodeState, Refused, Stage};
use ringwood_types::Incarnation;

fn few(refused: Refused) -> (u32, u32) {
    match refused {
        Refused::TooFewWitnesses { counted, needed } => (counted, needed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_node_becomes_three_and_every_stage_waits_for_its_barrier() {
    let mut cluster = Cluster::new(1);
    for n in [2, 3, 4] {
        cluster.must(Command::AddNode { node: new_node(n) });
    }
    cluster.want(&[1, 2, 3]);
    cluster.must(Command::Begin { partition: P0 });
    assert_eq!(cluster.nodes_of_p0(), [1]);
    assert_eq!(cluster.on(2).node, node(2));
    let again = cluster.refuses(Command::Begin { partition: P0 });
    assert_eq!(again, Refused::Moving { partition: P0 });
    // From N − W + 1 of one: the one.
    assert_eq!(few(cluster.refuses(cluster.streamed(vec![]))), (0, 1));
    assert!(matches!(
        cluster.refuses(cluster.read_new(vec![])),
        Refused::AnotherStage { .. }
    ));
    cluster.must(cluster.streamed(cluster.word(&[1])));
    assert_eq!(few(cluster.refuses(cluster.read_new(vec![]))), (0, 1));
    cluster.must(cluster.read_new(cluster.word(&[1])));
    assert_eq!(few(cluster.refuses(cluster.use_new(vec![]))), (0, 1));
    cluster.must(cluster.use_new(cluster.word(&[1])));
    // Nobody leaves: it is done.
    assert_eq!(cluster.nodes_of_p0(), [1, 2]);
    cluster.must(Command::Begin { partition: P0 });
    cluster.finish();
    assert_eq!(cluster.nodes_of_p0(), [1, 2, 3]);
    assert!(cluster.p0().gone.is_empty());
    let done = cluster.refuses(Command::Begin { partition: P0 });
    assert_eq!(done, Refused::NothingToMove { partition: P0 });
}

#[test]
fn a_move_gives_the_leavers_place_and_its_incarnation_is_settled_at_last() {
    let mut cluster = Cluster::of(3);
    cluster.must(Command::AddNode { node: new_node(4) });
    let leaver = cluster.on(2).incarnation;
    cluster.want(&[4, 1, 3]);
    let before = cluster.epoch();
    cluster.must(Command::Begin { partition: P0 });
    // topology-4: the leaver alone is enough, but only once it has applied the join.
    let early = vec![cluster.word_at(2, before)];
    assert_eq!(few(cluster.refuses(cluster.streamed(early))), (0, 2));
    assert_eq!(
        few(cluster.refuses(cluster.streamed(cluster.word(&[1])))),
        (1, 2)
    );
    cluster.must(cluster.streamed(cluster.word(&[2])));
    assert_eq!(
        few(cluster.refuses(cluster.read_new(cluster.word(&[1])))),
        (1, 2)
    );
    cluster.must(cluster.read_new(cluster.word(&[1, 3])));
    assert_eq!(
        cluster.nodes_of_p0(),
        [1, 2, 3],
        "the old set until nobody needs it"
    );
    // N − R + 1 of the old set, and not of the new one.
    assert_eq!(
        few(cluster.refuses(cluster.use_new(cluster.word(&[1, 4])))),
        (1, 2)
    );
    cluster.must(cluster.use_new(cluster.word(&[2, 3])));
    assert_eq!(
        cluster.nodes_of_p0(),
        [4, 1, 3],
        "in the order that was wanted"
    );
    let moves = cluster.p0().transition.clone().unwrap();
    assert_eq!(
        (moves.stage, moves.left.unwrap().node),
        (Stage::Cleanup, node(2))
    );
    assert!(matches!(
        cluster.refuses(cluster.abort()),
        Refused::TooLate { .. }
    ));
    let clean = |cluster: &Cluster, applied| Command::CleanedUp {
        partition: P0,
        began: cluster.began(),
        leaver: ringwood_protocol::topology::Witness {
            incarnation: leaver,
            applied,
        },
    };
    assert_eq!(few(cluster.refuses(clean(&cluster, moves.began))), (0, 1));
    cluster.must(clean(&cluster, cluster.epoch()));
    assert!(cluster.p0().transition.is_none());
    assert_eq!(cluster.p0().gone(leaver).unwrap().stage, GoneStage::Retired);
}

#[test]
fn a_joiner_streams_from_whole_replicas_only() {
    let mut cluster = Cluster::of(3);
    cluster.must(Command::AddNode { node: new_node(4) });
    cluster.want(&[1, 3, 4]);
    cluster.must(Command::Begin { partition: P0 });
    let start = start_of(2);
    cluster.must(Command::NewIncarnation {
        node: node(2),
        start,
        partitions: None,
    });
    assert_eq!(
        few(cluster.refuses(cluster.streamed(cluster.word(&[2])))),
        (0, 2)
    );
    assert_eq!(
        few(cluster.refuses(cluster.streamed(cluster.word(&[1, 2])))),
        (1, 2)
    );
    cluster.must(cluster.streamed(cluster.word(&[1, 3])));
}

#[test]
fn topology_4_a_joiner_that_is_wiped_begins_again() {
    let mut cluster = Cluster::of(3);
    cluster.must(Command::AddNode { node: new_node(4) });
    cluster.want(&[1, 3, 4]);
    cluster.must(Command::Begin { partition: P0 });
    let stale = cluster.streamed(cluster.word(&[2]));
    let (began, first) = (cluster.began(), cluster.on(4).incarnation);
    cluster.must(stale.clone());
    let start = start_of(4);
    cluster.must(Command::NewIncarnation {
        node: node(4),
        start,
        partitions: None,
    });
    let moves = cluster.p0().transition.clone().unwrap();
    assert_eq!(moves.stage, Stage::Join);
    assert!(moves.began > began && cluster.on(4).incarnation != first);
    assert!(cluster.p0().gone.is_empty(), "it had minted nothing");
    assert_eq!(
        cluster.refuses(stale),
        Refused::AnotherMove { partition: P0 }
    );
    // Behind read-new a wipe makes it rebuilding like any other, and the old set is kept until it is not.
    cluster.must(cluster.streamed(cluster.word(&[2])));
    cluster.must(cluster.read_new(cluster.word(&[1, 3])));
    cluster.must(Command::NewIncarnation {
        node: node(4),
        start,
        partitions: None,
    });
    assert!(cluster.on(4).rebuilding);
    let refused = cluster.refuses(cluster.use_new(cluster.everybody()));
    assert_eq!(refused, Refused::Rebuilding { node: node(4) });
    let rebuilt = Command::Rebuilt {
        partition: P0,
        incarnation: cluster.on(4).incarnation,
        compared: cluster.word(&[1, 3]),
        fence: cluster.word(&[1, 3]),
    };
    cluster.must(rebuilt);
    cluster.must(cluster.use_new(cluster.everybody()));
}

#[test]
fn a_move_is_undone_in_one_commit_before_it_is_read_and_in_two_behind() {
    let mut cluster = Cluster::of(3);
    cluster.must(Command::AddNode { node: new_node(4) });
    for streamed in [false, true] {
        cluster.want(&[1, 3, 4]);
        cluster.must(Command::Begin { partition: P0 });
        if streamed {
            cluster.must(cluster.streamed(cluster.word(&[2])));
        }
        let layout = cluster.topology.layout();
        cluster.must(cluster.abort());
        assert!(cluster.p0().transition.is_none() && cluster.p0().wanted.is_empty());
        assert_eq!(cluster.nodes_of_p0(), [1, 2, 3]);
        assert!(
            cluster.topology.layout() > layout,
            "plans made for it are void"
        );
    }
    cluster.want(&[1, 3, 4]);
    cluster.must(Command::Begin { partition: P0 });
    cluster.must(cluster.streamed(cluster.word(&[2])));
    cluster.must(cluster.read_new(cluster.word(&[1, 3])));
    let read = cluster.epoch();
    cluster.must(cluster.abort());
    let moves = cluster.p0().transition.clone().unwrap();
    assert_eq!(moves.stage, Stage::Back);
    // N − R + 1 of the new set have to know that the old one is read again.
    let stale = vec![cluster.word_at(1, read), cluster.word_at(4, read)];
    assert_eq!(few(cluster.refuses(cluster.abort_done(stale))), (0, 2));
    assert_eq!(
        few(cluster.refuses(cluster.abort_done(cluster.word(&[1, 2])))),
        (1, 2)
    );
    cluster.must(cluster.abort_done(cluster.word(&[3, 4])));
    assert_eq!(cluster.nodes_of_p0(), [1, 2, 3]);
    assert_eq!(
        cluster.p0().gone.len(),
        1,
        "a joiner that was read is settled"
    );
}

#[test]
fn topology_21_fewer_replicas_only_when_those_that_stay_have_everything() {
    let mut cluster = Cluster::of(3);
    cluster.want(&[1, 2]);
    cluster.must(Command::Begin { partition: P0 });
    assert_eq!(
        few(cluster.refuses(cluster.streamed(cluster.word(&[1])))),
        (1, 2)
    );
    cluster.must(cluster.streamed(cluster.word(&[1, 2])));
    cluster.must(cluster.read_new(vec![]));
    let start = start_of(2);
    cluster.must(Command::NewIncarnation {
        node: node(2),
        start,
        partitions: None,
    });
    let refused = cluster.refuses(cluster.use_new(cluster.everybody()));
    assert_eq!(refused, Refused::Rebuilding { node: node(2) });
    cluster.must(cluster.abort());
    cluster.must(cluster.abort_done(cluster.word(&[1, 2])));
    assert_eq!(cluster.nodes_of_p0(), [1, 2, 3]);
    // And none begins while somebody is rebuilding.
    cluster.want(&[1, 2]);
    let refused = cluster.refuses(Command::Begin { partition: P0 });
    assert_eq!(refused, Refused::NothingToMove { partition: P0 });
}

#[test]
fn topology_21_there_is_no_way_back_to_replicas_that_have_lost_everything() {
    let mut cluster = Cluster::new(1);
    cluster.must(Command::AddNode { node: new_node(2) });
    cluster.want(&[2]);
    cluster.must(Command::Begin { partition: P0 });
    cluster.must(cluster.streamed(cluster.word(&[1])));
    cluster.must(cluster.read_new(vec![]));
    let start = start_of(1);
    let wiped = Command::NewIncarnation {
        node: node(1),
        start,
        partitions: None,
    };
    cluster.must(wiped);
    let refused = cluster.refuses(cluster.abort());
    assert_eq!(refused, Refused::Rebuilding { node: node(1) });
    cluster.must(cluster.use_new(cluster.word(&[1])));
    assert_eq!(cluster.nodes_of_p0(), [2]);
}

#[test]
fn topology_21_nobody_reads_a_smaller_set_that_is_not_whole() {
    let mut cluster = Cluster::of(2);
    cluster.want(&[1]);
    cluster.must(Command::Begin { partition: P0 });
    cluster.must(cluster.streamed(cluster.word(&[1])));
    let start = start_of(1);
    cluster.must(Command::NewIncarnation {
        node: node(1),
        start,
        partitions: None,
    });
    let refused = cluster.refuses(cluster.read_new(vec![]));
    assert_eq!(refused, Refused::Rebuilding { node: node(1) });
}

#[test]
fn topology_26_a_disk_that_lost_something_serves_again_when_enough_have_given_it_back() {
    let mut cluster = Cluster::of(3);
    let before = cluster.epoch();
    let old = cluster.on(2).incarnation;
    let start = start_of(2) + 1;
    cluster.must(Command::NewIncarnation {
        node: node(2),
        start,
        partitions: None,
    });
    let replica = cluster.on(2);
    assert!(replica.rebuilding && replica.incarnation != old);
    assert_eq!(cluster.p0().gone(old).unwrap().stage, GoneStage::Retired);
    let rebuilt = |compared, fence| Command::Rebuilt {
        partition: P0,
        incarnation: replica.incarnation,
        compared,
        fence,
    };
    let both = cluster.word(&[1, 3]);
    let one = cluster.word(&[1]);
    assert_eq!(
        few(cluster.refuses(rebuilt(one.clone(), both.clone()))),
        (1, 2)
    );
    assert_eq!(few(cluster.refuses(rebuilt(both.clone(), one))), (1, 2));
    let early = vec![
        cluster.word_at(1, before),
        cluster.word_at(3, cluster.epoch()),
    ];
    assert_eq!(few(cluster.refuses(rebuilt(early, both.clone()))), (1, 2));
    let of_old = Command::Rebuilt {
        partition: P0,
        incarnation: old,
        compared: both.clone(),
        fence: both.clone(),
    };
    assert!(matches!(
        cluster.refuses(of_old),
        Refused::UnknownIncarnation { .. }
    ));
    cluster.must(rebuilt(both.clone(), both.clone()));
    assert!(!cluster.on(2).rebuilding);
    // A source that was replaced since does not count.
    let word_of_3 = both[1];
    for n in [1, 3] {
        let start = start_of(n);
        cluster.must(Command::NewIncarnation {
            node: node(n),
            start,
            partitions: Some(vec![P0]),
        });
    }
    let stale = Command::Rebuilt {
        partition: P0,
        incarnation: cluster.on(1).incarnation,
        compared: vec![cluster.word(&[2])[0], word_of_3],
        fence: cluster.word(&[2]),
    };
    assert_eq!(few(cluster.refuses(stale)), (1, 2));
}

#[test]
fn what_too_few_are_left_for_needs_a_persons_word() {
    let mut cluster = Cluster::of(3);
    let lost = Command::AcceptLoss { partition: P0 };
    assert_eq!(
        cluster.refuses(lost.clone()),
        Refused::NothingLost { partition: P0 }
    );
    for n in [1, 2] {
        let start = start_of(n);
        cluster.must(Command::NewIncarnation {
            node: node(n),
            start,
            partitions: None,
        });
    }
    let rebuilt = |cluster: &Cluster, n, from: &[u64]| Command::Rebuilt {
        partition: P0,
        incarnation: cluster.on(n).incarnation,
        compared: cluster.word(from),
        fence: cluster.word(from),
    };
    assert_eq!(few(cluster.refuses(rebuilt(&cluster, 1, &[3]))), (1, 2));
    cluster.must(lost.clone());
    assert_eq!(
        few(cluster.refuses(rebuilt(&cluster, 1, &[]))),
        (0, 1),
        "what is left is used"
    );
    cluster.must(rebuilt(&cluster, 1, &[3]));
    assert!(cluster.p0().loss_accepted);
    assert_eq!(few(cluster.refuses(rebuilt(&cluster, 2, &[3]))), (1, 2));
    cluster.must(rebuilt(&cluster, 2, &[1, 3]));
    assert!(!cluster.p0().loss_accepted, "it ends with the emergency");
}

#[test]
fn the_only_replica_s_dead_node_is_replaced_with_a_persons_word_only() {
    let mut cluster = Cluster::new(1);
    cluster.must(Command::AddNode { node: new_node(2) });
    let dead = |by_operator| Command::MarkPermanentlyFailed {
        node: node(1),
        by_operator,
    };
    cluster.must(dead(false));
    let remove = Command::Remove {
        node: node(1),
        fewer: true,
    };
    assert_eq!(
        cluster.refuses(remove.clone()),
        Refused::LastCopy { partition: P0 }
    );
    cluster.want(&[2]);
    cluster.must(Command::Begin { partition: P0 });
    assert_eq!(few(cluster.refuses(cluster.streamed(vec![]))), (0, 1));
    cluster.must(Command::AcceptLoss { partition: P0 });
    cluster.must(remove);
    cluster.must(cluster.streamed(vec![]));
    cluster.must(cluster.read_new(vec![]));
    cluster.must(cluster.use_new(vec![]));
    assert_eq!(cluster.nodes_of_p0(), [2]);
    assert!(
        cluster.p0().transition.is_none(),
        "nobody waits for the dead to clean up"
    );
    assert_eq!(
        cluster.topology.node(node(1)).unwrap().state,
        NodeState::Removed
    );
}

#[test]
fn an_unclean_start_closes_the_old_stint_in_one_commit() {
    let mut cluster = Cluster::of(3);
    let first = cluster.on(2).incarnation;
    let unclean = |previous, start| Command::UncleanStart {
        node: node(2),
        previous,
        start,
    };
    cluster.must(unclean(start_of(2), 77));
    let second = cluster.on(2);
    assert!(!second.rebuilding && second.incarnation != first);
    let open = |minter| GoneStage::Open { minter };
    assert_eq!(
        cluster.p0().gone(first).unwrap().stage,
        open(second.incarnation)
    );
    assert_eq!(
        cluster.p0().members_since,
        cluster.epoch(),
        "others ask anew"
    );
    // The same start again changes nothing; another one speaks for both.
    let epoch = cluster.epoch();
    assert_eq!(cluster.must(unclean(start_of(2), 77)).epoch, epoch);
    cluster.must(unclean(77, 78));
    let third = cluster.on(2).incarnation;
    for gone in [first, second.incarnation] {
        assert_eq!(cluster.p0().gone(gone).unwrap().stage, open(third));
    }
    // Its word is everywhere: the clocks need not list it.
    let forget = |covered| Command::Forget {
        partition: P0,
        incarnation: first,
        covered,
    };
    assert_eq!(few(cluster.refuses(forget(cluster.word(&[1, 2])))), (2, 3));
    cluster.must(forget(cluster.word(&[1, 2, 3])));
    assert!(cluster.p0().gone(first).is_none());
    // If the minter goes before that, its dots are settled like any others.
    cluster.must(Command::NewIncarnation {
        node: node(2),
        start: 79,
        partitions: None,
    });
    for gone in [second.incarnation, third] {
        assert_eq!(cluster.p0().gone(gone).unwrap().stage, GoneStage::Retired);
    }
}

#[test]
fn an_incarnation_is_settled_stage_by_stage() {
    let mut cluster = Cluster::of(3);
    let gone = cluster.on(2).incarnation;
    let start = start_of(2);
    cluster.must(Command::NewIncarnation {
        node: node(2),
        start,
        partitions: None,
    });
    let retired = cluster.epoch();
    let close = |clear: &[(u64, ringwood_types::Epoch)]| Command::Close {
        closing: vec![(P0, gone)],
        clear: clear.iter().map(|&(n, at)| (node(n), at)).collect(),
    };
    let settle = |agreed| Command::Settle {
        partition: P0,
        incarnation: gone,
        agreed,
    };
    let all = cluster.everybody();
    assert!(matches!(
        cluster.refuses(settle(all)),
        Refused::AnotherGoneStage { .. }
    ));
    assert_eq!(
        few(cluster.refuses(close(&[(1, retired), (2, retired)]))),
        (2, 3)
    );
    let early = ringwood_types::Epoch::new(retired.get() - 1);
    let refused = cluster.refuses(close(&[(1, retired), (2, retired), (3, early)]));
    assert_eq!(few(refused), (2, 3));
    cluster.must(close(&[(1, retired), (2, retired), (3, retired)]));
    // All current replicas, rebuilding ones too, at the epoch that closed it.
    let stale = vec![
        cluster.word_at(1, retired),
        cluster.word(&[2])[0],
        cluster.word(&[3])[0],
    ];
    assert_eq!(few(cluster.refuses(settle(stale))), (2, 3));
    assert_eq!(few(cluster.refuses(settle(cluster.word(&[1, 3])))), (2, 3));
    cluster.must(settle(cluster.everybody()));
    let with: Vec<_> = [1, 2, 3].map(|n| cluster.on(n).incarnation).to_vec();
    assert_eq!(
        cluster.p0().gone(gone).unwrap().stage,
        GoneStage::Settled { with }
    );
    cluster.must(Command::Forget {
        partition: P0,
        incarnation: gone,
        covered: cluster.everybody(),
    });
    assert!(cluster.p0().gone.is_empty());
}

#[test]
fn settling_waits_for_a_joiner_too() {
    let mut cluster = Cluster::of(3);
    cluster.must(Command::AddNode { node: new_node(4) });
    let gone = cluster.on(2).incarnation;
    let start = start_of(2);
    cluster.must(Command::NewIncarnation {
        node: node(2),
        start,
        partitions: None,
    });
    let clear = (1..=4).map(|n| (node(n), cluster.epoch())).collect();
    cluster.must(Command::Close {
        closing: vec![(P0, gone)],
        clear,
    });
    cluster.want(&[1, 3, 4]);
    cluster.must(Command::Begin { partition: P0 });
    let settle = |agreed| Command::Settle {
        partition: P0,
        incarnation: gone,
        agreed,
    };
    assert_eq!(
        few(cluster.refuses(settle(cluster.word(&[1, 2, 3])))),
        (3, 4)
    );
    cluster.must(settle(cluster.word(&[1, 2, 3, 4])));
}

#[test]
fn a_guest_is_retired_up_to_where_it_came() {
    let mut cluster = Cluster::of(3);
    let guest = cluster.topology.node(node(2)).unwrap().guest;
    let retire = |incarnation, up_to| Command::Retire {
        partition: P0,
        incarnation,
        up_to,
    };
    let refused = Refused::UnknownIncarnation { incarnation: guest };
    assert_eq!(cluster.refuses(retire(guest, None)), refused, "it goes on");
    cluster.must(retire(guest, Some(9)));
    let known = cluster.p0().gone(guest).unwrap();
    assert_eq!((known.up_to, &known.stage), (Some(9), &GoneStage::Retired));
    assert!(matches!(
        cluster.refuses(retire(guest, Some(12))),
        Refused::AnotherGoneStage { .. }
    ));
    let owner = cluster.on(1).incarnation;
    let unheard_of = Incarnation::new(1 << 40);
    for incarnation in [owner, unheard_of] {
        let refused = cluster.refuses(retire(incarnation, Some(1)));
        assert_eq!(refused, Refused::UnknownIncarnation { incarnation });
    }
}
