//! A node with a disk, a clock and a seed of its own, and short words for what tests ask of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringwood_env::faulty::{Class, CrashMode, Failure, Fault, FaultPlan, FaultyDisk, Operation};
use ringwood_env::{ManualClock, SeededRandom};
use ringwood_node::{
    BatchItem, DEFAULT_NAMESPACE, Entry, KeyReply, Namespace, Node, NodeConfig, NodeError,
    OpenError, Page, Policy, Put, Reply, Request, Scan, Step, Ttl,
};
use ringwood_types::{PartitionCount, Routing, Version};

pub(crate) const START: u64 = 1_750_000_000_000;

pub(crate) struct World {
    pub(crate) disk: FaultyDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: NodeConfig,
    node: Option<Node>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(configure: impl FnOnce(&mut NodeConfig)) -> Self {
        let disk = FaultyDisk::new(1);
        let clock = Arc::new(ManualClock::new(START));
        let mut config = NodeConfig::new("store");
        config.engine.disk = Arc::new(disk.clone());
        config.engine.clock = Arc::<ManualClock>::clone(&clock);
        config.engine.memory_budget = 16 << 20;
        config.engine.log_segment_len = 4 << 20;
        config.partitions = PartitionCount::new(16);
        config.engine.random = Arc::new(SeededRandom::new(7));
        configure(&mut config);
        let node = Some(Node::open(config.clone()).unwrap());
        Self {
            disk,
            clock,
            config,
            node,
        }
    }

    /// Logs that are full before a memtable is, so that no flush frees one.
    pub(crate) fn with_short_logs() -> Self {
        Self::with(|config| {
            config.engine.log_segment_len = 512 << 10;
            config.engine.memtable_len = Some(8 << 20);
        })
    }

    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("up")
    }

    pub(crate) fn stop(&mut self) {
        self.node.take().expect("up").close().unwrap();
    }

    pub(crate) fn start(&mut self) {
        self.node = Some(self.open().unwrap());
    }

    pub(crate) fn open(&self) -> Result<Node, OpenError> {
        Node::open(self.config.clone())
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// What a power cut now would leave, brought up again; this world goes on.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let disk = self.disk.image(seed);
        disk.crash(CrashMode::Subset);
        let mut config = self.config.clone();
        config.engine.disk = Arc::new(disk.clone());
        let node = Some(Node::open(config.clone()).unwrap());
        Self {
            disk,
            clock: Arc::clone(&self.clock),
            config,
            node,
        }
    }

    pub(crate) fn namespace(&self, name: &str) -> Arc<Namespace> {
        self.node().namespace(name).unwrap()
    }

    pub(crate) fn create(&self, name: &str, policy: Policy) -> Arc<Namespace> {
        self.node().create_namespace(name, policy).unwrap()
    }

    pub(crate) fn step(&self, request: Request) -> Step {
        self.node().step(self.node().now(), request)
    }

    pub(crate) fn ask(&self, request: Request) -> Result<Reply, NodeError> {
        self.step(request).wait()
    }

    pub(crate) fn put(&self, namespace: &str, put: Put) -> Result<KeyReply, NodeError> {
        key_reply(self.ask(Request::Put {
            namespace: self.namespace(namespace),
            put,
            durability: None,
        }))
    }

    /// Sets a key in a namespace; the version that got.
    pub(crate) fn set(
        &self,
        namespace: &str,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Version {
        match self.put(namespace, put(key, value)).unwrap() {
            KeyReply::Stored { version, .. } => version,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn set_for(&self, namespace: &str, key: &str, value: &str, seconds: i64) {
        let put = Put {
            ttl: Ttl::Seconds(seconds),
            ..put(key, value)
        };
        self.put(namespace, put).unwrap();
    }

    pub(crate) fn delete(&self, namespace: &str, key: impl AsRef<[u8]>) -> Version {
        let reply = self.ask(Request::Delete {
            namespace: self.namespace(namespace),
            key: bytes(key),
            context: None,
            durability: None,
        });
        match key_reply(reply).unwrap() {
            KeyReply::Deleted { version } => version,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn entry(&self, namespace: &str, key: impl AsRef<[u8]>) -> Option<Entry> {
        let reply = self.ask(Request::Get {
            namespace: self.namespace(namespace),
            key: bytes(key),
        });
        match key_reply(reply).unwrap() {
            KeyReply::Entry(entry) => Some(entry),
            KeyReply::Missing => None,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn get(&self, namespace: &str, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.entry(namespace, key)
            .map(|entry| entry.value().to_vec())
    }

    pub(crate) fn batch(
        &self,
        namespace: &str,
        items: Vec<BatchItem>,
    ) -> Result<Vec<Result<KeyReply, NodeError>>, NodeError> {
        let reply = self.ask(Request::Batch {
            namespace: self.namespace(namespace),
            items,
            durability: None,
        })?;
        match reply {
            Reply::Batch(results) => Ok(results),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn page(&self, namespace: &str, scan: Scan) -> Result<Page, NodeError> {
        let reply = self.ask(Request::Scan {
            namespace: self.namespace(namespace),
            scan,
        })?;
        match reply {
            Reply::Page(page) => Ok(page),
            other => panic!("{other:?}"),
        }
    }

    /// All keys of a scan, over as many pages as it takes.
    pub(crate) fn keys(&self, namespace: &str, mut scan: Scan) -> Vec<Bytes> {
        let mut keys = Vec::new();
        loop {
            let page = self.page(namespace, scan.clone()).unwrap();
            keys.extend(page.entries.into_iter().map(|entry| entry.key));
            let Some(cursor) = page.cursor else {
                return keys;
            };
            scan.cursor = Some(cursor);
        }
    }

    /// Lets the disk have no room for another log, and fills those there are but for less than
    /// 64 KiB. Gives the key that was written.
    pub(crate) fn fill_log(&self) -> String {
        self.fill_log_but_for(64 << 10)
    }

    /// As [`World::fill_log`], until there is no room for any write at all.
    pub(crate) fn fill_log_to_the_brim(&self) {
        for len in [64 << 10, 1 << 10, 0] {
            self.fill_log_but_for(len);
        }
    }

    fn fill_log_but_for(&self, len: usize) -> String {
        let full = Failure::for_good(Class::Only(Operation::Create), 1, Fault::NoSpace);
        self.disk.set_plan(FaultPlan::fail(full.of(".tmp")));
        let fill = || self.put(DEFAULT_NAMESPACE, put("filler", vec![0; len]));
        let refused = (0..10_000).find_map(|_| fill().err());
        let refused = refused.expect("logs end");
        assert!(
            matches!(&refused, NodeError::Engine(error) if error.is_disk_full()),
            "{refused}"
        );
        "filler".into()
    }

    /// A key that lies in another partition than `key` does.
    pub(crate) fn key_of_another_partition(&self, key: &str) -> String {
        let ring = self.node().identity().ring;
        let partition = |key: &str| ring.partition(key.as_bytes(), Routing::WholeKey);
        let mut keys = (0..).map(|n| format!("key {n}"));
        keys.find(|other| partition(other) != partition(key))
            .expect("there is more than one partition")
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub(crate) fn bytes(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

pub(crate) fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Put {
    Put {
        key: bytes(key),
        value: bytes(value),
        ..Put::default()
    }
}

fn key_reply(reply: Result<Reply, NodeError>) -> Result<KeyReply, NodeError> {
    match reply? {
        Reply::Key(reply) => Ok(reply),
        other => panic!("{other:?}"),
    }
}
