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
