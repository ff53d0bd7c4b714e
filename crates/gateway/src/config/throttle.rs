//! `[throttle]`: failures only.

use super::ThrottleSettings;
use super::read::{Section, Value};
use super::value::{duration, number};
use kmsgate_core::throttle::{Limits, Rate};
use std::time::Duration;

pub(super) fn read(section: &Section<'_, '_>) -> ThrottleSettings {
    let Limits { per_address, per_user } = Limits::default();
    let limits = Limits {
        per_address: section.take("per_address", |value| rate(&value, per_address)).unwrap_or(per_address),
        per_user: section.take("per_user", |value| rate(&value, per_user)).unwrap_or(per_user),
    };
    ThrottleSettings { limits }
}

fn rate(value: &Value<'_, '_>, default: Rate) -> Option<Rate> {
    value.table(|table| Rate {
        attempts: table.need("attempts", number(1..=1_000_000)).unwrap_or(default.attempts),
        every: table
            .need("every", duration(Duration::from_secs(1)..=Duration::from_secs(86_400)))
            .unwrap_or(default.every),
    })
}
