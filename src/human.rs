//! Numbers as people read them.

use std::time::Duration;

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes: `0 B`, `71.2 MiB`, `1.62 GiB`; three significant digits.
pub fn bytes(count: u64) -> String {
    let (number, unit) = scaled(count);
    format!("{number} {unit}")
}

/// So much of so much, in the unit of the whole: `1.21 / 1.62 GiB`.
pub fn part_of(done: u64, total: u64) -> String {
    let (total_number, unit) = scaled(total);
    let exponent = UNITS.iter().position(|u| *u == unit).map_or(0, |at| at + 1);
    let done = if exponent == 0 {
        done.to_string()
    } else {
        digits(done as f64 / 1024_f64.powi(exponent as i32))
    };
    format!("{done} / {total_number} {unit}")
}

/// A rate: `96.0 MiB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    // Negative and not-a-number become 0 by the cast.
    format!("{}/s", bytes(bytes_per_second as u64))
}

/// A time that something took or will take: `2.1 s`, `4 min 5 s`, `3 h 7 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A time that something will take at most, as far as can be known: whole seconds, and the minutes
/// alone when there are ten: `4 s`, `4 min 5 s`, `12 min`, `3 h 7 min`.
pub fn time_left(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match seconds {
        0..60 => format!("{seconds} s"),
        600..3600 => format!("{} min", seconds.div_ceil(60)),
        _ => duration(Duration::from_secs(seconds)),
    }
}

/// A moment of RFC 3339, to the minute: `2026-11-23 04:10 UTC`. Other text stays as it is.
pub fn moment(timestamp: &str) -> String {
    match timestamp.parse::<jiff::Timestamp>() {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => timestamp.to_owned(),
    }
}

/// The beginning of a key's fingerprint, where the whole of it is shown elsewhere:
/// `SHA256:9f2c3a5b7d1e4f60`. Its digits are the key ID in the names of signature files.
pub fn short_fingerprint(fingerprint: &str) -> &str {
    let end = "SHA256:".len() + 16;
    fingerprint.get(..end).unwrap_or(fingerprint)
}

/// `1 image`, `41 images`.
pub fn count(number: usize, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{number} {noun}")
}

/// The first `longest` characters of a text, with `…` behind them where there are more: keeps foreign
/// text in a message short.
pub fn clip(text: &str, longest: usize) -> String {
    let mut clipped: String = text.chars().take(longest).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

fn scaled(count: u64) -> (String, &'static str) {
    if count < 1024 {
        return (count.to_string(), "B");
    }
    let mut number = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be rounded to 1024.
    while number >= 1023.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    (digits(number), UNITS[unit])
}

fn digits(number: f64) -> String {
    if number < 9.995 {
        format!("{number:.2}")
    } else if number < 99.95 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (count, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (74_658_611, "71.2 MiB"),
            (155_189_248, "148 MiB"),
            (1_739_461_755, "1.62 GiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
        assert_eq!(part_of(1_299_227_607, 1_739_461_755), "1.21 / 1.62 GiB");
        assert_eq!(part_of(5, 100), "5 / 100 B");
        assert_eq!(part_of(0, 0), "0 / 0 B");
        assert_eq!(rate(f64::NAN), "0 B/s");
        assert_eq!(rate(-1.0), "0 B/s");
    }

    #[test]
    fn what_is_left_is_told_in_round_numbers() {
        for (millis, shown) in [
            (0, "0 s"),
            (3_001, "4 s"),
            (245_000, "4 min 5 s"),
            (601_000, "11 min"),
            (11_220_000, "3 h 7 min"),
        ] {
            assert_eq!(time_left(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn moments_and_fingerprints_are_shortened_and_nothing_else_is() {
        assert_eq!(moment("2026-11-23T04:10:59Z"), "2026-11-23 04:10 UTC");
        assert_eq!(moment("yesterday"), "yesterday");
        let fingerprint = format!("SHA256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(short_fingerprint(&fingerprint), "SHA256:0123456789abcdef");
        assert_eq!(short_fingerprint("SHA256:12"), "SHA256:12");
    }

    #[test]
    fn durations_get_coarser() {
        for (millis, shown) in [
            (40, "0.0 s"),
            (2_140, "2.1 s"),
            (17_400, "17 s"),
            (245_000, "4 min 5 s"),
            (11_220_000, "3 h 7 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), shown);
        }
    }
}
