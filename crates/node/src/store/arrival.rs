//! Writes as replicas hand them to each other, last write wins: minted here for others, or stored here as
//! others minted them (CAUSALITY rules 1, 4, 15 and 17).
//!
//! *Not here*: who may ask for that, in which epoch, and how many replicas are enough.

use std::cmp::Ordering;

use ringwood_env::UnixMillis;
use ringwood_lsm::{Batch, Durability, Found, ReadOptions, ReadTier, Ticket};
use ringwood_protocol::coordinator::write::Answer;
use ringwood_types::{
    Epoch, Hlc, NamespaceId, PartitionId, RecordError, RecordHead, SkewTooLarge, Version,
};

use super::partition_store::{Deletes, PartitionStore, StoredKey, Write, Written};
use super::seen::Sight;
use crate::error::NodeError;
use crate::namespace::Namespace;

/// One version of a key, as it is stored and as it travels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    partition: PartitionId,
    key: &'a [u8],
    record: &'a [u8],
    version: Version,
    deadline: Option<UnixMillis>,
}

impl<'a> Arrival<'a> {
    /// # Errors
    /// [`RecordError`]: what travelled is no record.
    pub(crate) fn new(
        partition: PartitionId,
        key: &'a [u8],
        record: &'a [u8],
        deadline: Option<UnixMillis>,
    ) -> Result<Self, RecordError> {
        Ok(Self {
            partition,
            key,
            record,
            version: RecordHead::decode(record)?.version,
            deadline,
        })
    }
}

/// What becomes of an arrival.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// The answer holds once the ticket completes.
    Stored(Ticket, Answer),
    /// It was known; here is the answer.
    Known(Answer),
    /// What decides is under way itself: try again once this ticket is complete, whatever becomes of it.
    Behind(Ticket),
}

/// Why a version is not minted, or not taken. Nothing was done.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It would be later than the limit: this is the time here.
    AboveLimit(Hlc),
    /// Its time is too far ahead of this node's clock.
    Skew(SkewTooLarge),
    /// It was asked in an earlier epoch than the partition's here, which is this.
    Fenced(Epoch),
    /// It was asked in an epoch that is not known here yet.
    Ahead,
    /// As any write or read.
    Node(NodeError),
}

impl<E: Into<NodeError>> From<E> for NotTaken {
    fn from(error: E) -> Self {
        Self::Node(error.into())
    }
}

impl PartitionStore {
    /// Gives a write its version, later than `above` and not later than `limit`, and queues it for the log.
    /// A delete leaves a tombstone.
    ///
    /// It is synced, whatever its namespace wants: what lies below the mark counts as seen at a start, so
    /// what has left its minter must not get lost there, or it would never be taken back (rule 1, strict).
    pub(crate) fn mint(
        &self,
        namespace: &Namespace,
        write: &Write<'_>,
        epoch: Epoch,
        (above, limit): (Hlc, Hlc),
        now: UnixMillis,
    ) -> Result<(Ticket, Written), NotTaken> {
        let mut minting = self.mint.lock(&[write.partition]);
        // INVARIANT serve-1: under the lock, which whoever enters another epoch takes.
        let here = minting.epoch(write.partition);
        match epoch.cmp(&here) {
            Ordering::Less => return Err(NotTaken::Fenced(here)),
            Ordering::Equal => {}
            Ordering::Greater => return Err(NotTaken::Ahead),
        }
        namespace.check_alive()?;
        minting.observe(above, now).map_err(NotTaken::Skew)?;
        let version = minting.version(write.partition, now);
        if version.time > limit {
            return Err(NotTaken::AboveLimit(version.time));
        }
        let mut batch = Batch::new();
        let written = self.put_write(
            namespace,
            write,
            version,
            Deletes::LeaveTombstone,
            &mut batch,
        )?;
        let ticket = minting.submit(&self.db, &mut batch, Durability::Synced)?;
        let key = StoredKey::new(namespace.id(), write.partition, write.key);
        let seen = minting.seen(write.partition);
        seen.settle();
        seen.queue(key.as_ref(), version, false, &ticket);
        Ok((ticket, written))
    }

    /// Stores what another replica minted, unless it is here already or something later is. Answers what rule
    /// 17 asks.
    pub(crate) fn store(
        &self,
        namespace: &Namespace,
        arrival: &Arrival<'_>,
        epoch: Epoch,
        durability: Durability,
        now: UnixMillis,
        tier: ReadTier,
    ) -> Result<Arrived, NotTaken> {
        let Arrival {
            partition, version, ..
        } = *arrival;
        let key = StoredKey::new(namespace.id(), partition, arrival.key);
        let mut minting = self.mint.lock(&[partition]);
        // INVARIANT serve-1, as above.
        let here = minting.epoch(partition);
        if epoch < here {
            return Err(NotTaken::Fenced(here));
        }
        namespace.check_alive()?;
        minting.observe(version.time, now).map_err(NotTaken::Skew)?;
        let sight = minting.sight(partition, version.dot);
        if let Sight::UnderWay(ticket) = sight {
            return Ok(Arrived::Behind(ticket));
        }
        let newest = self.newest(&key, partition, tier)?;
        // INVARIANT seen-2, and seen-1: what is under way may fail, and then has beaten nothing. What is
        // beaten already, or beats all of it, need not wait: so one success ends the waiting, however many
        // writes of the key come behind it.
        if newest < Some(version)
            && let Some(ticket) = minting.seen(partition).above(key.as_ref(), version)
        {
            return Ok(Arrived::Behind(ticket));
        }
        let is_seen = matches!(sight, Sight::Seen);
        let answer = match newest {
            Some(newest) if newest == version => Answer::Held,
            Some(newest) if newest > version => Answer::Older(newest.time),
            _ if is_seen => Answer::Older(minting.time()),
            _ => Answer::Held,
        };
        if is_seen {
            return Ok(Arrived::Known(answer));
        }
        let mut batch = Batch::new();
        if newest < Some(version) {
            let record = &[arrival.record];
            batch.put_parts(self.data.id(), key.as_ref(), record, arrival.deadline)?;
        }
        let seen = minting.seen(partition);
        seen.note(&self.system, partition, version.dot, &mut batch)?;
        let ticket = minting.submit(&self.db, &mut batch, durability)?;
        let seen = minting.seen(partition);
        seen.queue(key.as_ref(), version, true, &ticket);
        Ok(Arrived::Stored(ticket, answer))
    }

    /// The version of a key that is stored, a tombstone's and an expired one's too.
    fn newest(
        &self,
        key: &StoredKey,
        partition: PartitionId,
        tier: ReadTier,
    ) -> Result<Option<Version>, NodeError> {
        let options = ReadOptions {
            tier,
            show_expired: true,
            ..ReadOptions::default()
        };
        let Some(found) = self.data.get_with(key.as_ref(), &options)? else {
            return Ok(None);
        };
        let head = RecordHead::decode(&found.value)
            .map_err(|cause| NodeError::DamagedRecord { partition, cause })?;
        Ok(Some(head.version))
    }

    /// A key as it is stored, a tombstone and what has expired too.
    pub(crate) fn record(
        &self,
        namespace: NamespaceId,
        partition: PartitionId,
        key: &[u8],
        tier: ReadTier,
    ) -> Result<Option<Found>, NodeError> {
        let options = ReadOptions {
            tier,
            show_expired: true,
            ..ReadOptions::default()
        };
        let key = StoredKey::new(namespace, partition, key);
        Ok(self.data.get_with(key.as_ref(), &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;
    use crate::store::Change;
    use crate::{DEFAULT_NAMESPACE, NodeConfig};
    use ringwood_types::{Dot, Incarnation};

    #[test]
    fn a_stint_that_has_ended_gives_no_dot_twice() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Node::open(NodeConfig::new(directory.path())).unwrap();
        let partition = PartitionId::new(0);
        let mint = |node: &Node| -> Dot {
            let namespace = node.namespace(DEFAULT_NAMESPACE).unwrap();
            let write = Write {
                partition,
                key: b"key",
                change: Change::Delete,
            };
            let (now, times) = (node.now(), (Hlc::ZERO, Hlc::at(u64::MAX)));
            let store = &node.shared.store;
            let epoch = Epoch::new(1);
            let minted = store.mint(&namespace, &write, epoch, times, now);
            let (ticket, written) = minted.unwrap();
            ticket.wait().unwrap();
            match written {
                Written::Deleted { version } => version.dot,
                Written::Put { .. } => unreachable!("it is a delete"),
            }
        };
        let node = open();
        let first = node.identity().incarnation;
        let begin = |node: &Node, incarnation| {
            let store = &node.shared.store;
            store
                .enter(partition, Epoch::new(1), Some(incarnation))
                .unwrap();
        };
        begin(&node, first);
        let mut dots = vec![mint(&node)];
        begin(&node, Incarnation::new(2));
        dots.push(mint(&node));
        begin(&node, first); // a view that is behind
        dots.push(mint(&node));
        node.close().unwrap();
        let node = open();
        begin(&node, Incarnation::new(2));
        dots.push(mint(&node));
        let all = dots.len();
        dots.sort_unstable();
        dots.dedup();
        assert_eq!(dots.len(), all, "{dots:?}");
    }

    /// serve-1 (3): a request that looked at the view before it changed comes to the lock behind it.
    #[test]
    fn nothing_is_done_for_an_earlier_epoch_once_another_was_entered() {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::open(NodeConfig::new(directory.path())).unwrap();
        let (store, partition) = (&node.shared.store, PartitionId::new(0));
        let namespace = node.namespace(DEFAULT_NAMESPACE).unwrap();
        let tombstone = ringwood_types::Record::tombstone(Version {
            time: Hlc::at(node.now()),
            dot: Dot {
                incarnation: Incarnation::new(9),
                counter: 1,
            },
        });
        let arrival = Arrival::new(partition, b"key", &tombstone, None).unwrap();
        let write = Write {
            partition,
            key: b"key",
            change: Change::Delete,
        };
        store.enter(partition, Epoch::new(5), None).unwrap();
        let at = |epoch| {
            let (epoch, now) = (Epoch::new(epoch), node.now());
            let times = (Hlc::ZERO, Hlc::at(u64::MAX));
            let minted = store.mint(&namespace, &write, epoch, times, now);
            let (durability, tier) = (Durability::Synced, ReadTier::Disk);
            let stored = store.store(&namespace, &arrival, epoch, durability, now, tier);
            let here = |not_taken| match not_taken {
                NotTaken::Fenced(epoch) => Some(epoch),
                NotTaken::Ahead => None,
                other => panic!("{other:?}"),
            };
            (
                minted.map(drop).map_err(here),
                stored.map(drop).map_err(here),
            )
        };
        let fenced = Err(Some(Epoch::new(5)));
        assert_eq!(at(4), (fenced, fenced));
        assert_eq!(at(6), (Err(None), Ok(())), "others may know more");
        assert_eq!(at(5), (Ok(()), Ok(())));
    }
}
