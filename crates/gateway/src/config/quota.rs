//! `[quota]`: how every rule's limits are counted.

use super::read::Section;
use super::value::choice;
use jiff::tz::TimeZone;
use kmsgate_core::quota::{Counts, Period, Quota};

/// The quota where no rule is written, with the way of counting that all rules share.
pub(super) fn read(section: &Section<'_, '_>) -> Quota {
    let zone = section.take("timezone", |value| {
        let name = value.text()?;
        let zone = if name == "UTC" { Ok(TimeZone::UTC) } else { TimeZone::get(name) };
        if zone.is_err() {
            value.fail(format!(
                "this machine knows no time zone {name:?}; write one such as \"Asia/Taipei\" or \"UTC\" (package tzdata)"
            ));
        }
        zone.ok()
    });
    Quota {
        counts: section
            .take("counts", choice(&[("used", Counts::Used), ("logins", Counts::Logins)]))
            .unwrap_or(Counts::Used),
        period: section
            .take("period", choice(&[("rolling", Period::Rolling), ("calendar", Period::Calendar)]))
            .unwrap_or(Period::Rolling),
        zone: zone.unwrap_or(TimeZone::UTC),
        ..Quota::default()
    }
}
