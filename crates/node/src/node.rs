//! A node: what brings it up, and what it is asked outside of requests.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ringwood_env::{Clock, UnixMillis};
use ringwood_lsm::{Batch, Db, Durability, Error, Keyspace, KeyspaceOptions, OpenReport};
use ringwood_protocol::topology::View;
use ringwood_types::{Hlc, NamespaceId};

use crate::catalog::Catalog;
use crate::config::NodeConfig;
use crate::cursor::Position;
use crate::error::{NodeError, OpenError};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::namespace::{Namespace, Policy, PolicyChange};
use crate::request::NamespacePage;
use crate::rest::Rest;
use crate::scan::Parked;
use crate::statistics::{Counters, NodeStatistics};
use crate::store::{Mint, PartitionStore};

pub(crate) const SYSTEM: &str = "system";
pub(crate) const DATA: &str = "data";
/// Whose cursors lists of namespaces have: ids of namespaces begin with 1.
const NO_NAMESPACE: NamespaceId = NamespaceId::new(0);

/// One node. Cheap to clone; the last clone to go closes it.
///
/// ```
/// use ringwood_node::{DEFAULT_NAMESPACE, KeyReply, Node, NodeConfig, Put, Reply, Request};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let node = Node::open(NodeConfig::new(directory.path()))?;
/// let namespace = node.namespace(DEFAULT_NAMESPACE)?;
/// let put = Put {
///     key: "ada".into(),
///     value: "mathematician".into(),
///     ..Put::default()
/// };
/// let request = Request::Put { namespace: namespace.clone(), put, durability: None };
/// node.step(node.now(), request).wait()?;
///
/// let request = Request::Get { namespace, key: "ada".into() };
/// let Reply::Key(KeyReply::Entry(entry)) = node.step(node.now(), request).wait()? else {
///     unreachable!("it was put")
/// };
/// assert_eq!(entry.value(), b"mathematician");
/// # node.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: PartitionStore,
    /// What the cluster is, as far as this node knows. `None`: it is alone.
    pub(crate) view: ArcSwapOption<View>,
    /// Held by whoever changes it.
    pub(crate) changes_view: Mutex<()>,
    pub(crate) catalog: Catalog,
    pub(crate) parked: Parked,
    pub(crate) counters: Counters,
    pub(crate) identity: Identity,
    pub(crate) rest: Rest,
    pub(crate) on_rest: fn(),
    pub(crate) limits: Limits,
    pub(crate) data_dir: PathBuf,
    /// For rates and rests only; requests bring their time.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Node {
    /// Brings a node up; in an empty directory, makes its store.
    ///
    /// # Errors
    /// [`OpenError`]; what is on disk is unchanged but for the engine's recovery.
    pub fn open(config: NodeConfig) -> Result<Self, OpenError> {
        config.validate()?;
        let db = Db::open(config.engine.clone())?;
        tell(db.open_report());
        check_keyspaces(&db, &config.engine.path)?;
        let system = open_keyspace(&db, SYSTEM, KeyspaceOptions::default())?;
        let data = open_keyspace(&db, DATA, config.data.clone())?;
        let identity = load_or_make(&db, &system, &data, &config)?;
        identity.check(&config)?;
        let mint = Mint::open(
            system.clone(),
            identity.incarnation,
            identity.ring.partitions(),
            config.clock_skew_max,
        )?;
        let catalog = Catalog::load(&system)?;
        tracing::info!(node = %identity.node, partitions = %identity.ring.partitions(), "node is up");
        Ok(Self {
            shared: Arc::new(Shared {
                store: PartitionStore::new(db, system, data, identity.ring, mint),
                view: ArcSwapOption::empty(),
                changes_view: Mutex::default(),
                catalog,
                parked: Parked::new(config.parked_scans_len, config.parked_scans_time),
                counters: Counters::default(),
                identity,
                rest: Rest::default(),
                on_rest: config.on_rest,
                limits: Limits::of(&config),
                data_dir: config.engine.path,
                clock: config.engine.clock,
            }),
        })
    }

    /// The time to pass to [`Node::step`]: never goes back, whatever the machine's clock does, so
    /// that what has expired stays expired.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.shared.store.db().now()
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.shared.data_dir
    }

    /// Who this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Most entries of a page.
    #[must_use]
    pub fn page_entries_max(&self) -> usize {
        self.shared.limits.page_entries_max
    }

    /// Most items of a batch.
    #[must_use]
    pub fn batch_items_max(&self) -> usize {
        self.shared.limits.batch_items_max
    }

    /// What the cluster is from now on: nothing more is minted or stored here for an earlier epoch of a
    /// partition. Where this node begins another stint as a replica, it mints under that, durably. A view
    /// that is behind the one there is changes nothing. Waits for the disk.
    ///
    /// # Errors
    /// As a write; the view before stays, though partitions may have gone ahead of it: try again.
    pub fn set_view(&self, view: Arc<View>) -> Result<(), NodeError> {
        let Shared {
            store,
            identity,
            view: present,
            changes_view,
            ..
        } = &*self.shared;
        let _alone = changes_view.lock().unwrap_or_else(PoisonError::into_inner);
        let is_behind = |present: &Arc<View>| view.epoch() < present.epoch();
        if present.load().as_ref().is_some_and(is_behind) {
            return Ok(());
        }
        for partition in view.ring().partitions().iter() {
            let epoch = view.replicas(partition).epoch();
            let incarnation = view.incarnation(partition, identity.node);
            store.enter(partition, epoch, incarnation)?;
        }
        present.store(Some(view));
        Ok(())
    }

    /// What the cluster is, as far as this node knows. `None`: it is alone.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.shared.view.load_full()
    }

    /// The latest time of versions that this node knows of.
    #[must_use]
    pub fn hybrid_time(&self, now: UnixMillis) -> Hlc {
        self.shared.store.hybrid_time(now)
    }

    /// The namespace of this name. Takes no lock; look it up for each request.
    ///
    /// # Errors
    /// [`NodeError::NoSuchNamespace`].
    pub fn namespace(&self, name: &str) -> Result<Arc<Namespace>, NodeError> {
        self.shared.catalog.find(name)
    }

    /// A page of the namespaces, by name: up to `limit`, behind the page that gave out `cursor`.
    ///
    /// # Errors
    /// [`NodeError::InvalidLimit`], [`NodeError::InvalidCursor`].
    pub fn namespaces(
        &self,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<NamespacePage, NodeError> {
        let Shared {
            catalog,
            identity,
            limits,
            ..
        } = &*self.shared;
        limits.check_page(limit)?;
        let last = cursor
            .map(|cursor| Position::decode(cursor, &identity.secret, NO_NAMESPACE, 0))
            .transpose()?;
        let last = last.map(|at| String::from_utf8_lossy(&at.last).into_owned());
        let (namespaces, more) = catalog.page(last.as_deref(), limit);
        let cursor = namespaces.last().filter(|_| more).map(|last| {
            let at = Position {
                namespace: NO_NAMESPACE,
                range: 0,
                warm: 0,
                last: last.name().into(),
            };
            at.encode(&identity.secret)
        });
        Ok(NamespacePage { namespaces, cursor })
    }

    /// Makes a namespace, durable on return. Waits for the disk.
    ///
    /// # Errors
    /// [`NodeError::InvalidNamespaceName`], [`NodeError::NamespaceExists`],
    /// [`NodeError::UnsupportedPolicy`], [`NodeError::TooManyNamespaces`], or as a write.
    pub fn create_namespace(
        &self,
        name: &str,
        policy: Policy,
    ) -> Result<Arc<Namespace>, NodeError> {
        let Shared {
            catalog,
            store,
            limits,
            ..
        } = &*self.shared;
        catalog.create(store, name, policy, limits.namespaces_max)
    }

    /// Changes a namespace's policy, durable on return. Waits for the disk.
    ///
    /// # Errors
    /// [`NodeError::NoSuchNamespace`], [`NodeError::UnsupportedPolicy`], or as a write.
    pub fn update_namespace(
        &self,
        name: &str,
        change: &PolicyChange,
    ) -> Result<Arc<Namespace>, NodeError> {
        let Shared { catalog, store, .. } = &*self.shared;
        catalog.update(store, name, change)
    }

    /// Drops a namespace with all its keys, durable on return. Waits for the disk.
    ///
    /// # Errors
    /// [`NodeError::NoSuchNamespace`], [`NodeError::DefaultNamespace`], or as a write. If its outcome
    /// is unknown, the namespace stays listed and answers [`NodeError::NamespaceInDoubt`] until the
    /// node comes up again; after any other error it is as it was.
    pub fn drop_namespace(&self, name: &str) -> Result<(), NodeError> {
        let Shared { catalog, store, .. } = &*self.shared;
        catalog.drop(store, name)
    }

    /// Lets go of what was kept for clients that did not come back, measures namespaces that may hold
    /// so many bytes only, and writes memtables out once the node rests. Call it about once a second;
    /// it may wait for the disk.
    pub fn sweep(&self, now: UnixMillis) {
        let Shared { catalog, store, .. } = &*self.shared;
        self.shared.parked.sweep(now);
        let counts = self.statistics();
        let writes = counts.keys_put + counts.keys_deleted;
        let time = self.shared.clock.monotonic();
        if self.shared.rest.begins(writes, time) {
            store.write_out();
            (self.shared.on_rest)();
        }
        let mut limited = catalog.list();
        limited.retain(|namespace| namespace.policy().bytes_max.is_some());
        if !limited.is_empty() {
            store.measure(&limited);
        }
    }

    /// How long a polite writer waits before its next write, while background work is behind.
    #[must_use]
    pub fn write_delay(&self) -> Option<Duration> {
        self.shared.store.db().write_delay()
    }

    /// Counts since the node came up.
    #[must_use]
    pub fn statistics(&self) -> NodeStatistics {
        let (parked_scans, parked_scans_len) = self.shared.parked.usage();
        NodeStatistics {
            parked_scans,
            parked_scans_len,
            ..self.shared.counters.read()
        }
    }

    /// Bytes of keys and values at which a page ends; and the values of a batch, whose further gets are
    /// left unprocessed. The last value may go beyond.
    #[must_use]
    pub fn page_len_max(&self) -> usize {
        self.shared.limits.page_len_max
    }

    /// The engine below, for its statistics, checkpoints and the like.
    #[must_use]
    pub fn engine(&self) -> &Db {
        self.shared.store.db()
    }

    /// Makes every acknowledged write durable and closes the engine. Requests fail from then on.
    ///
    /// # Errors
    /// As a synced write.
    pub fn close(self) -> Result<(), NodeError> {
        self.shared.parked.clear();
        Ok(self.shared.store.db().clone().close()?)
    }
}

/// Says what opening found; the engine has told of a torn log.
fn tell(report: &OpenReport) {
    for damage in &report.healed {
        tracing::warn!(%damage, "damage was put right, and nothing is lost");
    }
    if report.replayed > 0 {
        tracing::info!(changes = report.replayed, "the log was replayed");
    }
}

/// Looks before anything is made, so that a store of something else stays as it is.
fn check_keyspaces(db: &Db, path: &Path) -> Result<(), OpenError> {
    let ours = |name: &String| name == SYSTEM || name == DATA;
    if db.keyspaces().iter().all(ours) {
        return Ok(());
    }
    Err(OpenError::NotANode {
        path: path.to_owned(),
    })
}

fn open_keyspace(db: &Db, name: &str, options: KeyspaceOptions) -> Result<Keyspace, OpenError> {
    match db.keyspace(name) {
        Err(Error::NoSuchKeyspace { .. }) => Ok(db.create_keyspace(name, options)?),
        other => Ok(other?),
    }
}

/// The identity is written last, in one batch with the catalog: a store without one was being made
/// when its node stopped, and must be empty.
fn load_or_make(
    db: &Db,
    system: &Keyspace,
    data: &Keyspace,
    config: &NodeConfig,
) -> Result<Identity, OpenError> {
    let path: &Path = &config.engine.path;
    if let Some(identity) = Identity::load(system, path)? {
        return Ok(identity);
    }
    if !is_empty(system)? || !is_empty(data)? {
        return Err(OpenError::NotANode {
            path: path.to_owned(),
        });
    }
    let identity = Identity::draw(config);
    let mut batch = Batch::new();
    identity.store(system, &mut batch)?;
    Catalog::store_first(system, &mut batch)?;
    db.write(&batch, Durability::Synced)?;
    Ok(identity)
}

fn is_empty(keyspace: &Keyspace) -> Result<bool, OpenError> {
    use std::ops::Bound::Unbounded;
    let mut iter = keyspace.range(
        (Unbounded, Unbounded),
        &ringwood_lsm::ReadOptions::default(),
    )?;
    iter.seek_to_first()?;
    Ok(!iter.valid())
}
