//! Time as facts. Nothing here reads a clock; the caller brings [`Now`].

use std::time::Duration;

/// Milliseconds of CLOCK_BOOTTIME: monotonic, counts suspended time, starts again at every boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(pub u64);

impl BootTime {
    /// The moment `after` from this one; saturates.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long until `later`; zero if it has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// Which boot of the machine a [`BootTime`] belongs to (`/proc/sys/kernel/random/boot_id`, proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub [u8; 16]);

/// The two clocks of one moment: `utc` for people and records, `boot` for ending windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, which may be set back and forward.
    pub utc: jiff::Timestamp,
    /// Boot clock, which may not.
    pub boot: BootTime,
}

impl Now {
    /// The wall-clock moment `after` from this one; saturates at the calendar's end.
    #[must_use]
    pub fn utc_plus(self, after: Duration) -> jiff::Timestamp {
        self.utc.checked_add(after).unwrap_or(jiff::Timestamp::MAX)
    }
}
