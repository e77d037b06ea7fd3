//! What is drawn from a seed: options, keys, values, faults.

use std::cmp::Ordering;
use std::sync::Arc;

use ringwood_env::faulty::{Class, Failure, Fault, Operation};
use ringwood_env::{FaultPlan, SeededRandom};
use ringwood_lsm::{Compression, KeyspaceOptions};

use super::model::{Change, ChangeKind};

/// A number from 1 to `max`, small ones as likely as large ones.
pub fn skewed(random: &SeededRandom, max: u64) -> u64 {
    let bits = 64 - u64::leading_zeros(max);
    let limit = 1 << random.below(u64::from(bits) + 1);
    1 + random.below(limit.min(max))
}

pub fn keyspace_options(random: &SeededRandom) -> KeyspaceOptions {
    let compressions = [
        Compression::None,
        Compression::Lz4,
        Compression::Lz4,
        Compression::Zstd(1),
    ];
    let l0_trigger = 1 + random.index(4);
    KeyspaceOptions {
        block_len: *random.pick(&[1 << 10, 1 << 10, 4 << 10]),
        compression: *random.pick(&compressions),
        bottom_compression: *random.pick(&compressions),
        filter_bits_per_key: *random.pick(&[0, 4, 10, 16]),
        table_len: *random.pick(&[4 << 10, 4 << 10, 16 << 10, 1 << 20]),
        level_ratio: *random.pick(&[2, 3, 10]),
        l0_trigger,
        l0_stop: l0_trigger + 1 + random.index(8),
        expiry_filter: None,
    }
}

/// The keys and values of one run.
#[derive(Debug)]
pub struct Data {
    keys: u64,
    value_len_max: u64,
    values_made: u64,
    /// Where the keys of now are, if not everywhere: tables then overlap some others, not all.
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    begin: u64,
    len: u64,
    /// Values until it moves.
    stay: u64,
    /// How likely a key is elsewhere.
    elsewhere: f64,
}

impl Data {
    pub fn new(random: &SeededRandom, keys_max: u64) -> Self {
        let keys = 4 + random.below(keys_max);
        let window = random.chance(0.5).then(|| Window {
            begin: 0,
            len: 2 + random.below(keys / 3),
            stay: *random.pick(&[2, 5, 20]),
            elsewhere: *random.pick(&[0.0, 0.0, 0.1]),
        });
        Self {
            keys,
            value_len_max: *random.pick(&[16, 100, 1000, 4000]),
            values_made: 0,
            window,
        }
    }

    pub fn key(&self, random: &SeededRandom) -> Vec<u8> {
        let n = match &self.window {
            Some(window) if !random.chance(window.elsewhere) => {
                return plain_key(window.begin + random.below(window.len));
            }
            _ => random.below(self.keys),
        };
        // Keys that are prefixes of others, and an empty one.
        match n % 16 {
            0 if n == 0 => Vec::new(),
            1 => format!("k{:03}", n / 2).into_bytes(),
            2 => format!("k{:03}\0", n / 2).into_bytes(),
            3 => vec![0xff; usize::try_from(n % 7).expect("it is below 7")],
            _ => plain_key(n),
        }
    }

    /// A range of keys, mostly a short one; never an empty one.
    pub fn range(&self, random: &SeededRandom) -> (Vec<u8>, Vec<u8>) {
        let (a, b) = if random.chance(0.7) {
            let from = match &self.window {
                Some(window) => window.begin + random.below(window.len),
                None => random.below(self.keys),
            };
            (plain_key(from), plain_key(from + 1 + random.below(8)))
        } else {
            (self.key(random), self.key(random))
        };
        match a.cmp(&b) {
            Ordering::Less => (a, b),
            Ordering::Equal => (a, [&b[..], b"\0"].concat()),
            Ordering::Greater => (b, a),
        }
    }

    /// A value that was never given before.
    pub fn value(&mut self, random: &SeededRandom) -> Arc<[u8]> {
        self.values_made += 1;
        if let Some(window) = &mut self.window
            && self.values_made.is_multiple_of(window.stay)
        {
            // Mostly it slides: a table then overlaps the one before, and not the one before that.
            window.begin = if random.chance(0.7) {
                (window.begin + 1 + random.below(window.len)) % self.keys
            } else {
                random.below(self.keys)
            };
        }
        let mut value = format!("v{}-", self.values_made).into_bytes();
        let len = value.len() + random.index(usize::try_from(self.value_len_max).expect("small"));
        if random.chance(0.5) {
            value.resize(len, b'.');
        } else {
            let from = value.len();
            value.resize(len, 0);
            random.fill(&mut value[from..]);
        }
        value.into()
    }

    /// A change of some key; what expires does so a little before `now` or soon after.
    pub fn change(&mut self, random: &SeededRandom, space: u32, now: u64) -> Change {
        let key = self.key(random);
        let (key, kind) = match random.below(20) {
            put @ 0..14 => {
                let value = self.value(random);
                let expires = put >= 12;
                let deadline = expires.then(|| now.saturating_sub(500) + random.below(3000));
                (key, ChangeKind::Put { value, deadline })
            }
            14..18 => (key, ChangeKind::Delete),
            _ => {
                let (start, end) = self.range(random);
                (start, ChangeKind::DeleteRange { end })
            }
        };
        Change { space, key, kind }
    }
}

fn plain_key(n: u64) -> Vec<u8> {
    format!("key-{n:05}").into_bytes()
}

/// Calls that fail, once or from then on.
pub fn failures(random: &SeededRandom) -> FaultPlan {
    let classes = [
        Class::Any,
        Class::Reads,
        Class::Writes,
        Class::Writes,
        Class::Syncs,
        Class::Syncs,
        Class::Only(Operation::Sync),
        Class::Only(Operation::Sync),
        Class::Names,
        Class::Only(Operation::Create),
        Class::Only(Operation::SyncDir),
        Class::Only(Operation::Rename),
        Class::Only(Operation::Open),
    ];
    let failure = |_| {
        let on = *random.pick(&classes);
        let fault = match on {
            Class::Names | Class::Only(Operation::Create | Operation::Open) => *random.pick(&[
                Fault::Io,
                Fault::NoSpace,
                Fault::Denied,
                Fault::TooManyFiles,
            ]),
            _ => *random.pick(&[Fault::Io, Fault::NoSpace]),
        };
        let nth = skewed(random, 100);
        let failure = if random.chance(0.6) {
            Failure::once(on, nth, fault)
        } else {
            Failure::for_good(on, nth, fault)
        };
        match on {
            Class::Writes | Class::Syncs | Class::Only(Operation::Sync) | Class::Any => {
                failure.of(["", "", ".log", ".sst"][random.index(4)])
            }
            _ => failure,
        }
    };
    FaultPlan {
        failures: (0..1 + random.below(2)).map(failure).collect(),
        ..FaultPlan::default()
    }
}
