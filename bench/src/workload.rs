//! Keys, values and choices, the same for every engine.

/// A small generator (splitmix64), the same numbers for every engine.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// From 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub const VALUE_LEN: usize = 1000;

/// Key number `i`, 20 bytes.
pub fn key(i: u64) -> [u8; 20] {
    let mut key = *b"user0000000000000000";
    let mut rest = i;
    for byte in key[4..].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// A key of the same form that is never put: odd numbers stand for it, even ones are put.
pub fn missing_key(i: u64) -> [u8; 20] {
    key(2 * i + 1)
}

pub fn present_key(i: u64) -> [u8; 20] {
    key(2 * i)
}

/// Numbers below `n` in an order without pattern: a permutation, by a Feistel network that walks
/// until it falls below `n`.
pub fn shuffled(i: u64, n: u64) -> u64 {
    let bits = (64 - n.max(2).leading_zeros()).next_multiple_of(2);
    let half = bits / 2;
    let mask = (1u64 << half) - 1;
    let mut x = i;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..4 {
            let mixed = Draw::new(right ^ (round << 32)).next();
            (left, right) = (right, left ^ (mixed & mask));
        }
        x = left << half | right;
        if x < n {
            return x;
        }
    }
}

/// A value that LZ4 makes about half as long.
pub fn fill_value(draw: &mut Draw, value: &mut [u8; VALUE_LEN]) {
    let (random, rest) = value.split_at_mut(VALUE_LEN / 2);
    for chunk in random.chunks_mut(8) {
        chunk.copy_from_slice(&draw.next().to_le_bytes()[..chunk.len()]);
    }
    rest.copy_from_slice(random);
}

/// Zipfian choices below `n`, scattered over the keys (Gray et al., theta 0.99).
#[derive(Clone, Debug)]
pub struct Zipf {
    n: u64,
    zeta: f64,
    eta: f64,
    alpha: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    pub fn new(n: u64) -> Self {
        let sum = |n: u64| (1..=n).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
        let zeta = sum(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - sum(2) / zeta);
        Self {
            n,
            zeta,
            eta,
            alpha: 1.0 / (1.0 - THETA),
        }
    }

    /// How popular the chosen one is: 0 most.
    pub fn rank(&self, draw: &mut Draw) -> u64 {
        let u = draw.unit();
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(THETA) {
            return 1;
        }
        let rank = self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.n - 1)
    }

    pub fn key(&self, draw: &mut Draw) -> u64 {
        shuffled(self.rank(draw), self.n)
    }
}
