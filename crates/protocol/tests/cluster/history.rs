//! Random lives of clusters: commands that make sense more often than not, with the words of all, of
//! some, and of those who say so too early; and what must hold after each.

use std::collections::{BTreeMap, BTreeSet};

use ringwood_protocol::topology::placement::Goal;
use ringwood_protocol::topology::{
    Command, CommandId, GoneStage, NodeChange, NodeState, Outcome, Partition, Plan, Refused,
    Replica, Request, Settings, Stage, Topology, Witness,
};
use ringwood_types::{Epoch, Incarnation, NamespaceId, NodeId, PartitionId};

use super::{new_node, node, origin};

#[path = "../world/chance.rs"]
mod chance;
use chance::Chance;

/// Partitions of the clusters here.
const PARTITIONS: u32 = 4;

pub struct History {
    pub topology: Topology,
    pub log: Vec<Request>,
    pub outcomes: Vec<Outcome>,
    chance: Chance,
    joined: u64,
    number: u64,
    /// Who each incarnation was issued to, and whether it has ever been whole and then not.
    stints: BTreeMap<Incarnation, (PartitionId, NodeId)>,
    removed: BTreeSet<NodeId>,
    namespaces: NamespaceId,
}

impl History {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |topology| topology)
    }

    pub fn with(seed: u64, change: impl FnOnce(Topology) -> Topology) -> Self {
        Self {
            topology: change(Topology::bootstrap(origin(PARTITIONS))),
            log: Vec::new(),
            outcomes: Vec::new(),
            chance: Chance::new(seed),
            joined: 1,
            number: 0,
            stints: BTreeMap::new(),
            removed: BTreeSet::new(),
            namespaces: NamespaceId::new(8),
        }
    }

    /// One more command, and what it does.
    pub fn step(&mut self) -> Result<(), String> {
        let command = self.command();
        if !self.log.is_empty() && self.chance.permille(50) {
            self.repeat()?;
        }
        self.number += 1;
        let id = CommandId {
            proposer: node(1 + self.number % 3),
            number: self.number,
        };
        let request = Request { id, command };
        let before = self.topology.clone();
        let outcome = self.topology.apply(&request);
        let checked = self.check(&before, &request.command, outcome);
        self.log.push(request);
        self.outcomes.push(outcome);
        checked.map_err(|why| format!("{why} after {:?}: {outcome:?}", self.log.last()))
    }

    /// A command that comes again is answered as before and changes nothing.
    fn repeat(&mut self) -> Result<(), String> {
        let recent = self.log.len().saturating_sub(1000) as u64;
        let at = usize::try_from(self.chance.range(recent, self.log.len() as u64)).unwrap();
        let before = self.topology.to_snapshot();
        let outcome = self.topology.apply(&self.log[at]);
        let same = outcome == self.outcomes[at] && before == self.topology.to_snapshot();
        same.then_some(())
            .ok_or("a repeated command was applied again".into())
    }

    fn check(
        &mut self,
        before: &Topology,
        command: &Command,
        outcome: Outcome,
    ) -> Result<(), String> {
        let after = &self.topology;
        after.check().map_err(|violation| violation.to_string())?;
        let holds = |so: bool, what: &str| so.then_some(()).ok_or_else(|| what.to_owned());
        if outcome.is_err() {
            holds(
                same(before, after),
                "a refused command has changed something",
            )?;
            return Ok(());
        }
        // topology-3
        holds(after.epoch() >= before.epoch(), "the epoch went back")?;
        holds(
            after.layout() >= before.layout(),
            "the layout's epoch went back",
        )?;
        if after.epoch() == before.epoch() {
            holds(same(before, after), "something changed without an epoch")?;
        }
        if let Command::ApplyPlan { based_on, .. } = command {
            holds(
                *based_on == before.layout(),
                "a plan was applied to another ring",
            )?;
        }
        self.check_nodes(before)?;
        for (id, (was, is)) in self.pairs(before) {
            self.check_partition(before, command, id, &was, &is)?;
        }
        if let Some(id) = outcome.unwrap().namespace {
            holds(id > self.namespaces, "an id of a namespace came back")?;
            self.namespaces = id;
        }
        Ok(())
    }

    fn pairs(&self, before: &Topology) -> Vec<(PartitionId, (Partition, Partition))> {
        let pairs = before.partitions().iter().zip(self.topology.partitions());
        let changed = pairs.map(|(was, is)| (was.clone(), is.clone()));
        before.ring().partitions().iter().zip(changed).collect()
    }

    /// topology-20
    fn check_nodes(&mut self, before: &Topology) -> Result<(), String> {
        use NodeState::*;
        for is in self.topology.nodes() {
            let was = before.node(is.id).map(|node| node.state);
            let legal = match (was, is.state) {
                (None, Joined) => !self.removed.contains(&is.id),
                (Some(was), is) if was == is => true,
                (Some(Joined), Leaving | PermanentlyFailed | Removed) => true,
                (Some(Leaving), Joined | Removing | Removed) => true,
                (Some(PermanentlyFailed), Joined | Removing | Removed) => true,
                (Some(Removing), Removed) => true,
                _ => false,
            };
            if !legal {
                return Err(format!(
                    "node {} went from {was:?} to {:?}",
                    is.id, is.state
                ));
            }
            if is.state == Removed {
                self.removed.insert(is.id);
            }
        }
        Ok(())
    }

    fn check_partition(
        &mut self,
        before: &Topology,
        command: &Command,
        id: PartitionId,
        was: &Partition,
        is: &Partition,
    ) -> Result<(), String> {
        let holds = |so: bool, what: &str| so.then_some(()).ok_or(format!("{what} in {id}"));
        if was == is {
            return Ok(());
        }
        let only_wanted = Partition {
            wanted: is.wanted.clone(),
            ..was.clone()
        };
        holds(
            is.epoch > was.epoch || *is == only_wanted,
            "a change without an epoch",
        )?;
        // topology-26: for ever one stint.
        for member in is.members() {
            let owner = (id, member.node);
            let known = self.stints.insert(member.incarnation, owner);
            let drawn = member.incarnation == super::DRAWN;
            holds(
                drawn || known.is_none_or(|known| known == owner),
                "an incarnation moved",
            )?;
            let earlier = was
                .members()
                .find(|one| one.incarnation == member.incarnation);
            let lost = member.rebuilding && earlier.is_some_and(|one| !one.rebuilding);
            holds(!lost, "a stint that lost something goes on")?;
            let returned = was.gone(member.incarnation).is_some();
            holds(!returned, "a stint that was gone goes on")?;
        }
        let stints = |partition: &Partition| {
            let stints = partition.members().map(|one| one.incarnation);
            stints.collect::<BTreeSet<_>>()
        };
        let changed = stints(was) != stints(is);
        holds(
            !changed || is.members_since == is.epoch,
            "members changed unseen",
        )?;
        // Whoever minted and is no member now is settled before it is forgotten.
        let minted = was.replicas.iter().map(|one| one.incarnation);
        let left = is.transition.as_ref().and_then(|moves| moves.left);
        for incarnation in minted.filter(|one| !stints(is).contains(one)) {
            let cleans = left.is_some_and(|left| left.incarnation == incarnation);
            let kept = is.gone(incarnation).is_some() || cleans;
            holds(kept, "an incarnation left without being settled")?;
        }
        // topology-21: only disks and persons lose the last whole replica.
        let whole = |partition: &Partition| {
            let mut readers = partition.read_set().into_iter();
            readers.any(|one| !one.rebuilding)
        };
        let disk = matches!(command, Command::NewIncarnation { .. });
        holds(
            !whole(was) || whole(is) || disk,
            "the last whole replica went",
        )?;
        self.check_stage(before, command, id, was, is)
    }

    /// topology-4: stages follow one another as rule 13 says, and sets change with them only.
    fn check_stage(
        &self,
        before: &Topology,
        command: &Command,
        id: PartitionId,
        was: &Partition,
        is: &Partition,
    ) -> Result<(), String> {
        let holds = |so: bool, what: &str| so.then_some(()).ok_or(format!("{what} in {id}"));
        let stage = |partition: &Partition| partition.transition.as_ref().map(|one| one.stage);
        let legal = match (stage(was), stage(is)) {
            (was, is) if was == is => true,
            (None, Some(Stage::Join)) => true,
            (Some(Stage::Join), Some(Stage::Streamed)) => true,
            // Another stint of the joiner.
            (Some(Stage::Streamed), Some(Stage::Join)) => true,
            (Some(Stage::Streamed), Some(Stage::ReadNew)) => true,
            (Some(Stage::ReadNew), Some(Stage::Cleanup | Stage::Back) | None) => true,
            (Some(Stage::Join | Stage::Streamed | Stage::Cleanup | Stage::Back), None) => true,
            _ => false,
        };
        holds(legal, "a stage out of turn")?;
        let nodes = |partition: &Partition| {
            let nodes = partition.replicas.iter().map(|one| one.node);
            nodes.collect::<BTreeSet<_>>()
        };
        let uses_new = matches!(command, Command::UseNew { .. });
        holds(
            uses_new || nodes(was) == nodes(is),
            "replicas changed without a move",
        )?;
        // Rule 13's barriers, counted here anew: with the words of this very command.
        let word = |since: Epoch, among: Vec<Incarnation>, words: &[Witness]| {
            let said = |one: &Incarnation| {
                let mut words = words.iter();
                words.any(|word| word.incarnation == *one && word.applied >= since)
            };
            among.iter().filter(|one| said(one)).count()
        };
        let all = |partition: &Partition| {
            let all = partition.replicas.iter().map(|one| one.incarnation);
            all.collect::<Vec<_>>()
        };
        let barrier = |count: usize| count - count / 2;
        let moves = was.transition.as_ref();
        if was.loss_accepted {
            return Ok(());
        }
        match (command, moves) {
            (Command::UseNew { applied, .. }, Some(moves)) => {
                let told = word(moves.since, all(was), applied);
                holds(
                    told >= barrier(was.replicas.len()),
                    "the old set was not asked",
                )
            }
            (Command::AbortDone { applied, .. }, Some(moves)) => {
                let new: Vec<_> = was.new_set().map(|one| one.incarnation).collect();
                let told = word(moves.since, new.clone(), applied);
                holds(told >= barrier(new.len()), "the new set was not asked")
            }
            (Command::Abort { .. }, Some(moves)) if is.transition.is_none() => {
                holds(moves.stage != Stage::ReadNew, "undone in one commit")
            }
            (Command::Streamed { sources, .. }, Some(moves)) => {
                let leaves = |one: &&Replica| Some(one.node) == moves.leaves;
                let whole = || was.replicas.iter().filter(|one| !one.rebuilding);
                let stay: Vec<_> = whole().filter(|one| !leaves(one)).collect();
                let told = |of: Vec<&Replica>| {
                    let of = of.iter().map(|one| one.incarnation).collect();
                    word(moves.began, of, sources)
                };
                let by_leaver = told(whole().filter(leaves).collect()) == 1;
                let by_stay = told(stay.clone());
                let all_stay = was
                    .new_set()
                    .filter(|one| Some(**one) != moves.joins)
                    .count();
                let streamed = match moves.joins {
                    Some(_) => by_leaver || by_stay >= barrier(was.replicas.len()),
                    None => by_stay == all_stay,
                };
                holds(streamed, "streamed from too few")
            }
            (Command::ReadNew { fence, .. }, Some(moves)) => {
                let others = was.new_set().filter(|one| !one.rebuilding);
                let others = others.filter(|one| Some(**one) != moves.joins);
                let others: Vec<_> = others.map(|one| one.incarnation).collect();
                let told = word(moves.began, others.clone(), fence);
                let fenced = moves.joins.is_none() || told == others.len();
                holds(fenced, "the serve fence was not asked")
            }
            (
                Command::Rebuilt {
                    incarnation,
                    compared,
                    fence,
                    ..
                },
                _,
            ) => {
                let readers = was.read_set();
                let mut newcomer = readers.iter().filter(|one| one.incarnation == *incarnation);
                let since = newcomer.next().ok_or("rebuilt from nowhere")?.since;
                let whole = readers.iter().filter(|one| !one.rebuilding);
                let whole: Vec<_> = whole.map(|one| one.incarnation).collect();
                let told = word(since, whole.clone(), compared);
                holds(told >= barrier(readers.len()), "rebuilt from too few")?;
                let told = word(since, whole.clone(), fence);
                holds(told == whole.len(), "the serve fence was not asked")
            }
            (
                Command::Settle {
                    incarnation,
                    agreed,
                    ..
                },
                _,
            ) => {
                let gone = was.gone(*incarnation).ok_or("settled out of nowhere")?;
                holds(
                    gone.stage == GoneStage::Closed,
                    "settled before it was closed",
                )?;
                let members: Vec<_> = was.members().map(|one| one.incarnation).collect();
                let told = word(gone.since, members.clone(), agreed);
                holds(told == members.len(), "settled without asking all")
            }
            (Command::Close { clear, .. }, _) => {
                let mut living = before.nodes().filter(|node| node.state.lives());
                let all = living.all(|node| clear.iter().any(|(one, _)| *one == node.id));
                holds(all, "closed without asking all")
            }
            _ => Ok(()),
        }
    }

    fn pick_node(&mut self) -> NodeId {
        node(self.chance.range(1, self.joined + 2))
    }

    fn pick_partition(&mut self) -> PartitionId {
        PartitionId::new(u16::try_from(self.chance.range(0, u64::from(PARTITIONS))).unwrap())
    }

    /// What members say, most of them, and most of those not too early.
    fn words(&mut self, partition: PartitionId) -> Vec<Witness> {
        let at = &self.topology.partitions()[partition.index()];
        let left = at.transition.as_ref().and_then(|moves| moves.left);
        let all: Vec<_> = at
            .members()
            .chain(&left)
            .map(|one| one.incarnation)
            .collect();
        let most = self.chance.permille(700);
        let mut words = Vec::new();
        for incarnation in all {
            if most || self.chance.permille(700) {
                words.push(Witness {
                    incarnation,
                    applied: self.recent(),
                });
            }
        }
        words
    }

    fn recent(&mut self) -> Epoch {
        let now = self.topology.epoch().get();
        let late = if self.chance.permille(950) {
            0
        } else {
            self.chance.range(0, 8)
        };
        Epoch::new(now.saturating_sub(late))
    }

    fn command(&mut self) -> Command {
        match self.chance.range(0, 100) {
            0..=4 => {
                self.joined += u64::from(self.chance.permille(500));
                let mut node = new_node(self.joined);
                node.zone = format!("z{}", self.joined % 3);
                Command::AddNode { node }
            }
            5..=17 => self.node_command(),
            18..=30 => self.plan(),
            31..=42 => {
                let due = self.topology.due(2);
                let partition = match due.first() {
                    Some(&due) if self.chance.permille(900) => due,
                    _ => self.pick_partition(),
                };
                Command::Begin { partition }
            }
            43..=79 => self.advance(),
            80..=93 => self.settle(),
            _ => self.other(),
        }
    }

    fn node_command(&mut self) -> Command {
        let node = self.pick_node();
        let known = self.topology.node(node);
        let registered = known.map_or(0, |node| node.start);
        let start = self.chance.next();
        let previous = if self.chance.permille(900) {
            registered
        } else {
            self.chance.next()
        };
        let yes = self.chance.permille(500);
        match self.chance.range(0, 14) {
            0 => Command::Leave { node, fewer: yes },
            1 => Command::Stay { node },
            2 => Command::MarkPermanentlyFailed {
                node,
                by_operator: yes,
            },
            3 => Command::Returned { node },
            4 => Command::Remove { node, fewer: yes },
            5 => Command::Replace {
                old: node,
                new: self.pick_node(),
            },
            6 => Command::SetNode {
                node,
                change: NodeChange {
                    zone: Some(format!("z{}", self.chance.range(0, 4))),
                    weight: Some(u32::try_from(self.chance.range(50, 200)).unwrap()),
                    ..NodeChange::default()
                },
            },
            7 | 8 => Command::Start {
                node,
                previous,
                start,
            },
            9 | 10 => Command::UncleanStart {
                node,
                previous,
                start,
            },
            11 => Command::NewIncarnation {
                node,
                start: registered,
                partitions: Some(vec![self.pick_partition()]),
            },
            _ => Command::NewIncarnation {
                node,
                start,
                partitions: None,
            },
        }
    }

    fn plan(&mut self) -> Command {
        let goal = if self.chance.permille(500) {
            Goal::Balance
        } else {
            Goal::Repair
        };
        let mut plan = Plan::new(&self.topology, goal, &[1000; PARTITIONS as usize]);
        if self.chance.permille(50) {
            plan.based_on = Epoch::new(plan.based_on.get().saturating_sub(1));
        }
        plan.command()
    }

    fn advance(&mut self) -> Command {
        let rebuilding = self.rebuilding();
        if let Some((partition, incarnation)) = rebuilding.filter(|_| self.chance.permille(400)) {
            if self.chance.permille(50) {
                return Command::AcceptLoss { partition };
            }
            return Command::Rebuilt {
                partition,
                incarnation,
                compared: self.words(partition),
                fence: self.words(partition),
            };
        }
        let partition = self.pick_partition();
        let moves = self.topology.partitions()[partition.index()]
            .transition
            .clone();
        let Some(moves) = moves else {
            return Command::Begin { partition };
        };
        let began = moves.began;
        if self.chance.permille(60) {
            return Command::Abort { partition, began };
        }
        match moves.stage {
            Stage::Join => Command::Streamed {
                partition,
                began,
                sources: self.words(partition),
            },
            Stage::Streamed => Command::ReadNew {
                partition,
                began,
                fence: self.words(partition),
            },
            Stage::ReadNew => Command::UseNew {
                partition,
                began,
                applied: self.words(partition),
            },
            Stage::Cleanup => Command::CleanedUp {
                partition,
                began,
                leaver: Witness {
                    incarnation: moves.left.unwrap().incarnation,
                    applied: self.recent(),
                },
            },
            Stage::Back => Command::AbortDone {
                partition,
                began,
                applied: self.words(partition),
            },
        }
    }

    fn rebuilding(&mut self) -> Option<(PartitionId, Incarnation)> {
        let partitions = self.topology.partitions().iter();
        let all: Vec<_> = self
            .topology
            .ring()
            .partitions()
            .iter()
            .zip(partitions)
            .flat_map(|(id, partition)| {
                let members = partition.members().filter(|one| one.rebuilding);
                members.map(move |one| (id, one.incarnation))
            })
            .collect();
        (!all.is_empty()).then(|| *self.chance.pick(&all))
    }

    fn settle(&mut self) -> Command {
        let partition = self.pick_partition();
        let gone = self.topology.partitions()[partition.index()].gone.clone();
        if gone.is_empty() {
            return Command::Retire {
                partition,
                incarnation: Incarnation::new(self.chance.range(0, 30)),
                up_to: Some(self.chance.range(0, 9)),
            };
        }
        let gone = self.chance.pick(&gone).clone();
        let incarnation = gone.incarnation;
        match gone.stage {
            GoneStage::Retired if self.chance.permille(900) => {
                let nodes: Vec<_> = self.topology.nodes().map(|node| node.id).collect();
                let mut clear = Vec::new();
                for node in nodes {
                    if self.chance.permille(980) {
                        clear.push((node, self.recent()));
                    }
                }
                Command::Close {
                    closing: vec![(partition, incarnation)],
                    clear,
                }
            }
            GoneStage::Retired | GoneStage::Closed => Command::Settle {
                partition,
                incarnation,
                agreed: self.words(partition),
            },
            GoneStage::Open { .. } | GoneStage::Settled { .. } => Command::Forget {
                partition,
                incarnation,
                covered: self.words(partition),
            },
        }
    }

    fn other(&mut self) -> Command {
        let ids: Vec<_> = self
            .topology
            .namespaces()
            .map(|one| (one.id, one.revision))
            .collect();
        let (id, revision) = *self.chance.pick(&ids);
        match self.chance.range(0, 5) {
            0 | 1 => Command::CreateNamespace {
                name: format!("n{}", self.chance.range(0, 6)),
                policy: (*b"{}").into(),
            },
            2 => Command::DropNamespace { id },
            3 => Command::UpdateNamespace {
                id,
                revision,
                policy: (*b"{ }").into(),
            },
            _ => {
                let before = *self.topology.settings();
                let replicas = u8::try_from(self.chance.range(1, 5)).unwrap();
                Command::SetSettings {
                    before,
                    after: Settings { replicas, ..before },
                }
            }
        }
    }

    /// How far histories go: which commands were applied at least once.
    pub fn applied(&self) -> BTreeSet<String> {
        let pairs = self.log.iter().zip(&self.outcomes);
        let applied = pairs.filter(|(_, outcome)| outcome.is_ok());
        applied.map(|(request, _)| kind(&request.command)).collect()
    }

    pub fn refused(&self) -> BTreeSet<String> {
        let refused = self.outcomes.iter().filter_map(|outcome| outcome.err());
        refused.map(|why: Refused| kind(&why)).collect()
    }
}

fn kind(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    let end = text.find(|one: char| !one.is_ascii_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}

/// Whether two topologies differ in what they remember of commands only.
fn same(one: &Topology, other: &Topology) -> bool {
    one.epoch() == other.epoch()
        && one.layout() == other.layout()
        && one.settings() == other.settings()
        && one.nodes().eq(other.nodes())
        && one.partitions() == other.partitions()
        && one.namespaces().eq(other.namespaces())
}

impl History {
    pub fn must(&mut self, command: Command) {
        self.number += 1;
        let id = CommandId {
            proposer: node(1),
            number: self.number,
        };
        self.topology.apply(&Request { id, command }).unwrap();
        self.topology.check().unwrap();
    }

    /// All nodes live, all moves come to their ends, and all replicas are whole.
    pub fn settle_down(&mut self) {
        let failed: Vec<_> = self.topology.nodes().cloned().collect();
        for node in failed
            .iter()
            .filter(|one| one.state == NodeState::PermanentlyFailed)
        {
            self.must(Command::Returned { node: node.id });
        }
        for _ in 0..1000 {
            match self.next_to_settle() {
                Some(command) => self.must(command),
                None => return,
            }
        }
        panic!("it does not come to rest");
    }

    fn next_to_settle(&self) -> Option<Command> {
        let applied = self.topology.epoch();
        let ids = self.topology.ring().partitions().iter();
        for (partition, at) in ids.zip(self.topology.partitions()) {
            let word = |one: &Replica| Witness {
                incarnation: one.incarnation,
                applied,
            };
            let all: Vec<_> = at.members().map(word).collect();
            if let Some(lost) = at.read_set().iter().find(|one| one.rebuilding) {
                let serve = at.read_set().iter().filter(|one| !one.rebuilding).count();
                let n = at.read_set().len();
                if serve < n - n / 2 && !at.loss_accepted {
                    return Some(Command::AcceptLoss { partition });
                }
                return Some(Command::Rebuilt {
                    partition,
                    incarnation: lost.incarnation,
                    compared: all.clone(),
                    fence: all,
                });
            }
            if let Some(moves) = &at.transition {
                let began = moves.began;
                return Some(match moves.stage {
                    Stage::Join => Command::Streamed {
                        partition,
                        began,
                        sources: all,
                    },
                    Stage::Streamed => Command::ReadNew {
                        partition,
                        began,
                        fence: all,
                    },
                    Stage::ReadNew => Command::UseNew {
                        partition,
                        began,
                        applied: all,
                    },
                    Stage::Cleanup => Command::CleanedUp {
                        partition,
                        began,
                        leaver: word(&moves.left?),
                    },
                    Stage::Back => Command::AbortDone {
                        partition,
                        began,
                        applied: all,
                    },
                });
            }
        }
        let due = self.topology.due(usize::MAX);
        due.first().map(|&partition| Command::Begin { partition })
    }
}
