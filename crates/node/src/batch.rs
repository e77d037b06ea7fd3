//! Several items in one request, each with a result of its own.
//!
//! Items take effect in their order: a get behind a write of the same key answers what that write
//! makes of it, other gets what was stored before the batch.
//!
//! # Invariants
//! - `batch-1` (24): the valid writes to one partition are applied together or not at all. All that
//!   are taken share one engine batch; where they would be too long for one, whole partitions are
//!   left unprocessed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ringwood_env::UnixMillis;
use ringwood_lsm::{Durability, Error, ReadTier, Ticket};
use ringwood_types::{PartitionId, Record, RecordHead, Version};

use crate::error::NodeError;
use crate::limits::check_key;
use crate::namespace::Namespace;
use crate::node::Shared;
use crate::persisting::{Answer, BatchReply, DurableReply, Persisting};
use crate::request::{BatchItem, KeyReply, Reply};
use crate::store::{Change, Entry, Write, Written};

type ItemResult = Result<KeyReply, NodeError>;

/// Most bytes that a write takes in the log beyond its key and value.
const WRITE_OVERHEAD: usize = RecordHead::OVERHEAD_MAX + 64;

/// Gets that are read together: what they find may go beyond the room for it.
const READ_TOGETHER: usize = 16;

/// Does a batch. `Err` gives the items back untouched: `tier` does not suffice for a read.
pub(crate) fn run(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    items: Vec<BatchItem>,
    durability: Durability,
    now: UnixMillis,
    tier: ReadTier,
) -> Result<Answer, Vec<BatchItem>> {
    let limit = shared.limits.batch_items_max;
    if items.len() > limit {
        return Ok(Answer::Now(Err(NodeError::BatchTooLarge {
            items: items.len(),
            limit,
        })));
    }
    if let Err(dropped) = namespace.check_alive() {
        return Ok(Answer::Now(Err(dropped)));
    }
    match Plan::new(shared, namespace, &items, now, tier) {
        Some(plan) => Ok(plan.write(shared, namespace, durability, now)),
        None => Err(items),
    }
}

/// Whether a read has to wait for the disk.
fn is_blocked<T>(result: &Result<T, NodeError>) -> bool {
    matches!(result, Err(NodeError::Engine(Error::WouldBlock)))
}

/// Whether a value of `len` bytes is answered: the last one may go beyond the room.
fn take_room(room: &mut usize, len: usize) -> bool {
    let fits = len == 0 || *room > 0;
    *room = room.saturating_sub(len);
    fits
}

/// What a batch is going to do, and what is known of its results.
struct Plan<'a> {
    results: Vec<Option<ItemResult>>,
    writes: Vec<Write<'a>>,
    /// The item of each write.
    write_items: Vec<usize>,
    /// Gets that the store answers: item and key.
    reads: Vec<(usize, &'a [u8])>,
    /// Gets that a write of this batch answers: item and index of the write.
    echoes: Vec<(usize, usize)>,
    /// Bytes of values that gets may still answer.
    room: usize,
}

impl<'a> Plan<'a> {
    /// Checks all items and answers the gets; `None` where `tier` does not suffice.
    fn new(
        shared: &Shared,
        namespace: &Namespace,
        items: &'a [BatchItem],
        now: UnixMillis,
        tier: ReadTier,
    ) -> Option<Self> {
        let mut checked: Vec<Result<Option<Write<'a>>, NodeError>> = items
            .iter()
            .map(|item| match item {
                BatchItem::Get { key } => check_key(key).map(|()| None),
                BatchItem::Put(put) => shared.check_put(namespace, put, now, tier).map(Some),
                BatchItem::Delete { key, context } => shared
                    .check_delete(namespace, key, context.as_deref())
                    .map(Some),
            })
            .collect();
        if checked.iter().any(is_blocked) {
            return None;
        }
        leave_out(&mut checked, shared.limits.batch_len_max);
        let mut plan = Self::arrange(items, checked, shared.limits.page_len_max);
        plan.read(shared, namespace, tier).then_some(plan)
    }

    /// Sorts out who answers what.
    fn arrange(
        items: &'a [BatchItem],
        checked: Vec<Result<Option<Write<'a>>, NodeError>>,
        room: usize,
    ) -> Self {
        let mut plan = Self {
            results: Vec::with_capacity(items.len()),
            writes: Vec::new(),
            write_items: Vec::new(),
            reads: Vec::new(),
            echoes: Vec::new(),
            room,
        };
        // The last write of each key so far; `None`: one that is left unprocessed.
        let mut written: HashMap<&[u8], Option<usize>> = HashMap::new();
        for (index, (item, checked)) in items.iter().zip(checked).enumerate() {
            let result = match checked {
                Ok(Some(write)) => {
                    written.insert(write.key, Some(plan.writes.len()));
                    plan.writes.push(write);
                    plan.write_items.push(index);
                    None
                }
                Ok(None) => match written.get(item.key()) {
                    None => {
                        plan.reads.push((index, item.key()));
                        None
                    }
                    Some(Some(write)) => {
                        plan.echoes.push((index, *write));
                        None
                    }
                    Some(None) => Some(Err(NodeError::Unprocessed)),
                },
                Err(refused) => {
                    if matches!(refused, NodeError::Unprocessed) {
                        written.insert(item.key(), None);
                    }
                    Some(Err(refused))
                }
            };
            plan.results.push(result);
        }
        plan
    }

    /// Answers the gets that the store answers; `false` where `tier` does not suffice.
    fn read(&mut self, shared: &Shared, namespace: &Namespace, tier: ReadTier) -> bool {
        let mut found: Vec<Result<Option<Entry>, NodeError>> = Vec::with_capacity(self.reads.len());
        for some in self.reads.chunks(READ_TOGETHER) {
            if self.room == 0 {
                found.extend(some.iter().map(|_| Err(NodeError::Unprocessed)));
                continue;
            }
            let before = found.len();
            match tier {
                ReadTier::Disk => {
                    let keys: Vec<&[u8]> = some.iter().map(|&(_, key)| key).collect();
                    found.extend(shared.store.multi_get(namespace, &keys));
                }
                ReadTier::Memory => {
                    let get = |&(_, key): &(usize, &[u8])| shared.store.get(namespace, key, tier);
                    found.extend(some.iter().map(get));
                }
            }
            for one in &mut found[before..] {
                let len = one.as_ref().ok().and_then(Option::as_ref);
                let len = len.map_or(0, |entry| entry.value().len());
                if !take_room(&mut self.room, len) {
                    *one = Err(NodeError::Unprocessed);
                }
            }
        }
        if found.iter().any(is_blocked) {
            return false;
        }
        for (&(item, _), found) in self.reads.iter().zip(found) {
            shared.counters.keys_read.add(1);
            self.results[item] = Some(found.map(|entry| match entry {
                Some(entry) => {
                    shared.counters.keys_found.add(1);
                    KeyReply::Entry(entry)
                }
                None => KeyReply::Missing,
            }));
        }
        true
    }

    fn write(
        mut self,
        shared: &Arc<Shared>,
        namespace: &Namespace,
        durability: Durability,
        now: UnixMillis,
    ) -> Answer {
        self.count(shared);
        if self.writes.is_empty() {
            return Answer::Now(Ok(Reply::Batch(complete(self.results))));
        }
        match shared
            .store
            .submit(namespace, &self.writes, durability, now)
        {
            Ok((ticket, written)) => self.persist(shared, namespace, ticket, &written),
            Err(
                error @ (NodeError::NoSuchNamespace { .. } | NodeError::NamespaceInDoubt { .. }),
            ) => Answer::Now(Err(error)),
            Err(error) => {
                shared.counters.writes_failed.add(1);
                for item in self.dependents() {
                    self.results[item] = Some(Err(error.clone()));
                }
                Answer::Now(Ok(Reply::Batch(complete(self.results))))
            }
        }
    }

    fn persist(
        mut self,
        shared: &Arc<Shared>,
        namespace: &Namespace,
        ticket: Ticket,
        written: &[Written],
    ) -> Answer {
        let dependents = self.dependents();
        for &(item, write) in &self.echoes {
            let write_of = &self.writes[write];
            let len = match &write_of.change {
                Change::Put { value, .. } => value.len(),
                Change::Delete => 0,
            };
            self.results[item] = Some(match take_room(&mut self.room, len) {
                true => echo(namespace, write_of, &written[write]),
                false => Err(NodeError::Unprocessed),
            });
        }
        for (&item, written) in self.write_items.iter().zip(written) {
            self.results[item] = Some(Ok(KeyReply::of_write(namespace, written)));
        }
        let reply = BatchReply {
            results: complete(self.results),
            dependents,
        };
        let reply = DurableReply::Batch(reply);
        Answer::Durable(Persisting::new(Arc::clone(shared), ticket, reply))
    }

    /// Items whose results hold only if the writes do.
    fn dependents(&self) -> Vec<usize> {
        let echoes = self.echoes.iter().map(|&(item, _)| item);
        self.write_items.iter().copied().chain(echoes).collect()
    }

    fn count(&self, shared: &Shared) {
        let counters = &shared.counters;
        let is_put = |write: &&Write<'_>| matches!(write.change, Change::Put { .. });
        let puts = self.writes.iter().filter(is_put).count();
        let unprocessed =
            |result: &&Option<ItemResult>| matches!(result, Some(Err(NodeError::Unprocessed)));
        counters.batches.add(1);
        counters.keys_put.add(puts);
        counters.keys_deleted.add(self.writes.len() - puts);
        let unprocessed = self.results.iter().filter(unprocessed).count();
        counters.items_unprocessed.add(unprocessed);
    }
}

/// INVARIANT batch-1: leaves whole partitions out where the writes are too long for one engine batch.
fn leave_out(checked: &mut [Result<Option<Write<'_>>, NodeError>], len_max: usize) {
    let mut lens: BTreeMap<PartitionId, usize> = BTreeMap::new();
    for write in checked.iter().flatten().flatten() {
        *lens.entry(write.partition).or_default() += write.len();
    }
    let mut room = len_max;
    let mut refusals: BTreeMap<PartitionId, NodeError> = BTreeMap::new();
    for (partition, len) in lens {
        if len > len_max {
            let limit = len_max;
            refusals.insert(partition, NodeError::BatchTooLong { len, limit });
        } else if len > room {
            refusals.insert(partition, NodeError::Unprocessed);
        } else {
            room -= len;
        }
    }
    for item in checked {
        if let Ok(Some(write)) = item
            && let Some(refusal) = refusals.get(&write.partition)
        {
            *item = Err(refusal.clone());
        }
    }
}

fn complete(results: Vec<Option<ItemResult>>) -> Vec<ItemResult> {
    let complete = |result: Option<ItemResult>| result.expect("every item has a result");
    results.into_iter().map(complete).collect()
}

/// What a get finds behind a write.
fn echo(namespace: &Namespace, write: &Write<'_>, written: &Written) -> ItemResult {
    let (
        Change::Put {
            value,
            content_type,
            deadline,
        },
        Written::Put { version, .. },
    ) = (&write.change, written)
    else {
        return Ok(KeyReply::Missing);
    };
    let version: Version = *version;
    let record = Record {
        version,
        content_type,
        value,
    };
    let place = (namespace.id(), write.partition);
    let entry = Entry::decode(place, record.to_vec().into(), *deadline)
        .expect("a record that was just made")
        .expect("it has a value");
    Ok(KeyReply::Entry(entry))
}

impl Write<'_> {
    /// Most bytes it takes in the log.
    fn len(&self) -> usize {
        let value_len = match self.change {
            Change::Put { value, .. } => value.len(),
            Change::Delete => 0,
        };
        self.key.len() + value_len + WRITE_OVERHEAD
    }
}

impl BatchItem {
    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Get { key } | Self::Delete { key, .. } => key,
            Self::Put(put) => &put.key,
        }
    }
}
