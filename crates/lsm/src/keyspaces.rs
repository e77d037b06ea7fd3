//! The keyspaces of an open store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::batch::KeyspaceNumber;
use crate::error::{Error, Result};
use crate::key::SeqNo;
use crate::manifest::Version;
use crate::options::KeyspaceOptions;
use crate::view::{LoggedMemtable, View};

/// One keyspace of an open store.
#[derive(Debug)]
pub(crate) struct OpenKeyspace {
    pub(crate) id: KeyspaceNumber,
    pub(crate) name: String,
    pub(crate) options: KeyspaceOptions,
    /// Every change up to this one was in tables when the store was opened.
    pub(crate) flushed: SeqNo,
    view: ArcSwap<View>,
    dropped: AtomicBool,
}

impl OpenKeyspace {
    pub(crate) fn new(
        id: KeyspaceNumber,
        name: String,
        options: KeyspaceOptions,
        flushed: SeqNo,
        active: Arc<LoggedMemtable>,
        version: Arc<Version>,
    ) -> Arc<Self> {
        let view = View {
            active,
            sealed: Vec::new(),
            version,
        };
        let view = ArcSwap::from_pointee(view);
        Arc::new(Self {
            id,
            name,
            options,
            flushed,
            view,
            dropped: AtomicBool::new(false),
        })
    }

    /// What readers look into now.
    #[inline]
    pub(crate) fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// The same, to be held for longer.
    pub(crate) fn view_owned(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Replaces the view by what `change` makes of it. Memtables are switched by the commit token's
    /// holder and tables by the manifest's; neither waits for the other, so `change` may run twice.
    pub(crate) fn change_view(&self, change: impl Fn(&View) -> View) {
        self.view.rcu(|view| change(view));
    }

    /// Makes `active` the memtable that takes writes. INVARIANT commit-3: for the token's holder only.
    pub(crate) fn seal(&self, active: &Arc<LoggedMemtable>) {
        self.change_view(|view| View {
            active: Arc::clone(active),
            sealed: view.memtables().cloned().collect(),
            version: Arc::clone(&view.version),
        });
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    pub(crate) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    /// Fails where the keyspace was dropped.
    pub(crate) fn check_alive(&self) -> Result<()> {
        if self.is_dropped() {
            return Err(Error::NoSuchKeyspace {
                name: self.name.clone(),
            });
        }
        Ok(())
    }
}

/// All keyspaces, by id. Replaced as a whole when one comes or goes, so that a write never locks.
#[derive(Debug, Default)]
pub(crate) struct Keyspaces {
    by_id: ArcSwap<BTreeMap<KeyspaceNumber, Arc<OpenKeyspace>>>,
}

impl Keyspaces {
    pub(crate) fn all(&self) -> Arc<BTreeMap<KeyspaceNumber, Arc<OpenKeyspace>>> {
        self.by_id.load_full()
    }

    pub(crate) fn contains(&self, id: KeyspaceNumber) -> bool {
        self.by_id.load().contains_key(&id)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<OpenKeyspace>> {
        self.by_id
            .load()
            .values()
            .find(|keyspace| keyspace.name == name)
            .map(Arc::clone)
    }

    pub(crate) fn add(&self, keyspace: &Arc<OpenKeyspace>) {
        self.by_id.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(keyspace.id, Arc::clone(keyspace));
            all
        });
    }

    pub(crate) fn remove(&self, id: KeyspaceNumber) {
        self.by_id.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.remove(&id);
            all
        });
    }
}
