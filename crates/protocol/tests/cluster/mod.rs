//! A cluster's topology and whoever proposes commands to it, for the tests of both.

pub mod history;

use ringwood_protocol::topology::{
    Applied, Command, CommandId, NewNode, Origin, Outcome, Partition, Refused, Replica, Request,
    Topology, Wanted, Witness,
};
use ringwood_protocol::topology::{DEFAULT_NAMESPACE, Namespace};
use ringwood_types::{
    ClusterId, Epoch, Incarnation, NamespaceId, NodeId, PartitionCount, PartitionId, Ring,
};

pub const P0: PartitionId = PartitionId::new(0);
/// What the first node's store had drawn for itself.
pub const DRAWN: Incarnation = Incarnation::new(3);

pub fn node(n: u64) -> NodeId {
    NodeId::new(n)
}

pub fn new_node(n: u64) -> NewNode {
    NewNode {
        id: node(n),
        name: format!("n{n}"),
        peer_address: format!("127.0.0.{n}:7410"),
        client_address: format!("127.0.0.{n}:7400"),
        zone: String::new(),
        weight: 100,
        start: start_of(n),
    }
}

pub fn start_of(n: u64) -> u64 {
    n * 1000
}

pub fn origin(partitions: u32) -> Origin {
    let namespace = |id, name: &str| Namespace {
        id: NamespaceId::new(id),
        name: name.into(),
        policy: (*b"{}").into(),
        revision: 1,
    };
    Origin {
        cluster: ClusterId::new(0xc1),
        node: new_node(1),
        incarnation: DRAWN,
        ring: Ring::new(PartitionCount::new(partitions).unwrap(), 42),
        cursor_secret: [7; 32],
        namespaces: vec![
            namespace(DEFAULT_NAMESPACE.get(), "default"),
            namespace(4, "photos"),
        ],
        next_namespace: NamespaceId::new(9),
    }
}

pub struct Cluster {
    pub topology: Topology,
    pub number: u64,
}

impl Cluster {
    pub fn new(partitions: u32) -> Self {
        Self {
            topology: Topology::bootstrap(origin(partitions)),
            number: 0,
        }
    }

    /// One partition on nodes 1 to `n`, all whole.
    pub fn of(n: u64) -> Self {
        let mut cluster = Self::new(1);
        cluster.spread(n);
        cluster
    }

    pub fn spread(&mut self, n: u64) {
        for one in 2..=n {
            self.must(Command::AddNode {
                node: new_node(one),
            });
        }
        self.want(&(1..=n).collect::<Vec<_>>());
        while !self.p0().wanted.is_empty() {
            self.must(Command::Begin { partition: P0 });
            self.finish();
        }
    }

    pub fn try_to(&mut self, command: Command) -> Outcome {
        self.number += 1;
        let id = CommandId {
            proposer: node(1),
            number: self.number,
        };
        let outcome = self.topology.apply(&Request { id, command });
        self.topology.check().unwrap();
        outcome
    }

    #[track_caller]
    pub fn must(&mut self, command: Command) -> Applied {
        self.try_to(command).unwrap()
    }

    #[track_caller]
    pub fn refuses(&mut self, command: Command) -> Refused {
        self.try_to(command).unwrap_err()
    }

    pub fn want(&mut self, nodes: &[u64]) {
        let nodes = nodes.iter().copied().map(node).collect();
        let wanted = vec![Wanted {
            partition: P0,
            nodes,
        }];
        let based_on = self.topology.layout();
        self.must(Command::ApplyPlan { based_on, wanted });
    }

    pub fn p0(&self) -> &Partition {
        &self.topology.partitions()[0]
    }

    pub fn epoch(&self) -> Epoch {
        self.topology.epoch()
    }

    pub fn began(&self) -> Epoch {
        self.p0().transition.as_ref().unwrap().began
    }

    /// The replica, or the joiner, on a node.
    pub fn on(&self, n: u64) -> Replica {
        let mut members = self.p0().members();
        *members.find(|one| one.node == node(n)).unwrap()
    }

    /// The word of the members on these nodes, given now.
    pub fn word(&self, nodes: &[u64]) -> Vec<Witness> {
        let word = |n: &u64| self.word_at(*n, self.epoch());
        nodes.iter().map(word).collect()
    }

    pub fn word_at(&self, n: u64, applied: Epoch) -> Witness {
        Witness {
            incarnation: self.on(n).incarnation,
            applied,
        }
    }

    pub fn everybody(&self) -> Vec<Witness> {
        let left = self.p0().transition.as_ref().and_then(|moves| moves.left);
        let all = self.p0().members().chain(&left);
        all.map(|one| Witness {
            incarnation: one.incarnation,
            applied: self.epoch(),
        })
        .collect()
    }

    pub fn streamed(&self, sources: Vec<Witness>) -> Command {
        Command::Streamed {
            partition: P0,
            began: self.began(),
            sources,
        }
    }

    pub fn read_new(&self, fence: Vec<Witness>) -> Command {
        Command::ReadNew {
            partition: P0,
            began: self.began(),
            fence,
        }
    }

    pub fn use_new(&self, applied: Vec<Witness>) -> Command {
        Command::UseNew {
            partition: P0,
            began: self.began(),
            applied,
        }
    }

    pub fn abort(&self) -> Command {
        Command::Abort {
            partition: P0,
            began: self.began(),
        }
    }

    pub fn abort_done(&self, applied: Vec<Witness>) -> Command {
        Command::AbortDone {
            partition: P0,
            began: self.began(),
            applied,
        }
    }

    /// Brings the move of the partition from `Join` to its end, everybody helping.
    pub fn finish(&mut self) {
        self.must(self.streamed(self.everybody()));
        self.must(self.read_new(self.everybody()));
        self.must(self.use_new(self.everybody()));
        if let Some(moves) = self.p0().transition.clone() {
            let leaver = Witness {
                incarnation: moves.left.unwrap().incarnation,
                applied: self.epoch(),
            };
            self.must(Command::CleanedUp {
                partition: P0,
                began: moves.began,
                leaver,
            });
        }
    }

    pub fn nodes_of_p0(&self) -> Vec<u64> {
        let replicas = self.p0().replicas.iter();
        replicas.map(|one| one.node.get()).collect()
    }
}

/// For large ones: without a look at everything after each command.
impl Cluster {
    pub fn must_quietly(&mut self, command: Command) {
        self.number += 1;
        let id = CommandId {
            proposer: node(1),
            number: self.number,
        };
        self.topology.apply(&Request { id, command }).unwrap();
    }

    pub fn finish_quietly(&mut self, partition: PartitionId) {
        self.must_quietly(Command::Begin { partition });
        let at = |cluster: &Self| cluster.topology.partition(partition).unwrap().clone();
        let moves = at(self).transition.unwrap();
        let began = moves.began;
        let word = |one: &Replica| Witness {
            incarnation: one.incarnation,
            applied: Epoch::new(u64::MAX),
        };
        let all: Vec<_> = at(self).members().map(word).collect();
        self.must_quietly(Command::Streamed {
            partition,
            began,
            sources: all.clone(),
        });
        self.must_quietly(Command::ReadNew {
            partition,
            began,
            fence: all.clone(),
        });
        self.must_quietly(Command::UseNew {
            partition,
            began,
            applied: all,
        });
        if let Some(left) = at(self).transition.and_then(|moves| moves.left) {
            let leaver = word(&left);
            self.must_quietly(Command::CleanedUp {
                partition,
                began,
                leaver,
            });
        }
    }
}
