//! Bytes that are not what was written, of a log that was closed and of one that was not; and writes
//! that a crash tore, which must not be taken for those.

use super::*;

const SECTOR: usize = 512;

/// Attacks wal-7: whatever byte is flipped, and wherever the log ends.
#[test]
fn every_flipped_byte_of_a_log_is_mended() {
    let closed = || {
        let mut log = small_log();
        log.writer.close(1).unwrap();
        log
    };
    let rotated = || {
        let mut log = small_log();
        log.rotate().unwrap();
        log
    };
    let single = || {
        let mut log = Log::create(&FaultyDisk::new(0), 4).unwrap();
        log.put(300, Synced).unwrap();
        log
    };
    let synced = || {
        let mut log = small_log();
        log.sync().unwrap();
        log
    };
    for (name, log) in [
        ("closed", closed()),
        ("killed", small_log()),
        ("an empty segment follows", rotated()),
        ("one frame", single()),
        ("a mark is last", synced()),
    ] {
        let (mut mended, sound) = (0, log.recover().unwrap().1);
        for_every_byte(&log, |image, segment, at| {
            let context = format!("{name}: {} byte {at}", segment.number);
            let (groups, mut recovered) =
                replay(image, &log.live()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(groups, log.groups, "{context}");
            let found = std::mem::take(&mut recovered.mended);
            assert_eq!(recovered, sound, "{context}");
            if let Some(found) = found.first() {
                let (file, offset) = (&found.file, found.offset);
                assert_eq!((file, offset), (&segment.path, at as u64), "{context}");
                assert_eq!(found.kind, CorruptionKind::ChangedByte);
                // From now on it is as it was written.
                image.crash(CrashMode::LoseAll);
                assert_eq!(image.read_file(file), log.disk.read_file(file), "{context}");
                assert_eq!(replay(image, &log.live()).unwrap().1, sound, "{context}");
            }
            mended += found.len();
        });
        let bytes: usize = log
            .live
            .iter()
            .flat_map(|segment| frames(&log.disk, segment))
            .map(|frame| frame.len())
            .sum();
        assert_eq!(mended, bytes, "{name}: every byte of every frame");
    }
}

/// Also where nothing is written again otherwise.
#[test]
fn a_flipped_byte_before_a_seal_is_mended() {
    let mut log = small_log();
    log.sync().unwrap();
    let mut live = log.live();
    live[1].end = Some(log.writer.position().offset);
    let path = &live[0].path;
    let before = log.disk.read_file(path);
    let inside = frames(&log.disk, &live[0])[2].end - 1;
    assert!(log.disk.flip(path, inside, 5));
    let (groups, recovered) = replay(&log.disk, &live).unwrap();
    assert_eq!((groups, recovered.mended.len()), (log.groups.clone(), 1));
    log.disk.crash(CrashMode::LoseAll);
    assert_eq!(log.disk.read_file(path), before);
}

/// Two bytes of one frame cannot be told. Then it is an error where anything says that the frame was
/// durable, and else taken for what a crash cut off, and told where it can be seen.
#[test]
fn two_flipped_bytes_are_an_error_or_a_reported_prefix() {
    let log = small_log();
    let mut lost = 0;
    for_every_byte(&log, |image, segment, at| {
        assert!(image.flip(&segment.path, at + 1, 3));
        let context = format!("{} byte {at}", segment.number);
        match replay(image, &log.live()) {
            Ok((groups, recovered)) => {
                assert_eq!(groups, log.groups[..groups.len()], "{context}");
                let falls_short = groups.len() < log.groups.len();
                // It is seen only where it still names its segment, or is whole but for the name.
                let (frames, at) = (frames(&log.disk, segment), at + 1);
                let names_none = frames.iter().any(|frame| {
                    let name = frame.start + 8..frame.start + 17;
                    name.contains(&at)
                });
                assert!(falls_short || recovered.torn.is_none(), "{context}");
                assert!(
                    !falls_short || recovered.torn.is_some() || names_none,
                    "{context}"
                );
                assert!(groups.len() + 3 >= log.groups.len(), "{context}");
                lost += usize::from(falls_short);
            }
            Err(Error::Corruption(_)) => {}
            Err(other) => panic!("{context}: {other}"),
        }
    });
    assert!(lost > 0, "the documents say that this happens");

    let mut log = log;
    log.writer.close(1).unwrap();
    let mut errors = 0;
    for_every_byte(&log, |image, segment, at| {
        assert!(image.flip(&segment.path, at + 1, 3));
        match replay(image, &log.live()) {
            Ok((groups, _)) => assert_eq!(groups, log.groups, "{} byte {at}", segment.number),
            Err(Error::Corruption(_)) => errors += 1,
            Err(other) => panic!("{} byte {at}: {other}", segment.number),
        }
    });
    let payloads: usize = log.groups.iter().map(|group| group.payload.len()).sum();
    assert!(
        errors > payloads,
        "{errors} errors, {payloads} bytes of payload"
    );
}

/// What an earlier build wrote is read as it read it.
#[test]
fn a_frame_without_a_hash_is_whole_or_none() {
    let log = small_log();
    let segment = &log.live[1];
    let mut bytes = log.disk.read_file(&segment.path).unwrap();
    let page = bytes.first_chunk::<PAGE_LEN>().unwrap();
    let salt = format::SegmentHeader::decode(page).unwrap().salt;
    for frame in frames(&log.disk, segment) {
        let (head, _) = bytes[frame.start..].split_first_chunk_mut().unwrap();
        let mut header = FrameHeader::decode(head, segment.number, salt).unwrap();
        header.payload_hash = 0;
        *head = header.encode(salt);
    }
    log.disk.write_file(&segment.path, bytes);
    assert_eq!(log.recover().unwrap().0, log.groups);
    let last = frames(&log.disk, segment).pop().unwrap();
    for at in last {
        let image = log.disk.image(0);
        image.flip(&segment.path, at, 1);
        let (groups, recovered) = replay(&image, &log.live()).unwrap();
        assert_eq!(groups, log.groups[..log.groups.len() - 1], "byte {at}");
        assert!(recovered.torn.is_some() && recovered.mended.is_empty());
    }
}

/// Attacks wal-7 from the other side: a write that was torn, over the remains of former lives, is no
/// damage. It is left out, or there as a whole where one byte is missing.
#[test]
fn a_torn_write_is_no_damage() {
    let mut outcomes = [0; 3];
    // How far the last sector is filled, and how many stand before it.
    let ends = [1, 2, 9, 200, 512].into_iter();
    let ends = ends.flat_map(|end| [0, 1, 2, 9].map(|sectors| (end, sectors)));
    for (seed, (end, sectors)) in (0..).zip(ends) {
        for durability in [Synced, Buffered] {
            for value in [None, Some(0), Some(1)] {
                let mut log = recycled_log(seed);
                let segment = log.live.back().unwrap().clone();
                let before = log.disk.read_file(&segment.path).unwrap();
                let payload_at =
                    usize::try_from(log.writer.position().offset).unwrap() + FRAME_HEADER_LEN;
                let end = (payload_at / SECTOR + sectors) * SECTOR + end;
                let mut payload = vec![0; end.saturating_sub(payload_at).max(1)];
                match value {
                    None => log.random.fill(&mut payload),
                    Some(byte) => *payload.last_mut().unwrap() = byte,
                }
                let mut frame = Frame::new();
                frame.push(&payload, 1);
                log.write(frame, durability).unwrap();
                assert_eq!(log.live.back().unwrap().number, segment.number);
                tear(&log, &segment, &before, &mut outcomes);
            }
        }
    }
    let [left_out, whole, mended] = outcomes;
    assert!(left_out > 1000 && whole > 10 && mended > 10, "{outcomes:?}");
}

/// A log whose last segment had a life before, full of frames at other places.
fn recycled_log(seed: u64) -> Log {
    let mut log = Log::create(&FaultyDisk::new(seed), seed).unwrap();
    for _ in 0..6 {
        log.put(log.random.index(1400), Buffered).unwrap();
    }
    log.rotate().unwrap();
    log.put(10, Synced).unwrap();
    log.drop_oldest();
    log.rotate().unwrap();
    log.put(100, Synced).unwrap();
    for _ in 0..seed % 3 {
        log.put(100, Buffered).unwrap();
    }
    log
}

/// Leaves each sector of the last write old or new in every way that has one seam, and in some others.
fn tear(log: &Log, segment: &LiveSegment, before: &[u8], outcomes: &mut [u32; 3]) {
    let after = log.disk.read_file(&segment.path).unwrap();
    let frame = frames(&log.disk, segment).pop().unwrap();
    let (first, last) = (frame.start / SECTOR, frame.end.div_ceil(SECTOR));
    let seams = (first..=last).flat_map(|seam| [(seam, false), (seam, true)]);
    let patterns = seams.map(|(seam, is_new)| {
        let new: Box<dyn Fn(usize) -> bool> = Box::new(move |sector| (sector < seam) != is_new);
        new
    });
    let one_old = (first..last).map(|old| {
        let new: Box<dyn Fn(usize) -> bool> = Box::new(move |sector| sector != old);
        new
    });
    for is_new in patterns.chain(one_old) {
        let mut torn = before.to_vec();
        for sector in first..last {
            if is_new(sector) {
                let bytes = sector * SECTOR..(sector + 1) * SECTOR;
                torn[bytes.clone()].copy_from_slice(&after[bytes]);
            }
        }
        let differs = |at: &usize| torn[*at] != after[*at];
        let wrong = frame.clone().filter(differs).count();
        let image = log.disk.image(0);
        image.write_file(&segment.path, torn);
        let (groups, recovered) = replay(&image, &log.live())
            .unwrap_or_else(|error| panic!("{wrong} bytes of {frame:?}: {error}"));
        let kept = log.groups.len() - usize::from(wrong > 1);
        assert_eq!(groups, log.groups[..kept], "{wrong} bytes of {frame:?}");
        assert_eq!(recovered.mended.len(), usize::from(wrong == 1));
        outcomes[match wrong {
            0 => 1,
            1 => 2,
            _ => 0,
        }] += 1;
    }
}

fn for_every_byte(log: &Log, mut check: impl FnMut(&FaultyDisk, &LiveSegment, usize)) {
    for segment in &log.live {
        let frames = frames(&log.disk, segment);
        let used = frames.last().map_or(PAGE_LEN, |last| last.end) + 100;
        for at in 0..used {
            let image = log.disk.image(0);
            let bit = u8::try_from(at % 8).unwrap();
            assert!(image.flip(&segment.path, at, bit));
            check(&image, segment, at);
        }
    }
}

/// Bytes that a user chose so that a sector of zeros in their place has the same checksum, whatever the salt.
#[test]
fn a_torn_write_of_crafted_bytes_is_left_out() {
    let mut log = Log::create(&FaultyDisk::new(0), 7).unwrap();
    log.put(10, Synced).unwrap();
    let segment = log.live.back().unwrap().clone();
    let before = log.disk.read_file(&segment.path).unwrap();
    let start = usize::try_from(log.writer.position().offset).unwrap();
    let mut payload = vec![0; 4 * SECTOR];
    log.random.fill(&mut payload);
    let hole = SECTOR - FRAME_HEADER_LEN..2 * SECTOR - FRAME_HEADER_LEN;
    neutralize(&mut payload[hole]);
    let mut frame = Frame::new();
    frame.push(&payload, 1);
    log.write(frame, Synced).unwrap();
    let mut torn = log.disk.read_file(&segment.path).unwrap();
    let sector = start + SECTOR..start + 2 * SECTOR;
    assert_ne!(torn[sector.clone()], before[sector.clone()]);
    torn[sector.clone()].copy_from_slice(&before[sector]);
    let image = log.disk.image(0);
    image.write_file(&segment.path, torn);
    let (groups, _) = replay(&image, &log.live()).unwrap();
    assert!(
        groups == log.groups[..1],
        "a write that nobody made is there"
    );
}

/// Chooses the last four bytes so that the checksum is that of zeros.
fn neutralize(bytes: &mut [u8]) {
    let at = bytes.len() - 4;
    let zeros = vec![0; bytes.len()];
    let mut sum = |last: u32| {
        bytes[at..].copy_from_slice(&last.to_le_bytes());
        format::checksum(0, bytes)
    };
    let mut rest = sum(0) ^ format::checksum(0, &zeros);
    let base = sum(0);
    // Each basis vector with the change that makes it.
    let mut basis: Vec<(u32, u32)> = Vec::new();
    for bit in 0..32 {
        let (mut vector, mut change) = (sum(1 << bit) ^ base, 1_u32 << bit);
        for (other, by) in &basis {
            if vector ^ other < vector {
                (vector, change) = (vector ^ other, change ^ by);
            }
        }
        basis.push((vector, change));
        basis.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    }
    let mut last = 0;
    for (vector, change) in basis {
        if rest ^ vector < rest {
            (rest, last) = (rest ^ vector, last ^ change);
        }
    }
    assert_eq!(rest, 0);
    sum(last);
}
