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

/// A mean and where it lies with 95 % certainty, if the rounds are independent of each other (Student).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    mean: f64,
    half: f64,
}

/// The 97.5 % quantile of Student's distribution for 1 to 30 degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

impl Interval {
    /// Of two rounds at least.
    pub(crate) fn of(values: &[f64]) -> Self {
        let count = values.iter().fold(0.0, |count, _| count + 1.0);
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let quantile = STUDENT.get(values.len().saturating_sub(2)).copied().unwrap_or(1.96);
        Self { mean, half: quantile * (variance / count).sqrt() }
    }

    /// `mean (95 %: low to high)`.
    pub(crate) fn shown(&self) -> String {
        let Self { mean, half } = self;
        format!("mean {mean:.3} (95 %: {:.3} to {:.3})", mean - half, mean + half)
    }
}
