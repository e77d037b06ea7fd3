use proptest::prelude::*;
use ringwood_env::faulty::{Class, Failure, Fault, FaultPlan, Operation};

use super::*;
use crate::cursor::{BlockRead, Cursor};
use crate::error::{CorruptionKind, Error, Result};

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd(3)];

fn small_entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = (0..40u32)
        .map(|n| {
            (
                format!("user{:04}", n * 3).into_bytes(),
                u64::from(n),
                Kind::Put,
                format!("value{n}").repeat(4).into_bytes(),
            )
        })
        .collect();
    entries.push((b"user0009".to_vec(), 99, Kind::Delete, Vec::new()));
    sort(&mut entries);
    entries
}

fn small_table(compression: Compression) -> (Arc<FaultyDisk>, Vec<Entry>) {
    let disk = disk();
    let entries = small_entries();
    let options = TableOptions {
        block_len: 256,
        restart_interval: 4,
        compression,
        ..options()
    };
    write(
        &disk,
        options,
        &entries,
        &[tombstone(b"user0050", b"user0060", 50)],
    );
    (disk, entries)
}

/// Asks everything; every answer that is not an error must be right.
fn ask(disk: &FaultyDisk, entries: &[Entry]) -> Result<()> {
    let table = open(disk)?;
    let covering = table
        .range_tombstones()
        .newest_covering(b"user0055", SeqNo::MAX);
    assert_eq!(covering, Some(SeqNo::new(50)));
    let mut failure = None;
    for entry in entries {
        match table.get(
            &entry.0,
            filter_hash(&entry.0),
            SeqNo::new(entry.1),
            BlockRead::default(),
        ) {
            Ok(found) => {
                let (seq, kind, value) = found.expect("a wrong \"there is none\"");
                assert_eq!(
                    (seq.get(), kind, &value[..]),
                    (entry.1, entry.2, &entry.3[..])
                );
            }
            Err(error) => failure = Some(error),
        }
    }
    for forward in [true, false] {
        if let Err(error) = scan(&table, entries, forward) {
            failure = Some(error);
        }
    }
    // Of all the ways to read, only this one looks at every byte.
    match (failure, table.verify()) {
        (Some(_), Ok(())) => panic!("what verify passes can be read"),
        (_, verified) => verified,
    }
}

fn scan(table: &Arc<TableReader>, entries: &[Entry], forward: bool) -> Result<()> {
    let mut cursor = table.cursor(BlockRead {
        fill_cache: false,
        ..BlockRead::default()
    });
    if forward {
        cursor.seek_to_first()?
    } else {
        cursor.seek_to_last()?
    }
    for i in 0..entries.len() {
        let entry = &entries[if forward { i } else { entries.len() - 1 - i }];
        assert_eq!((cursor.key(), cursor.value()), (key(entry), &entry.3[..]));
        if forward {
            cursor.next()?
        } else {
            cursor.prev()?
        }
    }
    assert!(!cursor.valid());
    Ok(())
}

fn salvaged(disk: &FaultyDisk) -> (Vec<Entry>, Salvaged) {
    let mut entries = Vec::new();
    let salvaged = salvage(disk, Path::new(PATH), NUMBER, &mut |key, value| {
        entries.push((
            key.user.to_vec(),
            key.seq().get(),
            key.kind(),
            value.to_vec(),
        ));
        Ok(())
    });
    (entries, salvaged.unwrap())
}

#[test]
fn every_flipped_byte_is_an_error_or_the_right_answer() {
    for compression in COMPRESSIONS {
        let (disk, entries) = small_table(compression);
        let sound = disk.read_file(PATH).unwrap();
        ask(&disk, &entries).unwrap();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= [0xff, 0x01, 0x80][at % 3];
            disk.write_file(PATH, bytes);
            let error = ask(&disk, &entries).expect_err("no byte is without a check");
            assert!(matches!(error, Error::Corruption(_)), "byte {at}: {error}");
        }
    }
}

#[test]
fn every_flipped_byte_costs_a_salvage_one_block() {
    let (disk, entries) = small_table(Compression::Lz4);
    let sound = disk.read_file(PATH).unwrap();
    let (all, whole) = salvaged(&disk);
    assert_eq!(all, entries);
    assert!(whole.lost.is_empty() && whole.range_tombstones.len() == 1);
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        disk.write_file(PATH, bytes);
        let (saved, report) = salvaged(&disk);
        assert_eq!(report.lost.len(), 1, "byte {at}");
        let lost = &report.lost[0];
        assert!(lost.bytes.contains(&(at as u64)), "byte {at} in {lost:?}");
        let missing: Vec<&Entry> = entries
            .iter()
            .filter(|entry| !saved.contains(entry))
            .collect();
        assert!(saved.iter().all(|entry| entries.contains(entry)));
        assert!(missing.len() < 10, "byte {at} cost {}", missing.len());
        for entry in missing {
            assert!(lost.after.as_ref().is_none_or(|after| *after <= entry.0));
            assert!(lost.before.as_ref().is_none_or(|before| *before >= entry.0));
        }
    }
}

#[test]
fn a_file_cut_anywhere_or_grown_is_found_out_and_salvaged() {
    for compression in COMPRESSIONS {
        let (disk, entries) = small_table(compression);
        let sound = disk.read_file(PATH).unwrap();
        for len in 0..sound.len() {
            disk.write_file(PATH, &sound[..len]);
            let error = ask(&disk, &entries).expect_err("a cut file has no footer");
            assert!(
                matches!(error, Error::Corruption(_)),
                "{len} bytes: {error}"
            );
            let (saved, report) = salvaged(&disk);
            assert_eq!(saved, entries[..saved.len()]);
            let lost: u64 = report
                .lost
                .iter()
                .map(|lost| lost.bytes.end - lost.bytes.start)
                .sum();
            assert!(lost <= len as u64);
        }
        disk.write_file(PATH, [&sound[..], &[0; 100]].concat());
        assert!(ask(&disk, &entries).is_err());
        assert_eq!(salvaged(&disk).0, entries);
    }
}

#[test]
fn blocks_read_from_the_wrong_place_are_found_out() {
    let (disk, entries) = small_table(Compression::None);
    let sound = disk.read_file(PATH).unwrap();
    let table = open(&disk).unwrap();
    let partition = table.read_partition(table.top.handle(0)).unwrap();
    let handles: Vec<_> = (0..partition.len()).map(|i| partition.handle(i)).collect();
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let range = |i: usize| at(handles[i].offset)..at(handles[i].end());
    let pairs = (0..handles.len()).flat_map(|i| (0..i).map(move |j| (j, i)));
    let (one, other) = { pairs }
        .find(|&(j, i)| handles[i].len == handles[j].len)
        .expect("some blocks are equally long");
    let mut swapped = sound.clone();
    swapped[range(one)].copy_from_slice(&sound[range(other)]);
    swapped[range(other)].copy_from_slice(&sound[range(one)]);
    disk.write_file(PATH, swapped);
    let error = ask(&disk, &entries).unwrap_err();
    let Error::Corruption(corruption) = &error else {
        panic!("{error}");
    };
    assert_eq!(corruption.kind, CorruptionKind::Checksum);
    assert_eq!(corruption.offset, handles[one].offset);
    let (saved, report) = salvaged(&disk);
    assert!(saved.is_sorted_by(|a, b| key(a) < key(b)) && saved.len() < entries.len());
    // Nothing between them makes two gaps of one.
    assert_eq!(report.lost[0].bytes.start, handles[one].offset);
    let last = report.lost.last().unwrap();
    assert_eq!(last.bytes.end, handles[other].end());

    // A whole file under another's name.
    disk.write_file(PATH, sound);
    let other = TableReader::open(
        &*disk,
        Path::new(PATH),
        FileNumber::new(2),
        BlockCache::new(1 << 20),
    );
    assert!(matches!(other, Err(Error::Corruption(_))));
}

#[test]
fn a_missing_file_and_a_later_format_are_named() {
    let disk = disk();
    let Err(Error::Corruption(missing)) = open(&disk) else {
        panic!("there is no file");
    };
    assert_eq!(missing.kind, CorruptionKind::MissingFile);
    assert_eq!(missing.file, Path::new(PATH));

    let (disk, _) = small_table(Compression::None);
    let mut bytes = disk.read_file(PATH).unwrap();
    let footer = bytes.len() - 80;
    bytes[footer + 60] = 2;
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[footer..footer + 64], NUMBER.get());
    bytes[footer + 64..footer + 72].copy_from_slice(&checksum.to_le_bytes());
    disk.write_file(PATH, bytes);
    assert!(matches!(
        open(&disk),
        Err(Error::UnsupportedFormat {
            found: 2,
            supported: 1,
            ..
        })
    ));
}

#[test]
fn reads_that_go_wrong_are_errors_or_right_answers() {
    for seed in 0..200usize {
        let (sound, entries) = small_table(COMPRESSIONS[seed % 3]);
        let disk = sound.image(seed as u64);
        disk.set_plan(FaultPlan {
            flipped_reads: 0.2,
            misdirected_reads: 0.1,
            failures: vec![Failure::once(
                Class::Only(Operation::Read),
                1 + seed as u64 % 7,
                Fault::Io,
            )],
            ..FaultPlan::default()
        });
        let Ok(table) = open(&disk) else { continue };
        for entry in &entries {
            let hash = filter_hash(&entry.0);
            let found = table.get(&entry.0, hash, SeqNo::new(entry.1), BlockRead::default());
            if let Ok(found) = found {
                let (seq, _, value) = found.expect("a wrong \"there is none\"");
                assert_eq!((seq.get(), &value[..]), (entry.1, &entry.3[..]));
            }
        }
        for forward in [true, false] {
            let _ = scan(&table, &entries, forward);
        }
        let _ = table.verify();
    }
}

#[test]
fn no_failed_write_or_sync_makes_a_table() {
    let entries = small_entries();
    let attempt = |disk: &Arc<FaultyDisk>| -> Result<TableMeta> {
        let shared: Arc<dyn Disk> = disk.clone();
        let mut writer = TableWriter::create(shared, Path::new(PATH), NUMBER, options(), 0)?;
        for entry in &entries {
            writer.add(key(entry), &entry.3)?;
        }
        writer.finish()
    };
    let mut failed = 0;
    for nth in 1.. {
        let disk = disk();
        disk.set_plan(FaultPlan::fail(Failure::once(
            Class::Any,
            nth,
            Fault::NoSpace,
        )));
        match attempt(&disk) {
            Err(error) => assert!(error.is_disk_full(), "{error}"),
            Ok(_) => break,
        }
        failed += 1;
    }
    assert_eq!(failed, 3, "create, write, sync");
}

#[test]
fn a_part_that_cannot_be_read_costs_a_salvage_only_that_part() {
    let disk = disk();
    let entries: Vec<Entry> = (0..50u8)
        .map(|n| (vec![n], 1, Kind::Put, vec![n; 1000]))
        .collect();
    let options = TableOptions {
        compression: Compression::None,
        ..options()
    };
    write(&disk, options, &entries, &[]);
    // The first read is the header's, the second the whole window's; then it goes by pieces.
    let read = Class::Only(Operation::Read);
    disk.set_plan(FaultPlan {
        failures: vec![
            Failure::once(read, 2, Fault::Io),
            Failure::once(read, 3, Fault::Io),
        ],
        ..FaultPlan::default()
    });
    let (saved, report) = salvaged(&disk);
    assert_eq!(report.lost.len(), 1);
    assert!(!saved.is_empty() && saved.len() < entries.len());
    assert_eq!(saved, entries[entries.len() - saved.len()..]);
}

#[test]
fn noise_is_no_table() {
    let noise: Vec<u8> = (0..2000u64)
        .flat_map(|n| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()).to_le_bytes())
        .collect();
    assert!(!fuzz::table(&noise));
    assert!(!fuzz::table(&vec![0; 100_000]));
    assert!(!fuzz::table(b""));
    assert!(!fuzz::table(b"RWtable\0"));
}

proptest! {
    #![proptest_config(cases(200))]
    #[test]
    fn what_passes_its_checksum_and_makes_no_sense_is_refused(
        edits in proptest::collection::vec(any::<u8>(), 6..60),
        compression in proptest::sample::select(&COMPRESSIONS[..]),
    ) {
        let sound = fuzz::small_table(compression);
        prop_assert!(fuzz::table(&sound));
        fuzz::edited_table(&sound, &edits);
    }

    #[test]
    fn arbitrary_payloads_are_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz::payload(&payload);
    }
}
