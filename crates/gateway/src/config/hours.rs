//! Times of the week: "mon-fri 08:00-18:00".

/// Days and a stretch of each of them, in `[quota].timezone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// Monday first.
    pub days: [bool; 7],
    /// Minutes after midnight at which it begins.
    pub from: u16,
    /// Minutes after midnight at which it ends; more than `from`, at most 1440.
    pub to: u16,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A day, a span of days that may go over Sunday, or `daily`; then a span of hours within one day.
pub(super) fn parse(text: &str) -> Option<Hours> {
    let (days, time) = text.split_once(' ')?;
    let (from, to) = time.trim().split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from < to).then_some(Hours { days: parse_days(days)?, from, to })
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let lower = text.to_ascii_lowercase();
    if lower == "daily" {
        return Some([true; 7]);
    }
    let day = |text: &str| DAYS.iter().position(|day| *day == text);
    let (first, last) = match lower.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(&lower)?, day(&lower)?),
    };
    let length = (last + 7 - first) % 7;
    Some(std::array::from_fn(|day| (day + 7 - first) % 7 <= length))
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= 1440).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_days_and_a_stretch_of_each() {
        let days = |text| parse(text).map(|hours| hours.days.map(u8::from));
        assert_eq!(days("mon-fri 08:00-18:00"), Some([1, 1, 1, 1, 1, 0, 0]));
        assert_eq!(days("sat-mon 08:00-18:00"), Some([1, 0, 0, 0, 0, 1, 1]));
        assert_eq!(days("Sun 00:00-24:00"), Some([0, 0, 0, 0, 0, 0, 1]));
        assert_eq!(days("daily 00:00-00:01"), Some([1; 7]));
        assert_eq!(parse("mon 08:30-18:05").map(|hours| (hours.from, hours.to)), Some((510, 1085)));
        for text in [
            "mon",
            "mon 18:00-08:00",
            "mon 8:00-9:00",
            "mo 08:00-09:00",
            "mon 08:60-10:00",
            "mon 00:00-24:01",
            "mon 08:00-08:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
