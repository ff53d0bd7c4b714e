//! At which hours a rule holds. What must never happen here: a time read in another zone than the configured one.

use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use std::fmt;
use std::time::Duration;

/// Times of the week in a time zone: `mon-fri 08:00-18:00`, `sat,sun 10:00-16:00`, `22:00-06:00`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    times: Vec<Times>,
    zone: TimeZone,
}

/// One entry: on these days from `start`, before `end`. An end not after the start is on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    /// Monday first.
    days: [bool; 7],
    /// Minutes after midnight, 0 to 1439.
    start: u16,
    /// Minutes after the first day's midnight, up to 2879.
    end: u16,
}

/// Why a text gives no hours. Each says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotHours {
    /// There is no entry at all.
    None,
    /// Not of the form `days start-end`.
    Form(String),
    /// No day of the week.
    Day(String),
    /// No time of day.
    Time(String),
    /// Start and end are the same, which could mean all day or never.
    Empty(String),
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;

impl Hours {
    /// Reads entries of the form `days start-end`; without days or with `daily`, every day. Days are `mon` to `sun`, a
    /// range `mon-fri`, or several with commas. Times are `HH:MM`; the end may be `24:00`, and an end before the start is on the next day.
    ///
    /// # Errors
    /// [`NotHours`] names the part that cannot be read.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>, zone: TimeZone) -> Result<Self, NotHours> {
        let times = entries.into_iter().map(Times::parse).collect::<Result<Vec<_>, _>>()?;
        if times.is_empty() { Err(NotHours::None) } else { Ok(Self { times, zone }) }
    }

    /// Whether the moment is within them. Where the clocks are changed, the time on the wall decides.
    #[must_use]
    pub fn hold(&self, now: Timestamp) -> bool {
        let wall = self.zone.to_datetime(now);
        let minute = minutes(wall.time());
        let today = usize::from(wall.weekday().to_monday_zero_offset().unsigned_abs());
        self.times.iter().any(|times| times.hold(today, minute))
    }

    /// How long until they next hold; zero if they do.
    #[must_use]
    pub fn begin_in(&self, now: Timestamp) -> Option<Duration> {
        if self.hold(now) {
            return Some(Duration::ZERO);
        }
        let wall = self.zone.to_datetime(now);
        self.times
            .iter()
            .flat_map(|times| (0..=7_i64).filter_map(|ahead| times.start_on(wall, ahead)))
            .filter_map(|start| self.moment(start))
            .filter_map(|start| Duration::try_from(now.duration_until(start)).ok())
            .filter(|wait| !wait.is_zero())
            .min()
    }

    /// When the wall first shows this time or, where the clocks skip it, a later one.
    fn moment(&self, wall: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(wall);
        if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
            let before = ambiguous.earlier().ok()?;
            return self.zone.following(before).next().map(|change| change.timestamp());
        }
        ambiguous.compatible().ok()
    }
}

impl Times {
    fn parse(entry: &str) -> Result<Self, NotHours> {
        let form = || NotHours::Form(entry.to_owned());
        let mut words = entry.split_whitespace();
        let (days, times) = match (words.next(), words.next(), words.next()) {
            (Some(times), None, None) => ([true; 7], times),
            (Some(days), Some(times), None) => (parse_days(days)?, times),
            _ => return Err(form()),
        };
        let (start, end) = times.split_once('-').ok_or_else(form)?;
        let (start, end) = (parse_time(start)?, parse_time(end)?);
        if start == DAY {
            return Err(NotHours::Time("24:00 as a start".to_owned()));
        }
        match start.cmp(&end) {
            std::cmp::Ordering::Less => Ok(Self { days, start, end }),
            std::cmp::Ordering::Equal => Err(NotHours::Empty(entry.to_owned())),
            std::cmp::Ordering::Greater => Ok(Self { days, start, end: end + DAY }),
        }
    }

    /// Whether they hold at this minute of this day of the week (0 is Monday), begun on it or on the day before.
    fn hold(&self, today: usize, minute: u16) -> bool {
        let on = |day: usize| self.days.get(day % 7).copied().unwrap_or(false);
        let begun = |minute: u16| self.start <= minute && minute < self.end;
        (on(today) && begun(minute)) || (on(today + 6) && begun(minute + DAY))
    }

    /// When they begin, `ahead` days from the day of `wall`, if they do on that day.
    fn start_on(&self, wall: DateTime, ahead: i64) -> Option<DateTime> {
        let date = wall.date().checked_add(ahead.days()).ok()?;
        let day = usize::from(date.weekday().to_monday_zero_offset().unsigned_abs());
        let (hour, minute) = (i8::try_from(self.start / 60).ok()?, i8::try_from(self.start % 60).ok()?);
        self.days.get(day).copied().unwrap_or(false).then(|| date.at(hour, minute, 0, 0))
    }
}

fn parse_days(text: &str) -> Result<[bool; 7], NotHours> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (parse_day(first)?, parse_day(last)?);
        let length = (last + 7 - first) % 7;
        for ahead in 0..=length {
            if let Some(day) = days.get_mut((first + ahead) % 7) {
                *day = true;
            }
        }
    }
    Ok(days)
}

fn parse_day(text: &str) -> Result<usize, NotHours> {
    let wanted = text.to_ascii_lowercase();
    DAYS.iter().position(|day| *day == wanted).ok_or_else(|| NotHours::Day(text.to_owned()))
}

fn parse_time(text: &str) -> Result<u16, NotHours> {
    let bad = || NotHours::Time(text.to_owned());
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    let number = |part: &str| match part.len() {
        1 | 2 if part.bytes().all(|b| b.is_ascii_digit()) => part.parse::<u16>().map_err(|_| bad()),
        _ => Err(bad()),
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let whole = hour * 60 + minute;
    if minute > 59 || whole > DAY { Err(bad()) } else { Ok(whole) }
}

fn minutes(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, times) in self.times.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            if times.days != [true; 7] {
                let days: Vec<&str> =
                    DAYS.iter().zip(times.days).filter_map(|(name, on)| on.then_some(*name)).collect();
                write!(f, "{} ", days.join(","))?;
            }
            let end = if times.end > DAY { times.end - DAY } else { times.end };
            write!(f, "{:02}:{:02}-{:02}:{:02}", times.start / 60, times.start % 60, end / 60, end % 60)?;
        }
        Ok(())
    }
}

impl fmt::Display for NotHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("hours are given but empty; leave the key out where a rule always holds"),
            Self::Form(entry) => write!(f, "{entry:?} is not of the form \"mon-fri 08:00-18:00\""),
            Self::Day(day) => write!(f, "{day:?} is no day; days are mon tue wed thu fri sat sun, or daily"),
            Self::Time(time) => write!(f, "{time:?} is no time of day; times are 00:00 to 23:59, an end up to 24:00"),
            Self::Empty(entry) => {
                write!(f, "{entry:?} begins and ends at the same time; a whole day is 00:00-24:00")
            }
        }
    }
}

impl std::error::Error for NotHours {}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    fn hours(entries: &str) -> Result<Hours, NotHours> {
        let entries = entries.split(';').map(str::trim).filter(|entry| !entry.is_empty());
        Hours::parse(entries, TimeZone::posix(BERLIN).expect("a zone"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a moment")
    }

    /// entries, moment => seconds until they hold; 0: they do.
    macro_rules! hold {
        ($($name:ident: $entries:literal, $now:literal => $wait:expr;)+) => {
            $(#[test]
            fn $name() {
                let hours = hours($entries).expect("hours");
                let wait = hours.begin_in(at($now)).expect("they hold some time");
                assert_eq!(wait.as_secs(), $wait);
                assert_eq!(hours.hold(at($now)), wait.is_zero());
            })+
        };
    }

    hold! {
        first_minute: "mon-fri 08:00-18:00", "2026-08-13T06:00:00Z" => 0;
        last_second: "mon-fri 08:00-18:00", "2026-08-13T15:59:59Z" => 0;
        the_end_is_outside: "mon-fri 08:00-18:00", "2026-08-13T16:00:00Z" => 14 * 3600;
        before_them: "mon-fri 08:00-18:00", "2026-08-13T05:59:00Z" => 60;
        at_the_weekend: "mon-fri 08:00-18:00", "2026-08-15T10:00:00Z" => 44 * 3600;
        several_entries: "mon-fri 08:00-18:00; sat 10:00-16:00", "2026-08-15T10:00:00Z" => 0;
        single_days: "tue,thu 08:00-18:00", "2026-08-14T10:00:00Z" => (4 * 24 - 4) * 3600;
        only_on_this_day_and_over: "thu 08:00-09:00", "2026-08-13T07:00:00Z" => (7 * 24 - 1) * 3600;
        a_range_over_sunday: "sat-mon 08:00-18:00", "2026-08-16T10:00:00Z" => 0;
        daily: "daily 08:00-18:00", "2026-08-16T10:00:00Z" => 0;
        every_day: "08:00-18:00", "2026-08-16T10:00:00Z" => 0;
        a_whole_day: "sun 00:00-24:00", "2026-08-16T21:59:59Z" => 0;
        over_midnight_before_it: "fri 22:00-06:00", "2026-08-14T20:00:00Z" => 0;
        over_midnight_after_it: "fri 22:00-06:00", "2026-08-15T03:59:59Z" => 0;
        over_midnight_is_the_first_days: "fri 22:00-06:00", "2026-08-14T03:00:00Z" => 17 * 3600;
        over_midnight_from_sunday: "sun 22:00-06:00", "2026-08-17T03:00:00Z" => 0;
        the_wall_clock_in_winter: "08:00-18:00", "2026-12-01T06:59:00Z" => 60;
        the_night_of_23_hours: "sun 08:00-18:00", "2026-03-28T23:00:00Z" => 7 * 3600;
        the_night_of_25_hours: "sun 08:00-18:00", "2026-10-24T22:00:00Z" => 9 * 3600;
        an_hour_that_the_clocks_skip: "sun 02:30-04:00", "2026-03-29T00:59:00Z" => 60;
    }

    #[test]
    fn hours_print_as_they_are_read() {
        for entries in ["mon,tue,wed 08:00-18:00", "22:00-06:00", "sat 10:00-16:00; sun 00:00-24:00", "fri 22:00-00:00"]
        {
            let read = hours(entries).expect("hours");
            let printed = read.to_string();
            assert_eq!(hours(&printed), Ok(read), "{entries} {printed}");
        }
    }

    #[test]
    fn what_is_no_hours_says_which_part() {
        for (entries, why) in [
            ("", NotHours::None),
            ("mon-fri", NotHours::Time("mon".into())),
            ("mon - fri 08:00-18:00", NotHours::Form("mon - fri 08:00-18:00".into())),
            ("08:00", NotHours::Form("08:00".into())),
            ("monday 08:00-18:00", NotHours::Day("monday".into())),
            ("mon-fry 08:00-18:00", NotHours::Day("fry".into())),
            ("mon, 08:00-18:00", NotHours::Day(String::new())),
            ("8-18", NotHours::Time("8".into())),
            ("08:00-18:60", NotHours::Time("18:60".into())),
            ("08:00-24:01", NotHours::Time("24:01".into())),
            ("08:00-+9:00", NotHours::Time("+9:00".into())),
            ("24:00-08:00", NotHours::Time("24:00 as a start".into())),
            ("08:00-08:00", NotHours::Empty("08:00-08:00".into())),
        ] {
            assert_eq!(hours(entries), Err(why), "{entries:?}");
        }
    }
}
