//! Numbers as people read them: `1.3 GiB`, `1,203,332`, `64 µs`, `3 h 12 min`.

use std::time::Duration;

/// Bytes with one digit behind the point where there are few before it.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut rest = lossy(bytes);
    // What would round to 1024 of a unit is one of the next.
    while rest >= 1023.5 && unit + 1 < UNITS.len() {
        rest /= 1024.0;
        unit += 1;
    }
    if unit == 0 || rest >= 99.95 {
        format!("{rest:.0} {}", UNITS[unit])
    } else {
        format!("{rest:.1} {}", UNITS[unit])
    }
}

/// A count, in groups of three digits.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: small ones with a digit behind the point.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        count(whole(per_second))
    }
}

/// How long something took: two or three digits that count, and a unit.
pub(crate) fn took(seconds: f64) -> String {
    let us = seconds * 1e6;
    match us {
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 9_950.0 => format!("{:.1} ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        us if us < 9_950_000.0 => format!("{:.1} s", us / 1e6),
        us => format!("{:.0} s", us / 1e6),
    }
}

/// How long something has lasted, in its two largest units.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 60 => format!("{seconds} s"),
        () if minutes < 60 => format!("{minutes} min {} s", seconds % 60),
        () if hours < 24 => format!("{hours} h {} min", minutes % 60),
        () => format!("{days} d {} h", hours % 24),
    }
}

/// A moment, in UTC to the minute; given in milliseconds since the Unix epoch.
pub(crate) fn moment(unix_ms: u64) -> String {
    let minutes = unix_ms / 60_000;
    let (year, month, day) = date(minutes / 1440);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        minutes / 60 % 24,
        minutes % 60
    )
}

/// Days since the Unix epoch as a date (Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// A share of a whole in percent, as `98.2 %`; nothing of nothing is nothing.
pub(crate) fn percent(part: f64, whole: f64) -> String {
    if whole <= 0.0 {
        return "–".to_owned();
    }
    format!("{:.1} %", part / whole * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "for people: three digits count")]
fn lossy(number: u64) -> f64 {
    number as f64
}

/// The nearest whole number; 0 for what is less.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floats end at the bounds"
)]
pub(crate) fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0, "0 B"),
            (1000, "1000 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (150 << 20, "150 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1_400_000_000, "1.3 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_203_332, "1,203,332"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(rate(0.0), "0");
        assert_eq!(rate(4.25), "4.2");
        assert_eq!(rate(12_345.6), "12,346");
        for (seconds, text) in [
            (0.000_064, "64 µs"),
            (0.0012, "1.2 ms"),
            (0.042, "42 ms"),
            (0.9997, "1.0 s"),
            (8.4, "8.4 s"),
            (120.0, "120 s"),
        ] {
            assert_eq!(took(seconds), text);
        }
        for (seconds, text) in [
            (59, "59 s"),
            (61, "1 min 1 s"),
            (11_520, "3 h 12 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(percent(1.0, 3.0), "33.3 %");
        assert_eq!(percent(0.0, 0.0), "–");
    }

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(moment(1_767_225_599_000), "2025-12-31 23:59 UTC");
        assert_eq!(moment(1_767_225_600_000), "2026-01-01 00:00 UTC");
    }
}
