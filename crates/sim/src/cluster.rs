//! A cluster's topology, for worlds whose topology stands still.

use ringwood_node::Identity;
use ringwood_protocol::topology::{
    Command, CommandId, NewNode, Origin, Request, Topology, Wanted, Witness,
};
use ringwood_types::{ClusterId, NamespaceId, NodeId, PartitionId};

/// Replicas of each partition, as far as there are nodes.
const REPLICAS: usize = 3;

/// The first of `identities` is the first node; the others join, and partitions go round.
pub(crate) fn settled(identities: &[Identity]) -> Topology {
    let first = identities.first().expect("a cluster has a node");
    let mut proposer = Proposer {
        topology: Topology::bootstrap(Origin {
            cluster: ClusterId::new(1),
            node: new_node(0, first.node),
            incarnation: first.incarnation,
            ring: first.ring,
            cursor_secret: *first.cursor_secret(),
            namespaces: Vec::new(),
            next_namespace: NamespaceId::new(2),
        }),
        number: 0,
    };
    for (at, identity) in identities.iter().enumerate().skip(1) {
        proposer.must(Command::AddNode {
            node: new_node(at, identity.node),
        });
    }
    let nodes: Vec<NodeId> = identities.iter().map(|one| one.node).collect();
    let partitions: Vec<PartitionId> = first.ring.partitions().iter().collect();
    let wanted = partitions.iter().map(|&partition| Wanted {
        partition,
        nodes: (0..REPLICAS.min(nodes.len()))
            .map(|at| nodes[(partition.index() + at) % nodes.len()])
            .collect(),
    });
    proposer.must(Command::ApplyPlan {
        based_on: proposer.topology.layout(),
        wanted: wanted.collect(),
    });
    for partition in partitions {
        while !proposer.topology.partitions()[partition.index()]
            .wanted
            .is_empty()
        {
            proposer.step(partition);
        }
    }
    proposer.topology
}

fn new_node(at: usize, id: NodeId) -> NewNode {
    NewNode {
        id,
        name: format!("n{at}"),
        peer_address: format!("n{at}:7410"),
        client_address: format!("n{at}:7400"),
        zone: String::new(),
        weight: 100,
        start: id.get(),
    }
}

struct Proposer {
    topology: Topology,
    number: u64,
}

impl Proposer {
    fn must(&mut self, command: Command) {
        self.number += 1;
        let id = CommandId {
            proposer: self.topology.nodes().next().expect("a node").id,
            number: self.number,
        };
        let outcome = self.topology.apply(&Request { id, command });
        outcome.expect("a command that is sound");
    }

    /// One step of a partition to where it is wanted. Nothing is stored yet: everybody has seen everything.
    fn step(&mut self, partition: PartitionId) {
        self.must(Command::Begin { partition });
        let began = self.began(partition);
        let sources = self.word(partition);
        self.must(Command::Streamed {
            partition,
            began,
            sources,
        });
        let fence = self.word(partition);
        self.must(Command::ReadNew {
            partition,
            began,
            fence,
        });
        let applied = self.word(partition);
        let leaver = self.leaver(partition);
        self.must(Command::UseNew {
            partition,
            began,
            applied,
        });
        if let Some(mut leaver) = leaver {
            leaver.applied = self.topology.epoch();
            self.must(Command::CleanedUp {
                partition,
                began,
                leaver,
            });
        }
    }

    fn began(&self, partition: PartitionId) -> ringwood_types::Epoch {
        let partition = &self.topology.partitions()[partition.index()];
        partition.transition.as_ref().expect("it moves").began
    }

    fn word(&self, partition: PartitionId) -> Vec<Witness> {
        let members = self.topology.partitions()[partition.index()].members();
        let word = members.map(|replica| Witness {
            incarnation: replica.incarnation,
            applied: self.topology.epoch(),
        });
        word.collect()
    }

    fn leaver(&self, partition: PartitionId) -> Option<Witness> {
        let partition = &self.topology.partitions()[partition.index()];
        let leaves = partition.transition.as_ref()?.leaves?;
        let incarnation = partition.replica(leaves)?.incarnation;
        Some(Witness {
            incarnation,
            applied: self.topology.epoch(),
        })
    }
}
