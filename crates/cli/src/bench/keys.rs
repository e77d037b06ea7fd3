//! Which records are drawn, and what they are called.

use clap::ValueEnum;

/// Skew of the zipfian draw, as YCSB has it.
const EXPONENT: f64 = 0.99;

/// How records are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// Few records get most requests; they are spread over the key space.
    Zipfian,
    /// All alike.
    Uniform,
    /// The newest get most.
    Latest,
}

/// A small generator of good enough quality for benchmarks (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// Less than `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a product")
    }

    /// From 0 up to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn scramble(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The name of record `number`; neighbours in number are none in key order.
pub(crate) fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}{:016x}", scramble(number.wrapping_add(1)))
}

/// Whether a key is the name of a record.
pub(crate) fn is_name(prefix: &str, key: &str) -> bool {
    let digits = key.strip_prefix(prefix);
    digits.is_some_and(|digits| {
        digits.len() == 16
            && digits
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

impl Distribution {
    /// Draws one of `count` records, which is not 0.
    pub(crate) fn draw(self, draw: &mut Draw, count: u64) -> u64 {
        match self {
            Self::Uniform => draw.below(count),
            // Scrambled, so that hot records are not those that were loaded first.
            Self::Zipfian => scramble(zipf(draw, count)) % count,
            Self::Latest => count - 1 - zipf(draw, count),
        }
    }
}

/// A rank from 0 up to `count`, by rejection-inversion (Hörmann and Derflinger, 1996): no table, so
/// `count` may grow while it is drawn from.
#[expect(clippy::cast_precision_loss, reason = "ranks are drawn, not counted")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 1..=count before"
)]
fn zipf(draw: &mut Draw, count: u64) -> u64 {
    let most = count as f64;
    let area_first = area(1.5) - 1.0;
    let area_all = area(most + 0.5);
    let sure = 2.0 - area_inverse(area(2.5) - height(2.0));
    loop {
        let point = area_all + draw.unit() * (area_first - area_all);
        let x = area_inverse(point);
        let rank = x.round().clamp(1.0, most);
        if rank - x <= sure || point >= area(rank + 0.5) - height(rank) {
            return rank as u64 - 1;
        }
    }
}

fn height(x: f64) -> f64 {
    (-EXPONENT * x.ln()).exp()
}

/// The integral of [`height`].
fn area(x: f64) -> f64 {
    ((1.0 - EXPONENT) * x.ln()).exp_m1() / (1.0 - EXPONENT)
}

fn area_inverse(area: f64) -> f64 {
    let t = (area * (1.0 - EXPONENT)).max(-1.0);
    (t.ln_1p() / (1.0 - EXPONENT)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_below_the_count_and_are_skewed_as_they_say() {
        let mut draw = Draw(7);
        for count in [1, 2, 3, 1000, 1 << 40] {
            for distribution in [
                Distribution::Uniform,
                Distribution::Zipfian,
                Distribution::Latest,
            ] {
                assert!((0..1000).all(|_| distribution.draw(&mut draw, count) < count));
            }
        }
        let draws = 200_000;
        let share =
            |of: &mut dyn FnMut() -> bool| (0..draws).filter(|_| of()).count() * 1000 / draws;
        // With this exponent the first of 1,000 gets 1 / sum(r^-0.99) = 12.9 % of all.
        let first = share(&mut || zipf(&mut draw, 1000) == 0);
        assert!((120..140).contains(&first), "{first}");
        let newest = share(&mut || Distribution::Latest.draw(&mut draw, 1000) == 999);
        assert!((120..140).contains(&newest), "{newest}");
        let half = share(&mut || Distribution::Uniform.draw(&mut draw, 1000) < 500);
        assert!((490..510).contains(&half), "{half}");
    }

    #[test]
    fn names_are_different_and_of_one_length() {
        let names: std::collections::BTreeSet<_> =
            (0..10_000).map(|number| name("p/", number)).collect();
        assert_eq!(names.len(), 10_000);
        assert!(
            names
                .iter()
                .all(|name| name.len() == 18 && is_name("p/", name))
        );
        for other in [
            "p/",
            "p/notes",
            "q/0123456789abcdef",
            "p/0123456789ABCDEF",
            "p/0123456789abcdef0",
        ] {
            assert!(!is_name("p/", other), "{other}");
        }
    }
}
