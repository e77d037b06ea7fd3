//! One node: its disk, its clock, and the node itself while it is up.

use std::sync::Arc;

use ringwood_env::faulty::{CrashMode, FaultyDisk};
use ringwood_env::{ManualClock, SeededRandom, UnixMillis};
use ringwood_lsm::Ticket;
use ringwood_node::{Deferred, Fixed, Identity, Node, NodeConfig, PeerReply};
use ringwood_protocol::topology::View;
use ringwood_types::{NodeId, PartitionCount};

use crate::queue::{MILLI, Moment};

const WALL_START: UnixMillis = 1_750_000_000_000;
const PARTITIONS: u32 = 4;

/// Names a question of one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// One node.
pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) node: Option<Node>,
    /// Goes up at each start: what was meant for an earlier life finds nobody.
    pub(crate) life: u64,
    pub(crate) paused_until: Moment,
    pub(crate) disk_is_slow: bool,
    /// Answers that wait for the disk.
    pub(crate) persisting: Vec<(Ticket, Waiting)>,
    pub(crate) disk_is_busy: bool,
    disk: FaultyDisk,
    clock: Arc<ManualClock>,
    /// Of its wall clock, in milliseconds, from `WALL_START` on.
    skew_ms: u64,
    shown: Moment,
    config: NodeConfig,
}

/// What waits for a ticket.
pub(crate) enum Waiting {
    /// This answer, to this call of that member.
    Reply(CallId, usize, PeerReply),
    /// This question is asked again.
    Behind(CallId, usize, Deferred),
}

impl Member {
    /// A node with an empty store, which is up.
    pub(crate) fn new(seed: u64, joins: Option<Fixed>, skew_ms: u64, slow: bool) -> Self {
        let disk = FaultyDisk::new(seed);
        let clock = Arc::new(ManualClock::new(WALL_START + skew_ms));
        let mut config = NodeConfig::new("store");
        config.engine.disk = Arc::new(disk.clone());
        config.engine.clock = Arc::<ManualClock>::clone(&clock);
        config.engine.random = Arc::new(SeededRandom::new(seed));
        config.engine.threads = 0;
        config.engine.memory_budget = 4 << 20;
        config.engine.log_segment_len = 1 << 20;
        config.partitions = PartitionCount::new(PARTITIONS);
        config.joins = joins;
        let mut member = Self {
            id: NodeId::new(0),
            node: None,
            life: 0,
            paused_until: 0,
            disk_is_slow: slow,
            persisting: Vec::new(),
            disk_is_busy: false,
            disk,
            clock,
            skew_ms,
            shown: 0,
            config,
        };
        member.open();
        member.id = member.identity().node;
        member
    }

    pub(crate) fn identity(&self) -> Identity {
        *self.node.as_ref().expect("it is up").identity()
    }

    fn open(&mut self) {
        self.node = Some(Node::open(self.config.clone()).expect("its disk has no faults"));
        self.life += 1;
    }

    /// Comes up again, with what its disk has kept.
    pub(crate) fn start(&mut self, now: Moment, view: &Arc<View>) {
        self.show(now);
        self.open();
        self.learn(view);
    }

    pub(crate) fn learn(&self, view: &Arc<View>) {
        let node = self.node.as_ref().expect("it is up");
        node.set_view(Arc::clone(view))
            .expect("its disk has no faults");
    }

    /// Loses what was not synced, in some way that a disk may.
    pub(crate) fn crash(&mut self, mode: CrashMode) {
        self.disk.crash(mode);
        self.node = None;
        self.persisting.clear();
        self.disk_is_busy = false;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Its clock shows that it is `now`.
    pub(crate) fn show(&mut self, now: Moment) {
        let passed = now.saturating_sub(self.shown);
        self.shown = self.shown.max(now);
        self.clock
            .advance_monotonic(std::time::Duration::from_micros(passed));
        self.clock.set_wall(WALL_START + self.skew_ms + now / MILLI);
    }

    /// Does all the work in the background that there is.
    pub(crate) fn work(&self) {
        let Some(node) = &self.node else { return };
        while let Some(job) = node.engine().next_job() {
            node.engine().run(job).expect("its disk has no faults");
        }
    }
}
