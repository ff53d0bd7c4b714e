//! Medians and spreads.

/// Several measurements of one thing.
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) least: f64,
    /// The greatest.
    pub(crate) most: f64,
    unit: &'static str,
}

impl Spread {
    /// Of at least one measurement.
    pub(crate) fn of(mut values: Vec<f64>, unit: &'static str) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Self { median: at(values.len() / 2), least: at(0), most: at(values.len().saturating_sub(1)), unit }
    }

    /// `median unit (least to most)`.
    pub(crate) fn shown(&self) -> String {
        let Self { median, least, most, unit } = self;
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        format!("{}{unit} ({} to {})", number(*median), number(*least), number(*most))
    }
}

/// The value that this share of the sorted ones does not exceed.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

/// With three figures that count, or more before the point.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(a, b)| (a, format!(".{b}")));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &rest
}

/// A median and where it lies with 95 % certainty, whatever the rounds are distributed like (the interval of the sign test): a
/// few rounds that something else on the machine disturbed do not move it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    median: f64,
    low: f64,
    high: f64,
}

impl Interval {
    /// Of six rounds at least; of fewer the interval is all of them.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let left_out = left_out(values.len());
        Self {
            median: at(values.len() / 2),
            low: at(left_out),
            high: at(values.len().saturating_sub(1).saturating_sub(left_out)),
        }
    }

    /// `median (95 %: low to high)`.
    pub(crate) fn shown(&self) -> String {
        let Self { median, low, high } = self;
        format!("median {median:.3} (95 %: {low:.3} to {high:.3})")
    }
}

/// How many of so many values lie outside the interval on each side: one less than the fewest heads that so many fair coins show
/// with more than 2.5 % (of so many or fewer).
fn left_out(count: usize) -> usize {
    let (mut ways, mut sum, mut coins) = (1.0, 0.0, 0.0);
    let all = (0..count).fold(1.0, |all, _| all * 2.0);
    for heads in 0..count {
        sum += ways / all;
        if sum > 0.025 {
            return heads.saturating_sub(1);
        }
        let left = (heads..count).fold(0.0, |left, _| left + 1.0);
        coins += 1.0;
        ways *= left / coins;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_tables_of_the_sign_test() {
        // Of 10 values the second to the ninth, of 20 the sixth to the fifteenth: 97.9 % and 95.9 %.
        for (count, outside) in [(5, 0), (6, 0), (10, 1), (20, 5), (30, 9)] {
            assert_eq!(left_out(count), outside, "{count}");
        }
        let interval = Interval::of((0..30).map(f64::from).collect());
        assert_eq!((interval.low, interval.high), (9.0, 20.0));
    }
}
