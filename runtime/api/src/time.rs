//! RFC 3339 timestamps as Kubernetes writes them, and its short durations.
//!
//! Nothing here reads a clock: instants come in as unix milliseconds or
//! microseconds.

const DAY_SECONDS: i64 = 86_400;

/// `metav1.Time`: whole seconds, UTC. `1767323045000` gives `2026-01-02T03:04:05Z`.
pub fn format_seconds(unix_ms: i64) -> String {
    let (date, time) = civil(unix_ms.div_euclid(1000));
    format!("{date}T{time}Z")
}

/// `metav1.MicroTime`: always six digits of fraction.
pub fn format_micros(unix_us: i64) -> String {
    let (date, time) = civil(unix_us.div_euclid(1_000_000));
    format!("{date}T{time}.{:06}Z", unix_us.rem_euclid(1_000_000))
}

/// Milliseconds since the epoch, or `None` when the text is not RFC 3339.
pub fn parse(text: &str) -> Option<i64> {
    parse_micros(text).map(|us| us.div_euclid(1000))
}

/// Microseconds since the epoch. Digits beyond the sixth are cut.
pub fn parse_micros(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !bytes.is_ascii() {
        return None;
    }
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| bytes[at] != byte) || !matches!(bytes[10], b'T' | b't') {
        return None;
    }
    let (year, month, day) = (digits(&bytes[0..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    let (hour, minute, second) =
        (digits(&bytes[11..13])?, digits(&bytes[14..16])?, digits(&bytes[17..19])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    // A leap second is accepted and counted as the second after it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut micros = 0;
    if rest[0] == b'.' {
        let length = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        let used = length.min(6);
        micros = digits(&rest[1..1 + used])? * 10_i64.pow(6 - used as u32);
        rest = &rest[1 + length..];
    }
    let offset_seconds = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds =
        days_from_civil(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second
            - offset_seconds;
    Some(seconds * 1_000_000 + micros)
}

/// A duration the way `kubectl get` prints ages: the two most significant units
/// while they still matter, then one.
pub fn human_duration(milliseconds: i64) -> String {
    // A clock may run a little behind the one that stamped the object.
    let seconds = milliseconds / 1000;
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    if seconds < 120 {
        return format!("{seconds}s");
    }
    let minutes = seconds / 60;
    if minutes < 10 {
        return two(minutes, "m", seconds % 60, "s");
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    if hours < 8 {
        return two(hours, "h", minutes % 60, "m");
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if days < 8 {
        return two(days, "d", hours % 24, "h");
    }
    if days < 365 * 2 {
        return format!("{days}d");
    }
    let years = days / 365;
    if days < 365 * 8 {
        return two(years, "y", days % 365, "d");
    }
    format!("{years}y")
}

fn two(major: i64, major_unit: &str, minor: i64, minor_unit: &str) -> String {
    if minor == 0 {
        format!("{major}{major_unit}")
    } else {
        format!("{major}{major_unit}{minor}{minor_unit}")
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0_i64, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
    })
}

fn civil(unix_seconds: i64) -> (String, String) {
    let (year, month, day) = civil_from_days(unix_seconds.div_euclid(DAY_SECONDS));
    let second = unix_seconds.rem_euclid(DAY_SECONDS);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
    )
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day is
/// the last of its year and months follow one linear formula.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formats_and_parses() {
        fn check(text: &str, expect_ms: Option<i64>) {
            assert_eq!(parse(text), expect_ms, "{text}");
        }
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-01-02T03:04:05Z", Some(1_767_323_045_000));
        check("2026-01-02T04:04:05+01:00", Some(1_767_323_045_000));
        check("2026-01-02T03:04:05.1239999Z", Some(1_767_323_045_123));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000));
        check("2023-02-29T00:00:00Z", None);
        check("2026-01-02T03:04:05", None);
        check("2026-01-02 03:04:05Z", None);
        check("2026-01-02T03:04:05.Z", None);
        check("yesterday", None);
        check("ééééééééééééé", None);
        assert_eq!(format_seconds(1_767_323_045_999), "2026-01-02T03:04:05Z");
        assert_eq!(format_micros(1_767_323_045_000_007), "2026-01-02T03:04:05.000007Z");
    }

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        fn check(seconds: i64, expect: &str) {
            assert_eq!(human_duration(seconds * 1000), expect);
        }
        let (minute, hour, day) = (60, 3600, DAY_SECONDS);
        check(-2, "<invalid>");
        check(0, "0s");
        check(119, "119s");
        check(2 * minute, "2m");
        check(2 * minute + 5, "2m5s");
        check(10 * minute + 5, "10m");
        check(179 * minute, "179m");
        check(3 * hour, "3h");
        check(3 * hour + 10 * minute, "3h10m");
        check(8 * hour + 10 * minute, "8h");
        check(47 * hour, "47h");
        check(2 * day, "2d");
        check(2 * day + hour, "2d1h");
        check(8 * day + hour, "8d");
        check(729 * day, "729d");
        check(730 * day, "2y");
        check(3 * 365 * day + 9 * day, "3y9d");
        check(8 * 365 * day + day, "8y");
    }

    proptest! {
        #[test]
        fn round_trips(us in 0_i64..253_402_300_799_000_000) {
            prop_assert_eq!(parse_micros(&format_micros(us)), Some(us));
            let ms = us / 1000;
            prop_assert_eq!(parse(&format_seconds(ms)), Some(ms / 1000 * 1000));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
