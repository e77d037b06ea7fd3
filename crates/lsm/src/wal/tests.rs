//! The log as a whole, on a disk that crashes.

mod flips;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ringwood_env::faulty::{Class, Failure, Fault};
use ringwood_env::{CrashMode, Disk, FaultPlan, FaultyDisk, Random, SeededRandom};

use super::format::{
    FIRST_FRAME, FRAME_HEADER_LEN, FrameHeader, LogPosition, PAGE_LEN, RESERVED_LEN,
    payload_len_max,
};
use super::writer::LogStatistics;
use super::*;
use crate::batch::{Batch, KeyspaceId};
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::{FileNumber, log_path};
use crate::key::SeqNo;
use crate::options::Durability::{self, Buffered, Synced};

const DIRECTORY: &str = "db";
const SEGMENT_LEN: u64 = 24 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    log: FileNumber,
    first_seq: u64,
    count: u32,
    payload: Vec<u8>,
}

/// A log with what a manifest would say of it, and what it promised.
struct Log {
    disk: FaultyDisk,
    random: SeededRandom,
    pool: SegmentPool,
    writer: LogWriter,
    /// In order; the last one is written.
    live: VecDeque<LiveSegment>,
    next_number: u64,
    /// In live segments, the one being written last.
    groups: Vec<Group>,
    /// How many of them are promised to survive a power cut.
    durable: usize,
}

impl Log {
    fn create(disk: &FaultyDisk, seed: u64) -> Result<Self> {
        let directory = Path::new(DIRECTORY);
        disk.create_dir_all(directory)
            .and_then(|()| disk.sync_dir(Path::new("")))
            .map_err(|error| Error::io("create", directory, error))?;
        let random = SeededRandom::new(seed);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let source: Arc<dyn Random> = Arc::new(random.fork());
        let mut pool = SegmentPool::new(shared, source, directory, SEGMENT_LEN, 8);
        let segment = pool.begin(FileNumber::new(1), 0).run()?;
        Ok(Self {
            disk: disk.clone(),
            random,
            pool,
            live: [live_segment(1)].into(),
            writer: LogWriter::new(segment, None, SeqNo::new(1)),
            next_number: 2,
            groups: Vec::new(),
            durable: 0,
        })
    }

    fn put(&mut self, value_len: usize, durability: Durability) -> Result<()> {
        let mut frame = Frame::new();
        for _ in 0..=self.random.below(2) {
            let mut batch = Batch::new();
            let mut value = vec![0; value_len];
            self.random.fill(&mut value);
            batch.put(KeyspaceId::for_tests(0), b"key", &value)?;
            batch.delete(KeyspaceId::for_tests(0), b"other")?;
            frame.push(batch.encoded(), batch.count());
        }
        self.write(frame, durability)
    }

    fn write(&mut self, mut frame: Frame, durability: Durability) -> Result<()> {
        if !self.writer.fits(&frame) {
            self.rotate()?;
        }
        let first_seq = self.writer.next_seq();
        self.groups.push(Group {
            log: self.writer.number(),
            first_seq: first_seq.get(),
            count: frame.count(),
            payload: frame.payload().to_vec(),
        });
        let time_ms = first_seq.get();
        self.writer
            .write(&mut frame, first_seq, durability, time_ms)?;
        if durability == Synced {
            self.durable = self.groups.len();
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let number = self.next_number;
        self.next_number += 1;
        let segment = self.pool.begin(FileNumber::new(number), 0).run()?;
        self.live.push_back(live_segment(number));
        self.writer.rotate(segment)
    }

    /// As if what the oldest segment holds had been flushed to tables.
    fn drop_oldest(&mut self) {
        if self.live.len() < 2 {
            return;
        }
        let number = self.live.pop_front().unwrap().number;
        let before = self.groups.len();
        self.groups.retain(|group| group.log != number);
        self.durable = self.durable.saturating_sub(before - self.groups.len());
        self.writer.release_below(self.live[0].number);
        assert!(self.pool.retire(number, SEGMENT_LEN));
    }

    fn sync(&mut self) -> Result<()> {
        self.writer.sync()?;
        self.durable = self.groups.len();
        Ok(())
    }

    /// Some of everything.
    fn work(&mut self, steps: u32) -> Result<()> {
        for _ in 0..steps {
            let len = self.random.index(2500);
            match self.random.below(16) {
                0..8 => self.put(len, Buffered)?,
                8..13 => self.put(len, Synced)?,
                13 => self.sync()?,
                14 => self.drop_oldest(),
                _ => self.put(payload_len_max(SEGMENT_LEN) / 2 - 40, Buffered)?,
            }
        }
        Ok(())
    }

    fn live(&self) -> Vec<LiveSegment> {
        self.live.iter().cloned().collect()
    }

    fn recover(&self) -> Result<(Vec<Group>, Recovered)> {
        replay(&self.disk, &self.live())
    }
}

fn live_segment(number: u64) -> LiveSegment {
    let number = FileNumber::new(number);
    LiveSegment {
        number,
        path: log_path(Path::new(DIRECTORY), number),
        end: None,
    }
}

fn replay(disk: &FaultyDisk, live: &[LiveSegment]) -> Result<(Vec<Group>, Recovered)> {
    let mut groups = Vec::new();
    let recovered = recover(disk, live, &mut |frame| {
        groups.push(Group {
            log: frame.position.log,
            first_seq: frame.first_seq.get(),
            count: frame.count,
            payload: frame.payload.to_vec(),
        });
        Ok(())
    })?;
    Ok((groups, recovered))
}

fn corruption(result: Result<(Vec<Group>, Recovered)>) -> Corruption {
    match result {
        Err(Error::Corruption(corruption)) => corruption,
        other => panic!("{other:?}"),
    }
}

fn assert_prefix(recovered: &[Group], log: &Log, context: &str) {
    assert!(
        recovered.len() >= log.durable,
        "{context}: {} of {} durable groups",
        recovered.len(),
        log.durable
    );
    assert_eq!(recovered, &log.groups[..recovered.len()], "{context}");
}

/// Byte ranges of the frames in a segment, by its bytes alone.
fn frames(disk: &FaultyDisk, segment: &LiveSegment) -> Vec<Range<usize>> {
    let bytes = disk.read_file(&segment.path).unwrap();
    let page = bytes.first_chunk::<PAGE_LEN>().unwrap();
    let salt = format::SegmentHeader::decode(page).unwrap().salt;
    let mut frames = Vec::new();
    let mut at = PAGE_LEN;
    while let Some(header) = bytes[at..]
        .first_chunk::<FRAME_HEADER_LEN>()
        .and_then(|header| FrameHeader::decode(header, segment.number, salt))
    {
        let len = FRAME_HEADER_LEN + usize::try_from(header.payload_len).unwrap();
        frames.push(at..at + len);
        at = usize::try_from(header.next_offset(at as u64)).unwrap();
    }
    frames
}

#[test]
fn groups_come_back_over_recycled_segments() {
    let mut recycled = 0;
    for seed in 0..20 {
        let mut log = Log::create(&FaultyDisk::new(seed), seed).unwrap();
        log.work(100).unwrap();
        let (groups, recovered) = log.recover().unwrap();
        assert_eq!(groups, log.groups);
        assert_eq!(recovered.end, Some(log.writer.position()));
        assert_eq!(recovered.next_seq, Some(log.writer.next_seq()));
        assert_eq!((recovered.torn, recovered.clean_close), (None, false));

        log.writer.close(77).unwrap();
        let (groups, recovered) = log.recover().unwrap();
        assert_eq!(groups, log.groups);
        assert_eq!(recovered.last_time_ms, 77);
        assert_eq!((recovered.torn, recovered.clean_close), (None, true));
        assert!(matches!(log.put(1, Synced), Err(Error::Closed)));
        recycled += log.next_number - 1 - log.disk.paths().len() as u64;
    }
    assert!(recycled > 20, "only {recycled} segments recycled");
}

#[test]
fn an_empty_log_is_empty() {
    let mut log = Log::create(&FaultyDisk::new(0), 0).unwrap();
    let (groups, recovered) = log.recover().unwrap();
    assert_eq!((groups.len(), recovered.next_seq), (0, None));
    assert_eq!(
        recovered.end,
        Some(LogPosition::start_of(FileNumber::new(1)))
    );
    log.writer.close(1).unwrap();
    assert!(log.recover().unwrap().1.clean_close);
    assert_eq!(replay(&log.disk, &[]).unwrap().1, Recovered::default());
}

/// Attacks wal-2, wal-3, wal-4 and wal-5: the power fails in every call, and whatever is left
/// recovers to a prefix with all that was promised, twice.
#[test]
fn every_crash_leaves_a_prefix_with_all_that_was_synced() {
    for seed in 0..crash_seeds() {
        let disk = FaultyDisk::new(seed);
        Log::create(&disk, seed).unwrap().work(24).unwrap();
        for n in 3..=disk.operations() {
            let disk = FaultyDisk::new(seed);
            disk.set_plan(FaultPlan::crash_at(n));
            let Ok(mut log) = Log::create(&disk, seed) else {
                continue;
            };
            assert!(log.work(24).is_err());
            for (draw, mode) in (0..).zip([CrashMode::ALL, CrashMode::ALL].concat()) {
                let image = disk.image(n * 8 + draw);
                image.crash(mode);
                check_crashed(
                    &image,
                    &log,
                    &format!("seed {seed} operation {n} {mode:?} {draw}"),
                );
            }
        }
    }
}

fn crash_seeds() -> u64 {
    let seeds = std::env::var("RINGWOOD_CRASH_SEEDS").ok();
    seeds.map_or(4, |seeds| seeds.parse().expect("a number"))
}

fn check_crashed(image: &FaultyDisk, log: &Log, context: &str) {
    let (groups, recovered) =
        replay(image, &log.live()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_prefix(&groups, log, context);
    // What was replayed has been made durable, and stays when the rest is sealed away.
    image.crash(CrashMode::LoseAll);
    let (again, after) = replay(image, &log.live()).unwrap();
    assert_eq!((&again, after.end), (&groups, recovered.end), "{context}");
    let end = recovered.end.unwrap();
    let mut live = log.live();
    live.retain(|segment| segment.number <= end.log);
    live.last_mut().unwrap().end = Some(end.offset);
    assert_eq!(replay(image, &live).unwrap().0, groups, "{context}");
}

/// The oracle above sees a log that is not synced.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let disk = FaultyDisk::new(1);
    let mut log = Log::create(&disk, 1).unwrap();
    disk.set_plan(FaultPlan {
        ignore_sync_of: vec![".log".to_owned()],
        ..FaultPlan::default()
    });
    log.work(20).unwrap();
    disk.crash(CrashMode::LoseAll);
    let recovered = log.recover();
    assert!(recovered.is_err() || recovered.unwrap().0.len() < log.durable);
}

/// Two segments; the last synced group is followed by two buffered ones.
fn small_log() -> Log {
    let mut log = Log::create(&FaultyDisk::new(0), 3).unwrap();
    for durability in [Synced, Buffered, Buffered, Synced, Buffered] {
        log.put(300, durability).unwrap();
    }
    log.rotate().unwrap();
    for durability in [Buffered, Synced, Synced, Buffered, Buffered] {
        log.put(300, durability).unwrap();
    }
    log
}

/// Damages two bytes: more than is mended.
fn spoil(disk: &FaultyDisk, segment: &LiveSegment, at: usize) {
    for at in [at, at + 1] {
        assert!(disk.flip(&segment.path, at, 0));
    }
}

#[test]
fn every_truncation_is_an_error() {
    let mut log = small_log();
    log.writer.close(1).unwrap();
    for segment in &log.live {
        let bytes = log.disk.read_file(&segment.path).unwrap();
        for len in 0..bytes.len() {
            let image = log.disk.image(0);
            image.write_file(&segment.path, &bytes[..len]);
            let found = corruption(replay(&image, &log.live()));
            assert_eq!(found.kind, CorruptionKind::Truncated, "at {len}");
            assert_eq!(
                (found.file, found.offset),
                (segment.path.clone(), len as u64)
            );
        }
    }
}

#[test]
fn a_missing_segment_is_named() {
    let mut log = small_log();
    log.rotate().unwrap();
    log.put(10, Synced).unwrap();
    let middle = log.live[1].clone();

    let image = log.disk.image(0);
    image.remove(&middle.path);
    let found = corruption(replay(&image, &log.live()));
    assert_eq!(
        (found.file, found.kind),
        (middle.path, CorruptionKind::MissingFile)
    );

    // Also when nobody knows of it: the numbers have a gap.
    log.live.remove(1);
    let found = corruption(log.recover());
    assert_eq!(found.kind, CorruptionKind::MissingRecord);
    assert_eq!(found.file, log.live[0].path);
}

#[test]
fn a_segment_that_lost_all_its_frames_is_a_hole() {
    let log = small_log();
    let first = &log.live[0];
    let mut bytes = log.disk.read_file(&first.path).unwrap();
    bytes[PAGE_LEN..].fill(0);
    log.disk.write_file(&first.path, bytes);
    let found = corruption(log.recover());
    assert_eq!(found.kind, CorruptionKind::MissingRecord);
    assert_eq!(
        (found.file, found.offset),
        (first.path.clone(), FIRST_FRAME)
    );
}

#[test]
fn a_segment_under_another_ones_name_is_refused() {
    let log = small_log();
    let bytes = log.disk.read_file(&log.live[0].path).unwrap();
    log.disk.write_file(&log.live[1].path, bytes);
    let found = corruption(log.recover());
    assert_eq!((found.file, found.offset), (log.live[1].path.clone(), 0));
}

#[test]
fn another_version_is_said_to_be_that() {
    let log = small_log();
    let path = &log.live[0].path;
    let mut bytes = log.disk.read_file(path).unwrap();
    bytes[8] = 9;
    let sum = format::checksum(0, &bytes[..36]);
    bytes[36..40].copy_from_slice(&sum.to_le_bytes());
    log.disk.write_file(path, bytes);
    assert!(matches!(
        log.recover(),
        Err(Error::UnsupportedFormat {
            found: 9,
            supported: 1,
            ..
        })
    ));
}

/// Attacks wal-3: the same damage, before and after something says that the frame was durable.
#[test]
fn damage_is_a_torn_tail_until_a_watermark_passes_it() {
    let mut log = Log::create(&FaultyDisk::new(0), 5).unwrap();
    for durability in [Synced, Buffered, Buffered, Buffered] {
        log.put(500, durability).unwrap();
    }
    let hole = frames(&log.disk, &log.live[0])[1].clone();
    let damaged = |log: &Log| {
        let image = log.disk.image(0);
        spoil(&image, &log.live[0], hole.end - 2);
        replay(&image, &log.live())
    };

    let (groups, recovered) = damaged(&log).unwrap();
    assert_eq!(groups, log.groups[..1]);
    let torn = recovered.torn.unwrap();
    assert_eq!(
        (&torn.file, torn.offset),
        (&log.live[0].path, hole.start as u64)
    );
    let end = log.writer.position().offset;
    assert_eq!(torn.skipped_bytes, end - hole.start as u64);

    // The sync's own mark does not yet vouch for what it syncs; what follows it does.
    log.sync().unwrap();
    assert_eq!(damaged(&log).unwrap().0, log.groups[..1]);
    log.put(10, Buffered).unwrap();
    let found = corruption(damaged(&log));
    assert_eq!(found.kind, CorruptionKind::Checksum);
    assert_eq!((found.file, found.offset), (torn.file, hole.start as u64));
}

/// Attacks wal-3 across segments: the first frame of a segment is lost unsynced while all of the
/// segment before is durable.
#[test]
fn a_lost_head_behind_a_durable_segment_is_a_torn_tail() {
    let mut log = Log::create(&FaultyDisk::new(0), 5).unwrap();
    log.put(500, Synced).unwrap();
    log.rotate().unwrap();
    log.put(500, Buffered).unwrap();
    log.put(500, Buffered).unwrap();
    spoil(&log.disk, &log.live[1], PAGE_LEN + 9);
    let (groups, recovered) = log.recover().unwrap();
    assert_eq!(groups, log.groups[..1]);
    assert_eq!(recovered.end.unwrap().log, log.live[0].number);
    assert!(recovered.torn.is_some());
}

/// Attacks wal-1: frames of the segment's former life, and such as somebody stored as a value.
#[test]
fn remains_of_a_former_life_are_no_frames() {
    let mut log = Log::create(&FaultyDisk::new(0), 6).unwrap();
    for _ in 0..4 {
        log.put(2000, Synced).unwrap();
    }
    let former = log.live[0].clone();
    let old_frames = frames(&log.disk, &former);
    let old_bytes = log.disk.read_file(&former.path).unwrap();
    log.rotate().unwrap();
    log.put(10, Synced).unwrap();
    log.drop_oldest();
    log.rotate().unwrap();
    log.put(10, Synced).unwrap();
    let recycled = log.live[1].clone();
    assert!(log.disk.read_file(&former.path).is_none());
    assert_eq!(log.recover().unwrap().0, log.groups);

    // In its place, and made to continue the log, a frame of the old salt or number is none still.
    let at = frames(&log.disk, &recycled)[0]
        .end
        .next_multiple_of(PAGE_LEN);
    let mut bytes = log.disk.read_file(&recycled.path).unwrap();
    let stale = &old_bytes[old_frames[1].clone()];
    bytes[at..at + stale.len()].copy_from_slice(stale);
    log.disk.write_file(&recycled.path, bytes.clone());
    assert_eq!(log.recover().unwrap().0, log.groups);
    let page = old_bytes.first_chunk::<PAGE_LEN>().unwrap();
    let old_salt = format::SegmentHeader::decode(page).unwrap().salt;
    let head = stale.first_chunk::<FRAME_HEADER_LEN>().unwrap();
    let forged = FrameHeader {
        log: recycled.number,
        first_seq: log.writer.next_seq(),
        ..FrameHeader::decode(head, former.number, old_salt).unwrap()
    };
    bytes[at..at + FRAME_HEADER_LEN].copy_from_slice(&forged.encode(old_salt));
    log.disk.write_file(&recycled.path, bytes);
    assert_eq!(log.recover().unwrap().0, log.groups);
}

#[test]
fn a_seal_hides_what_is_behind_and_misses_what_is_before() {
    let log = small_log();
    let mut live = log.live();
    live.truncate(1);
    let second = frames(&log.disk, &live[0])[1].start as u64;
    live[0].end = Some(second);
    let (groups, recovered) = replay(&log.disk, &live).unwrap();
    assert_eq!(groups, log.groups[..1]);
    assert_eq!(recovered.end.unwrap().offset, second);
    assert_eq!(recovered.torn, None);

    let image = log.disk.image(0);
    spoil(&image, &live[0], PAGE_LEN + 70);
    let found = corruption(replay(&image, &live));
    assert_eq!(
        (found.offset, found.kind),
        (FIRST_FRAME, CorruptionKind::Checksum)
    );

    // A seal vouches for the segments before it, too.
    let mut live = log.live();
    live[1].end = Some(log.writer.position().offset);
    let last = frames(&log.disk, &live[0])[4].start;
    spoil(&log.disk, &live[0], last + 70);
    let found = corruption(replay(&log.disk, &live));
    assert_eq!(found.file, live[0].path);
}

#[test]
fn the_log_goes_on_behind_a_recovery() {
    let mut log = small_log();
    log.disk.crash(CrashMode::LoseAll);
    let (groups, recovered) = log.recover().unwrap();
    assert_prefix(&groups, &log, "after the crash");
    log.groups = groups;
    log.live.back_mut().unwrap().end = recovered.end.map(|end| end.offset);
    let number = FileNumber::new(log.next_number);
    let segment = log.pool.begin(number, 0).run().unwrap();
    log.live.push_back(live_segment(number.get()));
    log.next_number += 1;
    // Behind a seal numbers may be skipped.
    let next_seq = SeqNo::new(recovered.next_seq.unwrap().get() + 5);
    log.writer = LogWriter::new(segment, recovered.end, next_seq);
    log.work(30).unwrap();
    log.put(1, Synced).unwrap();
    assert_eq!(log.recover().unwrap().0, log.groups);
}

/// Attacks wal-2 where numbers may jump: behind a seal, but there only.
#[test]
fn a_seal_hides_no_lost_segment() {
    let mut log = Log::create(&FaultyDisk::new(0), 14).unwrap();
    log.put(10, Synced).unwrap();
    log.live[0].end = Some(log.writer.position().offset);
    let next_seq = SeqNo::new(log.writer.next_seq().get() + 5);
    let segment = log.pool.begin(FileNumber::new(2), 0).run().unwrap();
    log.writer = LogWriter::new(segment, Some(log.writer.position()), next_seq);
    log.live.push_back(live_segment(2));
    log.next_number = 3;
    for _ in 0..2 {
        log.put(10, Synced).unwrap();
        log.rotate().unwrap();
    }
    log.put(10, Synced).unwrap();
    assert_eq!(log.recover().unwrap().0, log.groups);

    let mut live = log.live();
    live.remove(2);
    let found = corruption(replay(&log.disk, &live));
    assert_eq!(found.kind, CorruptionKind::MissingRecord);

    let second = &log.live[1].path;
    let mut bytes = log.disk.read_file(second).unwrap();
    bytes[PAGE_LEN..].fill(0);
    log.disk.write_file(second, bytes);
    let found = corruption(log.recover());
    assert_eq!((&found.file, found.offset), (second, FIRST_FRAME));
}

/// After a kill the cache still has what was never synced. Once replayed, a power cut does not take
/// it away again.
#[test]
fn what_was_replayed_is_durable() {
    let mut log = Log::create(&FaultyDisk::new(0), 15).unwrap();
    log.put(10, Buffered).unwrap();
    log.rotate().unwrap();
    log.put(10, Buffered).unwrap();
    assert_eq!(log.recover().unwrap().0, log.groups);
    log.disk.crash(CrashMode::LoseAll);
    assert_eq!(log.recover().unwrap().0, log.groups);
}

#[test]
fn after_a_failure_nothing_more_is_taken() {
    for nth in 1..4 {
        for on in [Class::Writes, Class::Syncs] {
            let mut log = Log::create(&FaultyDisk::new(0), 8).unwrap();
            let plan = FaultPlan::fail(Failure::once(on, nth, Fault::Io));
            log.disk.set_plan(plan);
            let failed = (0..10).map(|i| {
                let durability = if i % 3 == 2 { Synced } else { Buffered };
                log.put(100, durability)
            });
            let mut failed = failed.skip_while(Result::is_ok);
            assert!(
                matches!(failed.next(), Some(Err(Error::Io { .. }))),
                "{on:?} {nth}"
            );
            assert!(failed.all(|result| matches!(result, Err(Error::Failed { .. }))));
            assert!(matches!(log.sync(), Err(Error::Failed { .. })));
            assert!(matches!(log.writer.close(1), Err(Error::Failed { .. })));
        }
    }
}

#[test]
fn a_full_segment_has_room_for_a_sync_and_the_end() {
    let mut log = Log::create(&FaultyDisk::new(0), 9).unwrap();
    let mut frame = Frame::new();
    frame.push(&vec![0; payload_len_max(SEGMENT_LEN)], 1);
    assert!(log.writer.fits(&frame));
    log.writer
        .write(&mut frame, SeqNo::new(1), Buffered, 1)
        .unwrap();
    assert_eq!(log.writer.position().offset, SEGMENT_LEN - RESERVED_LEN);
    frame.push(&[0], 1);
    assert!(!log.writer.fits(&frame));
    log.sync().unwrap();
    log.writer.close(2).unwrap();
    assert_eq!(log.writer.position().offset, SEGMENT_LEN);
    let (groups, recovered) = log.recover().unwrap();
    assert_eq!((groups.len(), recovered.clean_close), (1, true));
}

#[test]
fn without_direct_writes_the_log_is_as_durable() {
    let disk = FaultyDisk::new(0);
    let mut log = Log::create(&disk, 10).unwrap();
    let mut segment = log.pool.begin(FileNumber::new(2), 0).run().unwrap();
    segment.direct = None;
    log.live = [live_segment(2)].into();
    log.next_number = 3;
    log.writer = LogWriter::new(segment, None, SeqNo::new(1));
    for durability in [Synced, Synced, Buffered, Synced, Buffered] {
        log.put(1000, durability).unwrap();
    }
    disk.crash(CrashMode::LoseAll);
    assert_prefix(&log.recover().unwrap().0, &log, "without direct writes");
}

#[test]
fn a_lone_synced_group_costs_one_wait_and_one_page() {
    let mut log = Log::create(&FaultyDisk::new(0), 11).unwrap();
    let mut frame = Frame::new();
    frame.push(&[0; 1000], 1);
    log.writer
        .write(&mut frame, SeqNo::new(1), Synced, 1)
        .unwrap();
    let expected = LogStatistics {
        syncs: 1,
        bytes_written: PAGE_LEN as u64,
        padding_bytes: (PAGE_LEN - FRAME_HEADER_LEN - 1000) as u64,
    };
    assert_eq!(log.writer.statistics(), expected);
}

#[test]
fn the_pool_keeps_what_it_can_use() {
    let disk = FaultyDisk::new(0);
    let mut log = Log::create(&disk, 12).unwrap();
    let pool = &mut log.pool;
    pool.gave_up();
    assert!(pool.wants_spare());
    let preparation = pool.begin(FileNumber::new(5), 0);
    assert!(!pool.wants_spare());
    pool.put_spare(preparation.run().unwrap());
    assert!(!pool.wants_spare() && pool.holds(FileNumber::new(5)));
    assert_eq!(pool.take_spare().unwrap().number(), FileNumber::new(5));
    assert!(pool.wants_spare() && pool.take_spare().is_none());

    assert!(
        !pool.retire(FileNumber::new(5), SEGMENT_LEN + 4096),
        "another length"
    );
    for number in 10..18 {
        assert!(pool.retire(FileNumber::new(number), SEGMENT_LEN));
    }
    assert!(!pool.retire(FileNumber::new(18), SEGMENT_LEN), "enough");
    assert!(pool.holds(FileNumber::new(10)) && !pool.holds(FileNumber::new(18)));
}

/// A preparation that failed leaves no file under the segment's name, and can be repeated.
#[test]
fn a_segment_is_never_found_half_made() {
    for n in 1..20 {
        let disk = FaultyDisk::new(n);
        let mut log = Log::create(&disk, 13).unwrap();
        let number = FileNumber::new(2);
        disk.set_plan(FaultPlan::crash_at(n));
        let prepared = log.pool.begin(number, 0).run();
        let live = [live_segment(2)];
        for mode in CrashMode::ALL {
            let image = disk.image(n);
            image.crash(mode);
            match replay(&image, &live) {
                Ok((groups, _)) => assert_eq!(groups.len(), 0),
                Err(Error::Corruption(found)) => {
                    assert_eq!(found.kind, CorruptionKind::MissingFile);
                    assert!(prepared.is_err());
                }
                Err(other) => panic!("{other}"),
            }
        }
        disk.crash(CrashMode::Subset);
        log.pool.begin(number, 0).run().unwrap();
        assert_eq!(replay(&disk, &live).unwrap().0.len(), 0);
    }
}
