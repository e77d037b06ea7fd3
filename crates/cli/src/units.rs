//! Sizes, times, rates and lists as people write them: `512MiB`, `1h30m`, `20MiB/s`, `a.example,b.example`.
//!
//! Every option and every key of the configuration that is one of these is read here, by one grammar:
//! numbers with a unit, `1.5GiB`; times of several, largest first, `1h30m`. Errors name examples. Printed
//! is so what can be given so again; what people are told is printed by `human`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A unit and what it stands for.
type Unit = (&'static str, u64);

/// Upper and lower case mean the same; a letter alone counts by 1024, as memory and files are counted.
const SIZES: &[Unit] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
    ("B", 1),
];
/// What sizes are printed in.
const SIZES_SHOWN: &[Unit] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const DAY: u64 = 86_400_000;
/// In milliseconds, largest first.
const TIMES: &[Unit] = &[
    ("d", DAY),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
const COUNTS: &[Unit] = &[("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)];
const A_SECOND: &str = "/s";

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// Bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByteRate(pub(crate) u64);

/// So many a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

/// A time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

/// A time to live, in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u64);

impl Bytes {
    /// As a length in memory.
    pub(crate) fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.0)
    }
}

/// Takes the number that a text begins with: digits, with `_` among them and perhaps a fraction. Gives
/// it as a numerator and a power of ten, and the rest.
fn number(text: &str) -> Option<(u128, u128, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '_' || c == '.'))
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_sound = whole.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit());
    if !is_sound || fraction.len() > 9 {
        return None;
    }
    let digits = [whole, fraction].concat().replace('_', "");
    let tens = u32::try_from(fraction.len()).ok()?;
    Some((digits.parse().ok()?, 10_u128.pow(tens), rest.trim_start()))
}

fn times((digits, tens): (u128, u128), factor: u64) -> Option<u64> {
    u64::try_from(digits.checked_mul(factor.into())? / tens).ok()
}

/// A number with one unit, or none: then it counts `plain`.
fn one_unit(text: &str, units: &[Unit], plain: u64) -> Option<u64> {
    let (digits, tens, unit) = number(text.trim())?;
    let factor = match unit {
        "" => plain,
        unit => {
            let known = units
                .iter()
                .find(|known| known.0.eq_ignore_ascii_case(unit));
            known?.1
        }
    };
    times((digits, tens), factor)
}

/// Numbers with units, largest first; a number alone is in seconds.
fn time(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(seconds) = one_unit(text, &[], 1000) {
        return Some(seconds);
    }
    let (mut rest, mut units, mut sum) = (text, TIMES, 0_u64);
    while !rest.is_empty() {
        let (digits, tens, behind) = number(rest)?;
        let end = behind
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let at = units
            .iter()
            .position(|known| known.0.eq_ignore_ascii_case(unit))?;
        sum = sum.checked_add(times((digits, tens), units[at].1)?)?;
        (rest, units) = (behind.trim_start(), &units[at + 1..]);
    }
    (!text.is_empty()).then_some(sum)
}

/// The largest unit that divides the number.
fn print(value: u64, units: &[Unit]) -> String {
    let fits = |(_, factor): &&Unit| value >= *factor && value.is_multiple_of(*factor);
    let (unit, factor) = units
        .iter()
        .find(fits)
        .unwrap_or(units.last().expect("units are listed above"));
    format!("{}{unit}", value / factor)
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no size; write a number of bytes, or one with a unit: 64KiB, 512MiB, 1.5GiB, 2GB"
            )
        };
        one_unit(text, SIZES, 1).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no rate; write bytes a second: 20MiB, 20MiB/s, or 0 for no limit")
        };
        let size = text.trim();
        let size = size.strip_suffix(A_SECOND).unwrap_or(size);
        one_unit(size, SIZES, 1).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate; write how many a second: 500, 5k, 2M, 500/s");
        let count = text.trim();
        let count = count.strip_suffix(A_SECOND).unwrap_or(count);
        one_unit(count, COUNTS, 1).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time; write 500ms, 10s, 5m, 1h30m or 7d");
        time(text).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why| format!("{text:?} {why}; write seconds, or 90s, 1h30m, 7d");
        match time(text) {
            None => Err(wrong("is no time")),
            Some(ms) if !ms.is_multiple_of(1000) => Err(wrong("is no whole number of seconds")),
            Some(ms) => Ok(Self(ms / 1000)),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&print(self.0, SIZES_SHOWN))
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{A_SECOND}", Bytes(self.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&print(self.0, TIMES))
    }
}

/// A number, in the unit's plain form, or text with a unit.
struct Either<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Either<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a number, or text with a unit such as \"512MiB\" or \"10s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Either(std::marker::PhantomData))
            }
        }
    };
}

as_text!(Bytes);
as_text!(ByteRate);
as_text!(Span);

/// Some names: a list, or text with commas; `none` is an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(pub(crate) Vec<String>);

const NO_NAMES: &str = "none";

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty() && *name != NO_NAMES);
        Ok(Self(names.map(str::to_owned).collect()))
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.is_empty() {
            true => serializer.serialize_str(NO_NAMES),
            false => serializer.serialize_str(&self.0.join(",")),
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of names, or text with commas between them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Names, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        Ok(Names(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("7B", 7),
            ("64KiB", 65_536),
            ("2 gib", 2 << 30),
            ("1_000", 1000),
            ("3MB", 3_000_000),
            ("1GB", 1_000_000_000),
            ("512k", 512 << 10),
            ("64M", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("0.5K", 512),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(value)), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1",
            "+1",
            "1.",
            ".5K",
            "1..5K",
            "1TB1",
            "1 2",
            "1e3",
            "_1",
            "10s",
            "99999999999GiB",
            "0x10",
            "١",
        ] {
            let error = bad.parse::<Bytes>().unwrap_err();
            assert!(error.contains("512MiB"), "{bad}: {error}");
        }
        assert_eq!(Bytes(512 << 20).to_string(), "512MiB");
        assert_eq!(Bytes(1500).to_string(), "1500B");
        assert_eq!(Bytes(0).to_string(), "0B");
    }

    #[test]
    fn times_are_read_and_printed() {
        for (text, value) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("2", 2000),
            ("0.25", 250),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m 5s", 5_405_000),
            ("1.5h", 5_400_000),
            ("7d", 7 * DAY),
            ("1d1ms", DAY + 1),
            ("1H", 3_600_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(value)), "{text}");
        }
        for bad in [
            "",
            "s",
            "-1s",
            "30m1h",
            "1h1h",
            "1h30",
            "1x",
            "10MiB",
            "99999999999999999d",
            "+5s",
        ] {
            let error = bad.parse::<Span>().unwrap_err();
            assert!(error.contains("1h30m"), "{bad}: {error}");
        }
        assert_eq!(Span(90_000).to_string(), "90s");
        assert_eq!(Span(600_000).to_string(), "10m");
        assert_eq!(Span(0).to_string(), "0ms");
        for shown in [0, 1, 90_000, 5_400_000, 7 * DAY] {
            assert_eq!(Span(shown).to_string().parse(), Ok(Span(shown)));
        }
    }

    #[test]
    fn lives_are_whole_seconds_and_rates_count_by_the_second() {
        assert_eq!("1h30m".parse(), Ok(Seconds(5400)));
        assert_eq!("60".parse(), Ok(Seconds(60)));
        for bad in ["1500ms", "soon", "", "never"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
        for (text, value) in [
            ("500", 500),
            ("5k", 5000),
            ("2M/s", 2_000_000),
            ("1.5k", 1500),
        ] {
            assert_eq!(text.parse(), Ok(Rate(value)), "{text}");
        }
        assert_eq!("20MiB/s".parse(), Ok(ByteRate(20 << 20)));
        assert_eq!("0".parse(), Ok(ByteRate(0)));
        assert_eq!(ByteRate(20 << 20).to_string(), "20MiB/s");
        for bad in ["", "5KiB", "5/m", "/s", "fast"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
