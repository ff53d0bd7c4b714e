//! How many grants an identity may use, per day, week and month.

use jiff::Timestamp;

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
    pub zone: jiff::tz::TimeZone,
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

impl Quota {
    /// The limits that there are, each with the moment from which it counts at `now`.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Vec<Since> {
        let limits = [(Span::Day, self.day, 24), (Span::Week, self.week, 7 * 24), (Span::Month, self.month, 30 * 24)];
        limits
            .into_iter()
            .filter_map(|(span, limit, hours)| {
                let from = now.checked_sub(std::time::Duration::from_secs(hours * 3600)).unwrap_or(Timestamp::MIN);
                limit.map(|limit| Since { span, limit, from })
            })
            .collect()
    }
}
