//! Cron schedules as Kubernetes reads them: five fields, the `@` names, and
//! `@every`; in the dialect of the parser that kube-controller-manager uses
//! (no seconds, Sunday is 0, day of month and day of week are alternatives when
//! both are restricted). Written by hand: no crate speaks exactly this dialect.
//!
//! Does not know the clock or any time zone: the offset from UTC comes in as a
//! function.

use std::fmt;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// A schedule that has not fired by then never will (29 February on a Monday
/// comes every 28 years, but nobody waits for it).
const HORIZON_MS: i64 = 5 * 366 * DAY_MS;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    Fields(Fields),
    /// So many milliseconds after the last time, in whole seconds.
    Every(i64),
}

/// One bit for each value that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// `*` or `?`: it does not restrict, so the other day field decides alone.
    any_day: bool,
    any_weekday: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronError(String);

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CronError {}

struct Bounds {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { name: "minute", min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { name: "hour", min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { name: "day of month", min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds {
    name: "day of week",
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Schedule {
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix('@') {
            return Self::named(name);
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(CronError(format!(
                "expected exactly 5 fields, found {}: {text:?}",
                fields.len()
            )));
        };
        Ok(Self::Fields(Fields {
            minutes: field(minutes, &MINUTES)?,
            hours: field(hours, &HOURS)?,
            days: field(days, &DAYS)?,
            months: field(months, &MONTHS)?,
            weekdays: field(weekdays, &WEEKDAYS)?,
            any_day: is_any(days),
            any_weekday: is_any(weekdays),
        }))
    }

    fn named(name: &str) -> Result<Self, CronError> {
        let fields = match name {
            "yearly" | "annually" => "0 0 1 1 *",
            "monthly" => "0 0 1 * *",
            "weekly" => "0 0 * * 0",
            "daily" | "midnight" => "0 0 * * *",
            "hourly" => "0 * * * *",
            _ => {
                let Some(length) = name.strip_prefix("every ") else {
                    return Err(CronError(format!("unrecognized descriptor: @{name}")));
                };
                let milliseconds = duration(length.trim()).ok_or_else(|| {
                    CronError(format!("failed to parse duration {length:?}; use one like 1h30m"))
                })?;
                // Whole seconds, at least one.
                return Ok(Self::Every((milliseconds / 1000 * 1000).max(1000)));
            }
        };
        Self::parse(fields)
    }

    /// The first time after `after_ms` (Unix milliseconds). `offset_ms` tells how
    /// far local time is ahead of UTC at a moment. A local time that a change of
    /// the clock skips is not made up for; one that comes twice counts twice only
    /// where every hour is meant.
    pub fn next(&self, after_ms: i64, offset_ms: &dyn Fn(i64) -> i64) -> Option<i64> {
        match self {
            Self::Every(length) => Some((after_ms + length).div_euclid(1000) * 1000),
            Self::Fields(fields) => fields.next(after_ms, offset_ms),
        }
    }
}

impl Fields {
    fn next(&self, after_ms: i64, offset_ms: &dyn Fn(i64) -> i64) -> Option<i64> {
        let mut at = (after_ms.div_euclid(MINUTE_MS) + 1) * MINUTE_MS;
        let end = at.saturating_add(HORIZON_MS);
        while at < end {
            let local = at + offset_ms(at);
            let (year, month, day) = civil(local.div_euclid(DAY_MS));
            let of_day = local.rem_euclid(DAY_MS);
            let next = if !has(self.months, month) {
                let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                to_utc(days_from_civil(year, month, 1) * DAY_MS, offset_ms)
            } else if !self.matches_day(local.div_euclid(DAY_MS), day) {
                to_utc((local.div_euclid(DAY_MS) + 1) * DAY_MS, offset_ms)
            } else if !has(self.hours, (of_day / HOUR_MS) as u32) {
                at + HOUR_MS - of_day % HOUR_MS
            } else if !has(self.minutes, (of_day % HOUR_MS / MINUTE_MS) as u32) {
                at + MINUTE_MS
            } else {
                return Some(at);
            };
            // Where the clock is set back, a step must still lead forward.
            at = next.max(at + MINUTE_MS);
        }
        None
    }

    fn matches_day(&self, days: i64, day: u32) -> bool {
        // Day 0 of the Unix era was a Thursday.
        let weekday = (days + 4).rem_euclid(7) as u32;
        let (by_day, by_weekday) = (has(self.days, day), has(self.weekdays, weekday));
        if self.any_day || self.any_weekday { by_day && by_weekday } else { by_day || by_weekday }
    }
}

fn has(bits: u64, value: u32) -> bool {
    bits & (1 << value) != 0
}

fn is_any(text: &str) -> bool {
    text.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        matches!(range, "*" | "?") && step == "1"
    })
}

/// A comma-separated list of ranges with steps.
fn field(text: &str, bounds: &Bounds) -> Result<u64, CronError> {
    let mut bits = 0;
    for part in text.split(',') {
        bits |= range(part, bounds)?;
    }
    Ok(bits)
}

fn range(text: &str, bounds: &Bounds) -> Result<u64, CronError> {
    let fail = |what: &str| CronError(format!("{what} in {} field: {text:?}", bounds.name));
    let (span, step) = match text.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (text, None),
    };
    let (start, mut end) = match span {
        "*" | "?" => (bounds.min, bounds.max),
        _ => match span.split_once('-') {
            Some((start, end)) => (value(start, bounds)?, value(end, bounds)?),
            None => {
                let single = value(span, bounds)?;
                (single, single)
            }
        },
    };
    let step = match step {
        None => 1,
        Some(step) => {
            // `5/15` means from 5 on.
            if !span.contains(['-', '*', '?']) {
                end = bounds.max;
            }
            step.parse::<u32>().map_err(|_| fail("a step that is no number"))?
        }
    };
    if step == 0 {
        return Err(fail("a step of 0"));
    }
    if start < bounds.min || end > bounds.max {
        return Err(fail(&format!("a value outside of {} to {}", bounds.min, bounds.max)));
    }
    if start > end {
        return Err(fail("a range that ends before it begins"));
    }
    let mut bits = 0;
    let mut at = start;
    while at <= end {
        bits |= 1 << at;
        at = at.saturating_add(step);
    }
    Ok(bits)
}

fn value(text: &str, bounds: &Bounds) -> Result<u32, CronError> {
    let lower = text.to_ascii_lowercase();
    if let Some(index) = bounds.names.iter().position(|name| *name == lower) {
        return Ok(index as u32 + bounds.min);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse::<u32>().ok()).flatten();
    number.ok_or_else(|| CronError(format!("no number in {} field: {text:?}", bounds.name)))
}

/// A Go duration, `1h30m`, `1.5h`, `90s`; positive.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        rest = &rest[letters..];
        total += number * unit;
    }
    (total > 0.0 && total < 9e15).then_some(total as i64)
}

/// The moment at which it is this local time; where there is none, the moment
/// after the gap.
fn to_utc(local_ms: i64, offset_ms: &dyn Fn(i64) -> i64) -> i64 {
    let guess = local_ms - offset_ms(local_ms);
    let again = local_ms - offset_ms(guess);
    again.max(guess.min(again))
}

/// Year, month and day of a day of the Unix era, by Hinnant's algorithm.
fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted_month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    fn next(schedule: &str, after: &str, offset_ms: &dyn Fn(i64) -> i64) -> String {
        let after = time::parse(after).unwrap();
        match Schedule::parse(schedule).unwrap().next(after, offset_ms) {
            Some(at) => time::format_seconds(at),
            None => "never".to_owned(),
        }
    }

    #[test]
    fn the_next_time_in_utc() {
        fn check(schedule: &str, after: &str, expect: &str) {
            assert_eq!(next(schedule, after, &|_| 0), expect, "{schedule}");
        }
        check("*/15 * * * *", "2026-07-09T14:45:00Z", "2026-07-09T15:00:00Z");
        check("*/15 * * * *", "2026-07-09T14:59:59Z", "2026-07-09T15:00:00Z");
        check("5/15 * * * *", "2026-07-09T14:20:00Z", "2026-07-09T14:35:00Z");
        check("20-35/15 * * * *", "2026-07-09T15:45:00Z", "2026-07-09T16:20:00Z");
        check("0 0 1 1 *", "2026-07-09T00:00:00Z", "2027-01-01T00:00:00Z");
        check("0 0 29 feb ?", "2026-07-09T00:00:00Z", "2028-02-29T00:00:00Z");
        check("0 0 31 2 *", "2026-07-09T00:00:00Z", "never");
        // Either day will do when both are given; with a star both must hold.
        check("0 0 1,15 * sun", "2026-07-09T00:00:00Z", "2026-07-12T00:00:00Z");
        check("0 0 * * mon-fri", "2026-07-10T00:00:00Z", "2026-07-13T00:00:00Z");
        check("0 0 */10 * sun", "2026-07-09T00:00:00Z", "2026-07-11T00:00:00Z");
        check("@hourly", "2026-07-09T23:00:00Z", "2026-07-10T00:00:00Z");
        check("@every 1h30m", "2026-07-09T23:00:00Z", "2026-07-10T00:30:00Z");
    }

    #[test]
    fn local_time_and_its_changes() {
        // Central Europe in 2026: summer time from 29 March 01:00 UTC to 25 October 01:00 UTC.
        let berlin = |at: i64| {
            let (from, to) = ("2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z");
            let summer = time::parse(from).unwrap() <= at && at < time::parse(to).unwrap();
            if summer { 2 * HOUR_MS } else { HOUR_MS }
        };
        let check = |schedule: &str, after: &str, expect: &str| {
            assert_eq!(next(schedule, after, &berlin), expect, "{schedule}");
        };
        check("0 3 * * *", "2026-01-01T12:00:00Z", "2026-01-02T02:00:00Z");
        check("0 3 * * *", "2026-07-01T12:00:00Z", "2026-07-02T01:00:00Z");
        // 02:30 does not exist on the day the clock is set forward.
        check("30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z");
        // Every hour means every hour, the one that comes twice included.
        check("0 * * * *", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z");
    }

    #[test]
    fn bad_schedules_are_explained() {
        fn check(schedule: &str, expect: &str) {
            let error = Schedule::parse(schedule).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
        check("", "expected exactly 5 fields, found 0");
        check("* * * *", "found 4");
        check("* * * * * *", "found 6");
        check("60 * * * *", "outside of 0 to 59 in minute field");
        check("* * 0 * *", "outside of 1 to 31");
        check("* * * * 7", "outside of 0 to 6");
        check("9-3 * * * *", "ends before it begins");
        check("*/0 * * * *", "a step of 0");
        check("x * * * *", "no number in minute field");
        check("* * * foo *", "no number in month field");
        check("@sometimes", "unrecognized descriptor");
        check("@every soon", "failed to parse duration");
        check("@every -5m", "failed to parse duration");
    }

    #[test]
    fn days_there_and_back() {
        for days in (-200_000..200_000).step_by(37) {
            let (year, month, day) = civil(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
