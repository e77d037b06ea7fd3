//! Tables: each checked, written anew where it is damaged, and put where it hides nothing newer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringwood_env::Clock;

use crate::batch::KeyspaceNumber;
use crate::cache::BlockCache;
use crate::compaction::files::TableFiles;
use crate::compaction::job::Compaction;
use crate::compaction::output::Cuts;
use crate::compaction::retain::Retention;
use crate::cursor::{BlockRead, Cursor};
use crate::error::{Corruption, CorruptionKind, Result};
use crate::files::{FileNumber, table_path};
use crate::iter::MergeCursor;
use crate::key::{InternalKey, Kind, SeqNo, split_deadline};
use crate::manifest::{BOTTOM, Edit, State};
use crate::options::KeyspaceOptions;
use crate::range_tombstone::{RangeTombstones, Readers};
use crate::rate::{RateLimiter, Urgency};
use crate::sstable::{
    self, Block, Salvaged, TableMeta, TableOptions, TableOwner, TableReader, TableWriter,
};
use crate::verify::{check_table, damage_of, held_entries, table_files};

use super::{Aside, Bench, KeyRange, Loss};

/// Checks every table of `state`, and returns the state with those replaced that are damaged.
pub(super) fn mend(bench: &mut Bench<'_>, state: &State) -> Result<State> {
    let mut mended = state.clone();
    for (id, keyspace) in &state.keyspaces {
        let owner = TableOwner {
            id: *id,
            name: keyspace.name.as_str().into(),
        };
        for (level, meta) in keyspace.tables.values() {
            let path = table_path(&bench.options.path, meta.number);
            let Err(error) = check_table(&*bench.disk, &path, &owner, meta) else {
                continue;
            };
            let damage = damage_of(error)?;
            let is_bottom = usize::from(*level) == BOTTOM;
            let options = TableOptions::new(owner.clone(), &keyspace.options, is_bottom);
            let saved = save(bench, damage, options, Some(meta), meta.number)?;
            let remove = Edit::RemoveTable {
                keyspace: *id,
                level: *level,
                number: meta.number,
            };
            // INVARIANT repair-3: what was saved has no key and no number that the table had not.
            let add = saved.map(|meta| Edit::AddTable {
                keyspace: *id,
                level: *level,
                meta: Arc::new(meta),
            });
            for edit in [remove].into_iter().chain(add) {
                mended
                    .apply(&edit)
                    .expect("one table takes another's place");
            }
        }
    }
    Ok(mended)
}

/// Makes a state of all tables in the directory; `hint` is a state that the store once had.
pub(super) fn rebuild(bench: &mut Bench<'_>, hint: &State) -> Result<State> {
    let mut found: BTreeMap<KeyspaceNumber, Found> = BTreeMap::new();
    for (id, keyspace) in &hint.keyspaces {
        let name = keyspace.name.clone();
        let options = keyspace.options.clone();
        found.insert(*id, Found::new(name, options));
    }
    for number in table_files(&*bench.disk, bench.options)? {
        let Some((owner, meta)) = identify(bench, hint, number)? else {
            continue;
        };
        let was_dropped = owner.id < hint.next_keyspace && !hint.keyspaces.contains_key(&owner.id);
        if !was_dropped {
            let new = || Found::new(owner.name.to_string(), KeyspaceOptions::default());
            found.entry(owner.id).or_insert_with(new).tables.push(meta);
        }
    }
    let mut state = State::default();
    let mut apply = |edit: Edit| state.apply(&edit).expect("it is made in order");
    apply(Edit::Identity(identity(bench, hint)));
    let mut names = std::collections::BTreeSet::new();
    for (id, mut keyspace) in found {
        while !names.insert(keyspace.name.clone()) {
            keyspace.name = format!("{}-{}", keyspace.name, id.0);
        }
        apply(Edit::CreateKeyspace {
            id,
            name: keyspace.name.clone(),
            options: keyspace.options.clone(),
        });
        let flushed = hint
            .keyspaces
            .get(&id)
            .map_or(SeqNo::ZERO, |one| one.flushed);
        let upto = keyspace.tables.iter().map(|table| table.last_seq).max();
        apply(Edit::Flushed {
            keyspace: id,
            upto: upto.unwrap_or(SeqNo::ZERO).max(flushed),
        });
        for meta in one_level(bench, id, keyspace)? {
            apply(Edit::AddTable {
                keyspace: id,
                level: u8::try_from(BOTTOM).expect("there are seven levels"),
                meta: Arc::new(meta),
            });
        }
    }
    apply(Edit::NextKeyspace(hint.next_keyspace));
    apply(Edit::LastSeq(hint.last_seq));
    apply(Edit::ClockHigh(hint.clock_high));
    Ok(state)
}

/// A keyspace as its tables show it.
struct Found {
    name: String,
    options: KeyspaceOptions,
    tables: Vec<TableMeta>,
}

impl Found {
    fn new(name: String, options: KeyspaceOptions) -> Self {
        Self {
            name,
            options,
            tables: Vec::new(),
        }
    }
}

fn identity(bench: &Bench<'_>, hint: &State) -> u128 {
    let random = &bench.options.random;
    match hint.identity {
        0 => u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()),
        known => known,
    }
}

/// Whose a table is, and what it holds: as it is, or as far as it could be saved.
fn identify(
    bench: &mut Bench<'_>,
    hint: &State,
    number: FileNumber,
) -> Result<Option<(TableOwner, TableMeta)>> {
    let path = table_path(&bench.options.path, number);
    let cache = BlockCache::<Block>::new(0);
    let checked = TableReader::open(&*bench.disk, &path, number, cache)
        .and_then(|table| table.verify().map(|()| table));
    let damage = match checked {
        Ok(table) => {
            let properties = table.properties();
            return Ok(Some((properties.owner.clone(), properties.meta.clone())));
        }
        Err(error) => damage_of(error)?,
    };
    let salvaged = sstable::salvage(&*bench.disk, &path, number, &mut |_, _| Ok(())).ok();
    let properties = salvaged.and_then(|salvaged| salvaged.properties);
    let listed = hint.keyspaces.iter().find_map(|(id, keyspace)| {
        let (_, meta) = keyspace.tables.get(&number)?;
        let owner = TableOwner {
            id: *id,
            name: keyspace.name.as_str().into(),
        };
        Some((owner, TableMeta::clone(meta)))
    });
    let known = properties
        .map(|properties| (properties.owner, properties.meta))
        .or(listed);
    let Some((owner, meta)) = known else {
        lose_whole(bench, damage, None);
        return Ok(None);
    };
    let options = hint.keyspaces.get(&owner.id).map(|one| one.options.clone());
    let options = TableOptions::new(owner.clone(), &options.unwrap_or_default(), true);
    let saved = save(bench, damage, options, Some(&meta), number)?;
    Ok(saved.map(|meta| (owner, meta)))
}

/// Writes a table with all that is intact of a damaged one; `None`: nothing is.
fn save(
    bench: &mut Bench<'_>,
    damage: Corruption,
    options: TableOptions,
    expected: Option<&TableMeta>,
    number: FileNumber,
) -> Result<Option<TableMeta>> {
    let keyspace = options.owner.name.to_string();
    if damage.kind == CorruptionKind::MissingFile {
        lose_whole(bench, damage, expected.map(|meta| (keyspace, meta)));
        return Ok(None);
    }
    let path = table_path(&bench.options.path, number);
    bench.problem(damage);
    bench.asides.push(Aside {
        path: path.clone(),
        link: true,
    });
    let new_number = bench.numbers.issue();
    let new_path = table_path(&bench.options.path, new_number);
    let created_at = expected.map_or(bench.now, |meta| meta.created_at_ms);
    let disk = Arc::clone(&bench.disk);
    let mut writer = TableWriter::create(disk, &new_path, new_number, options, created_at)?;
    let salvaged = copy_intact(bench, &path, number, &mut writer)?;
    let saved = writer.entries();
    bench.report.table_entries_saved += saved;
    note_loss(bench, &path, keyspace, expected, &salvaged, saved);
    if saved == 0 {
        // No manifest names it: where it stays, the next open removes it.
        drop(writer);
        let _ = bench.disk.remove_file(&new_path);
        return Ok(None);
    }
    let meta = writer.finish()?;
    bench.report.tables_rewritten += 1;
    bench.last_seq = bench.last_seq.max(meta.last_seq);
    Ok(Some(meta))
}

/// Adds every intact entry of the table at `path`, but those that no table may hold.
fn copy_intact(
    bench: &Bench<'_>,
    path: &Path,
    number: FileNumber,
    writer: &mut TableWriter,
) -> Result<Salvaged> {
    let mut last: Option<Vec<u8>> = None;
    let salvaged = sstable::salvage(&*bench.disk, path, number, &mut |key, value| {
        let last_key = last.as_deref().and_then(InternalKey::decode);
        let is_valid = match key.kind() {
            Kind::Put | Kind::Delete => true,
            Kind::PutExpiring => split_deadline(value).is_some(),
            Kind::RangeDelete => false,
        };
        if is_valid && last_key.is_none_or(|last| last < key) {
            writer.add(key, value)?;
            let last = last.get_or_insert_default();
            last.clear();
            key.encode_to(last);
        }
        Ok(())
    })?;
    for tombstone in &salvaged.range_tombstones {
        writer.add_range_tombstone(tombstone);
    }
    Ok(salvaged)
}

/// Notes what of a table could not be saved, if anything.
fn note_loss(
    bench: &mut Bench<'_>,
    path: &Path,
    keyspace: String,
    expected: Option<&TableMeta>,
    salvaged: &Salvaged,
    saved: u64,
) {
    let before = expected.map(|meta| meta.entries + meta.range_deletes);
    let entries = before.map(|before| before.saturating_sub(saved));
    if entries == Some(0) {
        return;
    }
    let (first, last) = expected.map_or((None, None), |meta| {
        let bounds = (meta.smallest().user.to_vec(), meta.largest().user.to_vec());
        (Some(bounds.0), Some(bounds.1))
    });
    let mut loss = Loss {
        file: path.to_owned(),
        keyspace: Some(keyspace),
        entries,
        ..Loss::default()
    };
    for lost in salvaged.lost.iter().filter(|lost| held_entries(lost)) {
        loss.bytes.push(lost.bytes.clone());
        let keys = KeyRange {
            start: lost.after.clone().or_else(|| first.clone()),
            end: lost.before.clone().or_else(|| last.clone()),
        };
        if !loss.keys.contains(&keys) {
            loss.keys.push(keys);
        }
    }
    // Range deletes reach anywhere.
    let had_ranges = expected.is_none_or(|meta| meta.range_deletes > 0);
    if had_ranges && salvaged.range_tombstones.is_empty() {
        loss.keys = vec![KeyRange {
            start: first,
            end: last,
        }];
    }
    bench.report.lost.push(loss);
}

/// Notes that a table is missing, or that nobody knows whose it is.
fn lose_whole(bench: &mut Bench<'_>, damage: Corruption, known: Option<(String, &TableMeta)>) {
    bench.asides.push(Aside {
        path: damage.file.clone(),
        link: true,
    });
    let keys = known.iter().map(|(_, meta)| KeyRange {
        start: Some(meta.smallest().user.to_vec()),
        end: Some(meta.largest().user.to_vec()),
    });
    let entries = known
        .as_ref()
        .map(|(_, meta)| meta.entries + meta.range_deletes);
    bench.report.lost.push(Loss {
        file: damage.file.clone(),
        keys: keys.collect(),
        entries,
        keyspace: known.map(|(keyspace, _)| keyspace),
        bytes: Vec::new(),
    });
    bench.problem(damage);
}

/// INVARIANT repair-3: tables in any order become one level. Those that overlap no other stay as they are.
fn one_level(
    bench: &mut Bench<'_>,
    id: KeyspaceNumber,
    mut keyspace: Found,
) -> Result<Vec<TableMeta>> {
    keyspace
        .tables
        .sort_by(|a, b| a.smallest().cmp(&b.smallest()));
    let mut groups: Vec<Vec<TableMeta>> = Vec::new();
    for table in keyspace.tables.drain(..) {
        let start = table.smallest().user.to_vec();
        match groups.last_mut() {
            Some(group) if group.iter().any(|other| other.reaches(&start)) => group.push(table),
            _ => groups.push(vec![table]),
        }
    }
    let owner = TableOwner {
        id,
        name: keyspace.name.as_str().into(),
    };
    let mut level = Vec::new();
    for group in groups {
        match <[TableMeta; 1]>::try_from(group) {
            Ok([only]) => level.push(only),
            Err(group) => level.extend(merge(bench, &owner, &keyspace.options, &group)?),
        }
    }
    Ok(level)
}

/// Merges tables into new ones that do not overlap, keeping the newest change to each key.
fn merge(
    bench: &mut Bench<'_>,
    owner: &TableOwner,
    options: &KeyspaceOptions,
    tables: &[TableMeta],
) -> Result<Vec<TableMeta>> {
    let mut cursors: Vec<Box<dyn Cursor>> = Vec::new();
    let mut ranges = Vec::new();
    for meta in tables {
        let path = table_path(&bench.options.path, meta.number);
        let cache = BlockCache::<Block>::new(0);
        let reader = TableReader::open(&*bench.disk, &path, meta.number, cache)?;
        ranges.push(Arc::clone(reader.range_tombstones()));
        let read = BlockRead {
            fill_cache: false,
            ..BlockRead::default()
        };
        cursors.push(Box::new(reader.cursor(read)));
    }
    let clock = Arc::clone(&bench.options.clock) as Arc<dyn Clock>;
    let retention = keep_newest();
    let compaction = Compaction {
        inputs: MergeCursor::new(cursors),
        tombstones: RangeTombstones::merged(&ranges, Readers::At(&retention.snapshots)),
        retention,
        cuts: Cuts::at(options.table_len, []),
        tables: TableFiles::new(
            Arc::clone(&bench.disk),
            bench.options.path.clone(),
            TableOptions::new(owner.clone(), options, true),
            bench.now,
            || bench.numbers.issue(),
        ),
        rate: &RateLimiter::new(None, clock, |_| {}),
        urgency: Urgency::Compaction,
        cancelled: &NEVER,
    };
    let made = compaction.run()?.expect("it is never cancelled").tables;
    bench.report.tables_rewritten += made.len() as u64;
    Ok(made)
}

static NEVER: AtomicBool = AtomicBool::new(false);

/// The newest change to each key, deletes too: who knows what lies below. Nothing expires.
pub(super) fn keep_newest<'a>() -> Retention<'a> {
    Retention {
        snapshots: vec![SeqNo::MAX],
        older_below: &|_, _| true,
        expiry_filter: None,
        now: 0,
    }
}
