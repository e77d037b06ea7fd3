//! The state machine: commands go in, in the order of the log, and every member has the same state.
//!
//! [`Topology::apply`] is all of it; the rooms below hold the commands by what they are about. Each
//! command is looked at whole before anything is changed, so a refused one has changed nothing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ringwood_types::{ClusterId, Epoch, Incarnation, NamespaceId, NodeId, PartitionId, Ring};

use super::command::{Applied, Command, NewNode, Outcome, Refused, Request, Witness};
use super::memory::Memory;
use super::model::{Namespace, Node, NodeState, Partition, Replica, Settings, majority};
use super::plant::{Plant, Planted};

mod check;
mod moves;
mod namespaces;
mod nodes;
mod settling;
mod starts;

pub use check::Violation;
pub use namespaces::DEFAULT_NAMESPACE;

/// What a store of one node becomes the first of a cluster with: nothing of it is rewritten.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Drawn for the cluster.
    pub cluster: ClusterId,
    /// The node, under the id that it has.
    pub node: NewNode,
    /// The one that its store minted under, in all partitions.
    pub incarnation: Incarnation,
    /// Where its keys lie.
    pub ring: Ring,
    /// Signs its cursors.
    pub cursor_secret: [u8; 32],
    /// Its namespaces, under the ids that they have.
    pub namespaces: Vec<Namespace>,
    /// The next id of a namespace.
    pub next_namespace: NamespaceId,
}

/// All that the metadata group has decided.
#[derive(Clone, Debug)]
pub struct Topology {
    pub(super) cluster: ClusterId,
    pub(super) ring: Ring,
    pub(super) cursor_secret: [u8; 32],
    pub(super) epoch: Epoch,
    /// Of the last change that a plan would look at.
    pub(super) layout: Epoch,
    /// The first node's, which was drawn and not issued.
    pub(super) first_incarnation: Incarnation,
    pub(super) next_incarnation: u64,
    pub(super) settings: Settings,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) partitions: Vec<Partition>,
    pub(super) namespaces: BTreeMap<NamespaceId, Namespace>,
    /// `None` when all are used up.
    pub(super) next_namespace: Option<NamespaceId>,
    pub(super) memory: Memory,
    pub(super) planted: Planted,
}

/// What a command has changed, apart from what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    /// It was so already.
    Nothing,
    /// Something.
    Something,
    /// Something that a plan looks at.
    Layout,
    /// A namespace was made.
    Namespace(NamespaceId),
}

type Change = Result<Changed, Refused>;

impl Topology {
    /// A cluster of one node, which holds everything.
    #[must_use]
    pub fn bootstrap(origin: Origin) -> Self {
        let epoch = Epoch::new(1);
        let replica = Replica {
            node: origin.node.id,
            incarnation: origin.incarnation,
            since: epoch,
            rebuilding: false,
        };
        let partition = || Partition {
            epoch,
            members_since: epoch,
            replicas: alloc::vec![replica],
            ..Partition::default()
        };
        let namespaces = origin.namespaces.into_iter();
        let mut topology = Self {
            cluster: origin.cluster,
            ring: origin.ring,
            cursor_secret: origin.cursor_secret,
            epoch,
            layout: epoch,
            first_incarnation: origin.incarnation,
            next_incarnation: 1,
            settings: Settings::default(),
            nodes: BTreeMap::new(),
            partitions: origin
                .ring
                .partitions()
                .iter()
                .map(|_| partition())
                .collect(),
            namespaces: namespaces.map(|one| (one.id, one)).collect(),
            next_namespace: Some(origin.next_namespace),
            memory: Memory::default(),
            planted: Planted::default(),
        };
        topology.insert_node(origin.node, epoch);
        topology
    }

    /// The same with a defect, for the tests of the tests.
    #[cfg(feature = "plant")]
    #[must_use]
    pub fn planted(mut self, defect: Plant) -> Self {
        self.planted = Planted(Some(defect));
        self
    }

    /// Applies the next command of the log. The same commands in the same order make the same state
    /// and the same outcomes everywhere.
    ///
    /// # Errors
    /// [`Refused`]: nothing has changed, except that the refusal is remembered: the same command gets
    /// the same answer when it comes again.
    pub fn apply(&mut self, request: &Request) -> Outcome {
        let known = self.memory.recall(request.id);
        if let Some(outcome) = known.filter(|_| !self.planted.has(Plant::AppliedTwice)) {
            return outcome;
        }
        let outcome = self.change(&request.command).map(|changed| {
            if changed != Changed::Nothing {
                self.epoch = self.next_epoch();
            }
            if changed == Changed::Layout {
                self.layout = self.epoch;
            }
            Applied {
                epoch: self.epoch,
                namespace: match changed {
                    Changed::Namespace(id) => Some(id),
                    _ => None,
                },
            }
        });
        self.memory.remember(request.id, outcome);
        outcome
    }

    fn change(&mut self, command: &Command) -> Change {
        match command {
            Command::AddNode { node } => self.add_node(node),
            Command::SetNode { node, change } => self.set_node(*node, change),
            Command::Leave { node, fewer } => self.leave(*node, *fewer),
            Command::Stay { node } => self.stay(*node),
            Command::MarkPermanentlyFailed { node, by_operator } => {
                self.mark_failed(*node, *by_operator)
            }
            Command::Returned { node } => self.returned(*node),
            Command::Remove { node, fewer } => self.remove(*node, *fewer),
            Command::Replace { old, new } => self.replace(*old, *new),
            Command::SetSettings { before, after } => self.set_settings(before, after),
            Command::Start {
                node,
                previous,
                start,
            } => self.start(*node, *previous, *start),
            Command::UncleanStart {
                node,
                previous,
                start,
            } => self.unclean_start(*node, *previous, *start),
            Command::NewIncarnation {
                node,
                start,
                partitions,
            } => self.new_incarnation(*node, *start, partitions.as_deref()),
            Command::Rebuilt {
                partition,
                incarnation,
                compared,
                fence,
            } => self.rebuilt(*partition, *incarnation, compared, fence),
            Command::AcceptLoss { partition } => self.accept_loss(*partition),
            Command::ApplyPlan { based_on, wanted } => self.apply_plan(*based_on, wanted),
            Command::Begin { partition } => self.begin(*partition),
            Command::Streamed {
                partition,
                began,
                sources,
            } => self.streamed(*partition, *began, sources),
            Command::ReadNew {
                partition,
                began,
                fence,
            } => self.read_new(*partition, *began, fence),
            Command::UseNew {
                partition,
                began,
                applied,
            } => self.use_new(*partition, *began, applied),
            Command::CleanedUp {
                partition,
                began,
                leaver,
            } => self.cleaned_up(*partition, *began, *leaver),
            Command::Abort { partition, began } => self.abort(*partition, *began),
            Command::AbortDone {
                partition,
                began,
                applied,
            } => self.abort_done(*partition, *began, applied),
            Command::Retire {
                partition,
                incarnation,
                up_to,
            } => self.retire(*partition, *incarnation, *up_to),
            Command::Close { closing, clear } => self.close(closing, clear),
            Command::Settle {
                partition,
                incarnation,
                agreed,
            } => self.settle(*partition, *incarnation, agreed),
            Command::Forget {
                partition,
                incarnation,
                covered,
            } => self.forget(*partition, *incarnation, covered),
            Command::CreateNamespace { name, policy } => self.create_namespace(name, policy),
            Command::UpdateNamespace {
                id,
                revision,
                policy,
            } => self.update_namespace(*id, *revision, policy),
            Command::DropNamespace { id } => self.drop_namespace(*id),
        }
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Where keys belong.
    #[must_use]
    pub const fn ring(&self) -> Ring {
        self.ring
    }

    /// What signs cursors.
    #[must_use]
    pub const fn cursor_secret(&self) -> &[u8; 32] {
        &self.cursor_secret
    }

    /// Of the last change.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Of the last change that a plan looks at: nodes, zones, weights, where replicas are wanted. A
    /// move that goes on is none.
    #[must_use]
    pub const fn layout(&self) -> Epoch {
        self.layout
    }

    /// What is set for the whole cluster.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All nodes by id, removed ones too.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// All partitions, in order.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(id.index())
    }

    /// All namespaces by id.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    fn next_epoch(&self) -> Epoch {
        self.epoch.next()
    }

    fn find_partition(&self, id: PartitionId) -> Result<&Partition, Refused> {
        let unknown = Refused::UnknownPartition { partition: id };
        self.partitions.get(id.index()).ok_or(unknown)
    }

    /// To change a partition that is there: it gets the epoch that the command makes.
    fn touch(&mut self, id: PartitionId) -> &mut Partition {
        let epoch = self.next_epoch();
        let partition = &mut self.partitions[id.index()];
        partition.epoch = epoch;
        partition
    }

    fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        self.ring.partitions().iter()
    }

    fn lives(&self, node: NodeId) -> bool {
        let node = self.nodes.get(&node);
        node.is_some_and(|node| node.state.lives())
    }

    /// The next incarnation. INVARIANT topology-26: no number is issued twice, and none that the first
    /// node's store had drawn.
    fn issue(&mut self) -> Incarnation {
        let mut next = Incarnation::new(self.next_incarnation);
        if next == self.first_incarnation {
            next = Incarnation::new(next.get() + 1);
        }
        self.next_incarnation = next.get() + 1;
        next
    }

    fn was_issued(&self, incarnation: Incarnation) -> bool {
        incarnation == self.first_incarnation
            || (1..self.next_incarnation).contains(&incarnation.get())
    }

    /// How many of `among` a command needs, `enough` where none is beyond hope: where a person has
    /// accepted the loss, those that live.
    fn needed<'a>(
        &self,
        partition: &Partition,
        enough: usize,
        among: impl Iterator<Item = &'a Replica>,
    ) -> usize {
        if !partition.loss_accepted {
            return enough;
        }
        let living = among.filter(|replica| self.lives(replica.node)).count();
        enough.min(living)
    }
}

/// How many of `among` bear witness, as the stints that they are, having applied `since`.
fn count<'a>(
    witnesses: &[Witness],
    among: impl Iterator<Item = &'a Replica>,
    since: Epoch,
) -> usize {
    let bears = |replica: &&Replica| {
        witnesses
            .iter()
            .any(|one| one.incarnation == replica.incarnation && one.applied >= since)
    };
    among.filter(bears).count()
}

fn enough(counted: usize, needed: usize) -> Result<(), Refused> {
    if counted >= needed {
        return Ok(());
    }
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Err(Refused::TooFewWitnesses {
        counted: number(counted),
        needed: number(needed),
    })
}

/// N − W + 1 of N: who asks so many meets one that holds what W had acknowledged. N − R + 1 too: when so
/// many know of an epoch, no R are left that do not.
const fn meets_quorum(count: usize) -> usize {
    count + 1 - majority(count)
}

fn distinct<T: Ord + Copy>(items: &[T]) -> bool {
    items.iter().copied().collect::<BTreeSet<_>>().len() == items.len()
}

/// Whether a node takes part in placement.
const fn stays(state: NodeState) -> bool {
    matches!(state, NodeState::Joined)
}
