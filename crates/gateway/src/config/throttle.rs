//! `[throttle]`: failures only.

use super::read::{Section, Value};
use super::value::{duration, number};
use super::{Rate, Throttle};
use std::time::Duration;

pub(super) fn read(section: &Section<'_, '_>) -> Throttle {
    let per_address = Rate { attempts: 10, every: Duration::from_secs(60) };
    let per_user = Rate { attempts: 20, every: Duration::from_secs(3600) };
    Throttle {
        per_address: section.take("per_address", |value| rate(&value, per_address)).unwrap_or(per_address),
        per_user: section.take("per_user", |value| rate(&value, per_user)).unwrap_or(per_user),
    }
}

fn rate(value: &Value<'_, '_>, default: Rate) -> Option<Rate> {
    value.table(|table| Rate {
        attempts: table.need("attempts", number(1..=1_000_000)).unwrap_or(default.attempts),
        every: table
            .need("every", duration(Duration::from_secs(1)..=Duration::from_secs(86_400)))
            .unwrap_or(default.every),
    })
}
