//! Randomness, as an argument: a seed replays a run.

use std::fmt::Debug;

/// Where random bits come from.
pub trait Random: Debug + Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The operating system's source, fit for identifiers and secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                // A machine without a random source cannot mint ids that never repeat.
                Err(error) => panic!("the operating system gives no random bytes: {error}"),
            }
        }
        u64::from_ne_bytes(bytes)
    }
}

/// A generator that replays from its seed, for tests and simulation: splitmix64 (Steele, Lea and
/// Flood, *Fast splittable pseudorandom number generators*, 2014). Not for secrets.
#[cfg(feature = "faulty")]
#[derive(Debug)]
pub struct SeededRandom {
    state: std::sync::atomic::AtomicU64,
}

#[cfg(feature = "faulty")]
impl SeededRandom {
    /// The generator of `seed`. Any seed will do, neighbours included.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: std::sync::atomic::AtomicU64::new(seed),
        }
    }

    /// An independent generator, drawn from this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::new(self.next_u64())
    }

    /// A number below `n`.
    ///
    /// # Panics
    /// Where `n` is 0: there is none.
    pub fn below(&self, n: u64) -> u64 {
        assert!(n > 0, "no number is below 0");
        // The high half of a product (Lemire); its bias of n / 2^64 shows in no test.
        let product = u128::from(self.next_u64()) * u128::from(n);
        u64::try_from(product >> 64).expect("the high half of 128 bits")
    }

    /// An index into a slice of `len` items.
    ///
    /// # Panics
    /// Where `len` is 0.
    pub fn index(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// True with probability `p`; 0 and 1 are exact.
    pub fn chance(&self, p: f64) -> bool {
        // 53 bits fill the mantissa: the fraction is in [0, 1).
        let fraction = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        fraction < p
    }

    /// One of `items`.
    ///
    /// # Panics
    /// Where there are none.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// Brings `items` into a random order (Fisher–Yates).
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(feature = "faulty")]
impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .state
            .fetch_add(GAMMA, std::sync::atomic::Ordering::Relaxed)
            .wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_random_does_not_repeat() {
        assert_ne!(SystemRandom.next_u64(), SystemRandom.next_u64());
    }

    #[cfg(feature = "faulty")]
    #[test]
    fn seeded_random_is_splitmix64() {
        // The first outputs of the reference implementation for seed 1234567.
        let random = SeededRandom::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(drawn, expected);
    }

    #[cfg(feature = "faulty")]
    #[test]
    fn draws_stay_in_their_range_and_reach_all_of_it() {
        let random = SeededRandom::new(7);
        let mut seen = [0_u32; 5];
        for _ in 0..5_000 {
            seen[random.index(5)] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1_200).contains(&n)), "{seen:?}");

        let heads = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2_300..2_700).contains(&heads), "{heads}");
        assert!((0..1_000).all(|_| !random.chance(0.0) && random.chance(1.0)));
        assert_eq!(*random.pick(&[9]), 9);
    }

    #[cfg(feature = "faulty")]
    #[test]
    fn shuffle_keeps_every_item_and_fill_covers_odd_lengths() {
        let random = SeededRandom::new(1);
        let mut items: Vec<u32> = (0..100).collect();
        random.shuffle(&mut items);
        assert!(items.windows(2).any(|pair| pair[0] > pair[1]));
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..100));

        // Zero bytes are expected once in 256: a tail never written would stay zero each time.
        let reached = (0..64).any(|_| {
            let mut bytes = [0; 13];
            random.fill(&mut bytes);
            bytes[12] != 0
        });
        assert!(reached);
        assert_ne!(random.fork().next_u64(), random.fork().next_u64());
    }
}
