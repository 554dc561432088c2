//! The times of a schedule in its zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pintle_sdk::api::cron::Schedule;
use pintle_sdk::prelude::*;

/// More missed times than this are worth a warning.
const MANY: usize = 100;
/// So many times are counted; beyond, the last one is found from nearby.
const MOST_COUNTED: usize = 1000;

/// Why a schedule cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadSchedule {
    UnknownTimeZone(String),
    Unparseable(String),
}

/// A schedule that can be followed.
pub struct Clock {
    schedule: Schedule,
    zone: TimeZone,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The latest time of the schedule that has come, in Unix milliseconds.
    pub at_ms: i64,
    /// There were too many before it to be plausible.
    pub too_many_missed: bool,
}

impl Clock {
    pub fn of(spec: &CronJobSpec) -> Result<Self, BadSchedule> {
        let zone = match spec.time_zone.as_deref() {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|error| {
                BadSchedule::UnknownTimeZone(format!("invalid timeZone: {name:?}: {error}"))
            })?,
        };
        let schedule = Schedule::parse(&spec.schedule).map_err(|error| {
            BadSchedule::Unparseable(format!("unparseable schedule: {:?} : {error}", spec.schedule))
        })?;
        Ok(Clock { schedule, zone })
    }

    fn offset_ms(&self, at_ms: i64) -> i64 {
        let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        i64::from(self.zone.to_offset(at).seconds()) * 1000
    }

    pub fn next(&self, after_ms: i64) -> Option<i64> {
        self.schedule.next(after_ms, &|at_ms| self.offset_ms(at_ms))
    }

    /// The latest time after `since` that is not after `now`.
    pub fn due(&self, since_ms: i64, now_ms: i64) -> Option<Due> {
        let mut at_ms = self.next(since_ms).filter(|at| *at <= now_ms)?;
        let mut count = 1;
        while let Some(next) = self.next(at_ms).filter(|next| *next <= now_ms) {
            count += 1;
            at_ms = next;
            if count == MOST_COUNTED {
                at_ms = self.latest_before(at_ms, now_ms);
                break;
            }
        }
        Some(Due { at_ms, too_many_missed: count > MANY })
    }

    /// By going forward from ever nearer to the present.
    fn latest_before(&self, known_ms: i64, now_ms: i64) -> i64 {
        let mut back = 60_000;
        loop {
            let from = now_ms - back;
            if from <= known_ms {
                break;
            }
            if let Some(mut at) = self.next(from).filter(|at| *at <= now_ms) {
                while let Some(next) = self.next(at).filter(|next| *next <= now_ms) {
                    at = next;
                }
                return at;
            }
            back *= 2;
        }
        let mut at = known_ms;
        while let Some(next) = self.next(at).filter(|next| *next <= now_ms) {
            at = next;
        }
        at
    }

    /// As the annotation of a job says it, in the schedule's zone.
    pub fn format(&self, at_ms: i64) -> String {
        let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        if self.zone == TimeZone::UTC {
            return pintle_sdk::api::time::format_seconds(at_ms);
        }
        let local = at.to_zoned(self.zone.clone());
        local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_sdk::api::time;

    fn clock(schedule: &str, zone: Option<&str>) -> Clock {
        let spec = CronJobSpec {
            schedule: schedule.to_owned(),
            time_zone: zone.map(str::to_owned),
            ..CronJobSpec::default()
        };
        Clock::of(&spec).unwrap()
    }

    #[test]
    fn what_is_due() {
        fn check(
            schedule: &str,
            zone: Option<&str>,
            since: &str,
            now: &str,
            expect: Option<(&str, bool)>,
        ) {
            let (since, now) = (time::parse(since).unwrap(), time::parse(now).unwrap());
            let due = clock(schedule, zone).due(since, now);
            let found = due.map(|due| (time::format_seconds(due.at_ms), due.too_many_missed));
            assert_eq!(found, expect.map(|(at, many)| (at.to_owned(), many)), "{schedule}");
        }
        let morning = "2026-03-02T08:00:00Z";
        check("0 9 * * *", None, morning, "2026-03-02T08:59:59Z", None);
        check(
            "0 9 * * *",
            None,
            morning,
            "2026-03-02T09:00:00Z",
            Some(("2026-03-02T09:00:00Z", false)),
        );
        check(
            "0 9 * * *",
            Some("America/New_York"),
            morning,
            "2026-03-02T15:00:00Z",
            Some(("2026-03-02T14:00:00Z", false)),
        );
        // The zone has changed its clocks on 8 March.
        check(
            "0 9 * * *",
            Some("America/New_York"),
            morning,
            "2026-03-09T13:30:00Z",
            Some(("2026-03-09T13:00:00Z", false)),
        );
        check(
            "* * * * *",
            None,
            morning,
            "2026-03-02T10:00:30Z",
            Some(("2026-03-02T10:00:00Z", true)),
        );
        check(
            "* * * * *",
            None,
            morning,
            "2027-03-02T10:00:30Z",
            Some(("2027-03-02T10:00:00Z", true)),
        );
        check(
            "0 0 1 1 *",
            None,
            "1970-01-01T00:00:00Z",
            morning,
            Some(("2026-01-01T00:00:00Z", false)),
        );
    }

    #[test]
    fn times_are_written_in_the_zone() {
        let at = time::parse("2026-07-01T12:00:00Z").unwrap();
        assert_eq!(clock("@hourly", None).format(at), "2026-07-01T12:00:00Z");
        assert_eq!(clock("@hourly", Some("Asia/Tokyo")).format(at), "2026-07-01T21:00:00+09:00");
    }

    #[test]
    fn bad_schedules_are_told_apart() {
        let spec = |schedule: &str, zone: &str| CronJobSpec {
            schedule: schedule.to_owned(),
            time_zone: Some(zone.to_owned()),
            ..CronJobSpec::default()
        };
        let error = Clock::of(&spec("@hourly", "Mars/Olympus")).err().unwrap();
        assert!(matches!(error, BadSchedule::UnknownTimeZone(_)));
        let error = Clock::of(&spec("often", "UTC")).err().unwrap();
        assert!(matches!(error, BadSchedule::Unparseable(_)));
    }
}
