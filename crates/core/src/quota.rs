//! How many grants an identity may use, per day, week and month. What must never happen here: counting. The ledger counts
//! inside its transaction; this room says from when, and for how long an exhausted limit stays so.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;

/// How the period of a quota runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// The last 24 h, 7 d, 30 d.
    Rolling,
    /// Since midnight, Monday, the 1st, in the configured time zone.
    Calendar,
}

/// Which grants count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Unfinished ones, and closed ones that were used.
    Used,
    /// Every one that reached Open.
    Logins,
}

/// A length of time over which a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// 24 h, or since midnight.
    Day,
    /// 7 d, or since Monday.
    Week,
    /// 30 d, or since the 1st.
    Month,
}

/// The limits of a rule. No limit for a span: unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// At most so many a day.
    pub day: Option<u32>,
    /// At most so many a week.
    pub week: Option<u32>,
    /// At most so many a month.
    pub month: Option<u32>,
    /// How the periods run.
    pub period: Period,
    /// Which grants count.
    pub counts: Counts,
    /// The time zone of calendar periods.
    pub zone: TimeZone,
}

/// One limit with the moment from which it counts now. What the ledger needs to count, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Over which span.
    pub span: Span,
    /// At most so many.
    pub limit: u32,
    /// Grants opened at or after this moment count.
    pub from: Timestamp,
}

/// How far one limit is used, as counted by the ledger inside its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The limit.
    pub since: Since,
    /// Grants that count (see [`Counts`]).
    pub used: u32,
    /// When the `limit`-th most recent of them was opened, if there are as many: until it falls out, the quota is exhausted.
    pub limiting: Option<Timestamp>,
    /// Closed grants of the period that do not count because nothing came of them.
    pub unused: u32,
}

/// The finest step of time on which a ledger must be able to tell two grants apart.
const TICK: Duration = Duration::from_millis(1);

impl Default for Quota {
    /// What holds where no rule is written: 2 in 7 days, 4 in 30 days, counted when used.
    fn default() -> Self {
        Self {
            day: None,
            week: Some(2),
            month: Some(4),
            period: Period::Rolling,
            counts: Counts::Used,
            zone: TimeZone::UTC,
        }
    }
}

impl Quota {
    /// The limits that there are, each with the moment from which it counts at `now`.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Vec<Since> {
        [(Span::Day, self.day), (Span::Week, self.week), (Span::Month, self.month)]
            .into_iter()
            .filter_map(|(span, limit)| {
                limit.map(|limit| {
                    let from = match self.period {
                        Period::Rolling => now.checked_sub(span.length()).unwrap_or(Timestamp::MIN),
                        Period::Calendar => span.calendar(now, &self.zone).0,
                    };
                    Since { span, limit, from }
                })
            })
            .collect()
    }

    /// Whether this limit is reached, be it by grants that count or by ten times as many of which nothing came.
    #[must_use]
    pub fn exhausted(usage: &Use) -> bool {
        usage.used >= usage.since.limit || usage.backstop()
    }

    /// After how long this limit, if it is reached, leaves room for one more grant.
    ///
    /// Rolling: a millisecond after the limiting grant falls out, for it counts up to and with the last moment of its
    /// span; where unused windows are the limit, their moments are not known and it is the whole span at most. Calendar:
    /// at the start of the next period. None where waiting does not help: the limit is not reached, or is zero.
    #[must_use]
    pub fn retry_after(&self, usage: &Use, now: Timestamp) -> Option<Duration> {
        let span = usage.since.span;
        if usage.since.limit == 0 || !Self::exhausted(usage) {
            return None;
        }
        if self.period == Period::Calendar {
            return Some(until(now, span.calendar(now, &self.zone).1));
        }
        let counted = match usage.limiting {
            Some(limiting) if usage.used >= usage.since.limit => {
                until(now, limiting.checked_add(span.length()).unwrap_or(Timestamp::MAX))
            }
            Some(_) | None => Duration::ZERO,
        };
        let whole = usage.backstop() || usage.limiting.is_none();
        Some(if whole { counted.max(span.length()) } else { counted }.saturating_add(TICK))
    }
}

impl Use {
    /// Ten times the limit in windows of which nothing came: somebody opens doors without going through.
    fn backstop(&self) -> bool {
        self.unused >= self.since.limit.saturating_mul(10)
    }
}

impl Span {
    /// How long it is where periods roll.
    #[must_use]
    pub fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Day => 24 * 3600,
            Self::Week => 7 * 24 * 3600,
            Self::Month => 30 * 24 * 3600,
        })
    }

    /// Start and end of the calendar period that holds `now`. Days begin at their first moment in the zone, which a
    /// change of the clocks can put after midnight, and last 23 to 25 hours.
    fn calendar(self, now: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
        let today = zone.to_datetime(now).date();
        let into_week = i64::from(today.weekday().to_monday_zero_offset());
        let (first, next) = match self {
            Self::Day => (Ok(today), today.tomorrow()),
            Self::Week => (today.checked_sub(into_week.days()), today.checked_add((7 - into_week).days())),
            Self::Month => (Ok(today.first_of_month()), today.last_of_month().tomorrow()),
        };
        let moment = |date: Result<Date, jiff::Error>| date?.to_zoned(zone.clone()).map(|start| start.timestamp());
        (moment(first).unwrap_or(Timestamp::MIN), moment(next).unwrap_or(Timestamp::MAX))
    }
}

/// How long from `now` to `later`; zero if it has passed.
fn until(now: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(now.duration_until(later)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of Europe/Berlin since 1996, so that no test depends on the machine's time zone files.
    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
    /// The rules of America/New_York since 2007.
    const NEW_YORK: &str = "EST5EDT,M3.2.0,M11.1.0";
    /// A zone that skips midnight itself, as America/Havana did.
    const NO_MIDNIGHT: &str = "CST5CDT,M3.2.0/0,M11.1.0/1";

    fn quota(period: Period, zone: &str) -> Quota {
        let zone = TimeZone::posix(zone).expect("a zone");
        Quota { day: Some(1), week: Some(2), month: Some(3), period, counts: Counts::Used, zone }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a moment")
    }

    /// zone, now => since when a day, a week and a month count.
    macro_rules! calendar {
        ($($name:ident: $zone:expr, $now:literal => $day:literal, $week:literal, $month:literal;)+) => {
            $(#[test]
            fn $name() {
                let since = quota(Period::Calendar, $zone).since(at($now));
                let from: Vec<String> = since.iter().map(|since| since.from.to_string()).collect();
                assert_eq!(from, [$day, $week, $month]);
            })+
        };
    }

    calendar! {
        calendar_in_utc: "UTC0", "2026-08-13T12:00:00Z" => "2026-08-13T00:00:00Z", "2026-08-10T00:00:00Z", "2026-08-01T00:00:00Z";
        calendar_on_a_monday_at_midnight: "UTC0", "2026-06-01T00:00:00Z" => "2026-06-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-06-01T00:00:00Z";
        calendar_on_a_sundays_last_moment: "UTC0", "2026-05-31T23:59:59.999Z" => "2026-05-31T00:00:00Z", "2026-05-25T00:00:00Z", "2026-05-01T00:00:00Z";
        calendar_in_a_leap_year: "UTC0", "2028-02-29T10:00:00Z" => "2028-02-29T00:00:00Z", "2028-02-28T00:00:00Z", "2028-02-01T00:00:00Z";
        calendar_week_over_new_year: "UTC0", "2027-01-01T08:00:00Z" => "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-01T00:00:00Z";
        calendar_is_the_zones_own_day: BERLIN, "2026-08-12T22:30:00Z" => "2026-08-12T22:00:00Z", "2026-08-09T22:00:00Z", "2026-07-31T22:00:00Z";
        calendar_on_the_day_of_23_hours_in_berlin: BERLIN, "2026-03-29T12:00:00Z" => "2026-03-28T23:00:00Z", "2026-03-22T23:00:00Z", "2026-02-28T23:00:00Z";
        calendar_on_the_day_of_25_hours_in_berlin: BERLIN, "2026-10-25T12:00:00Z" => "2026-10-24T22:00:00Z", "2026-10-18T22:00:00Z", "2026-09-30T22:00:00Z";
        calendar_on_the_day_of_23_hours_in_new_york: NEW_YORK, "2026-03-08T18:00:00Z" => "2026-03-08T05:00:00Z", "2026-03-02T05:00:00Z", "2026-03-01T05:00:00Z";
        calendar_after_the_day_of_25_hours_in_new_york: NEW_YORK, "2026-11-02T04:59:59Z" => "2026-11-01T04:00:00Z", "2026-10-26T04:00:00Z", "2026-11-01T04:00:00Z";
        calendar_where_there_is_no_midnight: NO_MIDNIGHT, "2026-03-08T12:00:00Z" => "2026-03-08T05:00:00Z", "2026-03-02T05:00:00Z", "2026-03-01T05:00:00Z";
    }

    #[test]
    fn rolling_is_24_hours_7_and_30_days_whatever_the_clocks_do() {
        for zone in ["UTC0", BERLIN, NEW_YORK] {
            let since = quota(Period::Rolling, zone).since(at("2026-03-29T12:00:00Z"));
            let from: Vec<String> = since.iter().map(|since| since.from.to_string()).collect();
            assert_eq!(from, ["2026-03-28T12:00:00Z", "2026-03-22T12:00:00Z", "2026-02-27T12:00:00Z"]);
        }
    }

    #[test]
    fn the_calendars_ends_do_not_overflow() {
        for (period, now) in [
            (Period::Rolling, Timestamp::MIN),
            (Period::Calendar, Timestamp::MIN),
            (Period::Rolling, Timestamp::MAX),
            (Period::Calendar, Timestamp::MAX),
        ] {
            let quota = quota(period, BERLIN);
            for since in quota.since(now) {
                assert!(since.from <= now);
                let usage = Use { since, used: 9, limiting: Some(now), unused: 0 };
                assert!(quota.retry_after(&usage, now).is_some());
            }
        }
    }

    #[test]
    fn no_rule_is_two_a_week_and_four_a_month_rolling_when_used() {
        let quota = Quota::default();
        assert_eq!((quota.period, quota.counts), (Period::Rolling, Counts::Used));
        let limits: Vec<_> = quota.since(at("2026-08-13T12:00:00Z")).iter().map(|s| (s.span, s.limit)).collect();
        assert_eq!(limits, [(Span::Week, 2), (Span::Month, 4)]);
    }

    /// period, zone, span (its limit is 1, 2, 3), used, unused, limiting, now => seconds, or none.
    macro_rules! retry {
        ($($name:ident: $period:ident $zone:expr, $span:ident, $used:literal + $unused:literal, $limiting:expr, $now:literal => $wait:expr;)+) => {
            $(#[test]
            fn $name() {
                let (quota, now) = (quota(Period::$period, $zone), at($now));
                let since = quota.since(now).into_iter().find(|since| since.span == Span::$span).expect("a limit");
                let limiting: Option<&str> = $limiting;
                let usage = Use { since, used: $used, limiting: limiting.map(at), unused: $unused };
                let wait: Option<f64> = $wait;
                assert_eq!(quota.retry_after(&usage, now).map(|wait| wait.as_secs_f64()), wait);
            })+
        };
    }

    retry! {
        room_left_needs_no_wait: Rolling "UTC0", Week, 1 + 0, None, "2026-08-13T12:00:00Z" => None;
        rolling_waits_for_the_limiting_grant: Rolling "UTC0", Week, 2 + 0, Some("2026-08-10T12:00:00Z"), "2026-08-13T12:00:00Z" => Some(4.0 * 86400.0 + 0.001);
        rolling_waits_for_it_where_more_were_used_than_are_left: Rolling "UTC0", Day, 7 + 0, Some("2026-08-13T11:00:00Z"), "2026-08-13T12:00:00Z" => Some(23.0 * 3600.0 + 0.001);
        rolling_counts_the_last_moment_of_the_span: Rolling "UTC0", Day, 1 + 0, Some("2026-08-12T12:00:00Z"), "2026-08-13T12:00:00Z" => Some(0.001);
        rolling_over_a_change_of_clocks: Rolling BERLIN, Day, 1 + 0, Some("2026-03-28T23:30:00Z"), "2026-03-29T12:00:00Z" => Some(11.5 * 3600.0 + 0.001);
        rolling_unused_windows_wait_for_the_span_at_most: Rolling "UTC0", Week, 0 + 20, None, "2026-08-13T12:00:00Z" => Some(7.0 * 86400.0 + 0.001);
        rolling_nineteen_unused_windows_are_fewer_than_ten_times_two: Rolling "UTC0", Week, 0 + 19, None, "2026-08-13T12:00:00Z" => None;
        calendar_waits_for_midnight: Calendar "UTC0", Day, 1 + 0, None, "2026-08-13T12:00:00Z" => Some(12.0 * 3600.0);
        calendar_waits_for_monday: Calendar "UTC0", Week, 2 + 0, None, "2026-08-13T12:00:00Z" => Some(3.5 * 86400.0);
        calendar_waits_for_the_first: Calendar "UTC0", Month, 3 + 0, None, "2026-12-31T12:00:00Z" => Some(12.0 * 3600.0);
        calendar_day_of_23_hours: Calendar BERLIN, Day, 1 + 0, None, "2026-03-28T23:00:00Z" => Some(23.0 * 3600.0);
        calendar_day_of_25_hours: Calendar NEW_YORK, Day, 1 + 0, None, "2026-11-01T04:00:00Z" => Some(25.0 * 3600.0);
        calendar_unused_windows_wait_for_it_too: Calendar "UTC0", Week, 0 + 20, None, "2026-08-16T23:59:00Z" => Some(60.0);
    }

    #[test]
    fn a_limit_of_zero_is_always_reached_and_waiting_does_not_help() {
        let quota = Quota { week: Some(0), ..Quota::default() };
        let now = at("2026-08-13T12:00:00Z");
        let usage = Use { since: quota.since(now)[0], used: 0, limiting: None, unused: 0 };
        assert!(Quota::exhausted(&usage));
        assert_eq!(quota.retry_after(&usage, now), None);
    }
}
