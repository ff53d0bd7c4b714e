//! The only place that reads a clock or draws randomness. Everything below is handed the moment.

use kmsgate_core::random::Entropy;
use kmsgate_core::time::{BootTime, Now};
use rustix::time::{ClockId, clock_gettime};

/// This machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// Both clocks, read one after the other.
    #[must_use]
    pub fn now(self) -> Now {
        let boot = clock_gettime(ClockId::Boottime);
        // By way of the C library, where a test can set it.
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is handed")]
        let utc = std::time::SystemTime::now();
        let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
        let milliseconds = u64::try_from(boot.tv_nsec / 1_000_000).unwrap_or(0);
        Now {
            utc: jiff::Timestamp::try_from(utc).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            boot: BootTime(seconds.saturating_mul(1000).saturating_add(milliseconds)),
        }
    }
}

/// Random bytes from the kernel.
///
/// # Errors
/// If the kernel gives none (getrandom(2)); nothing secret may be made then.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The random part of a grant's name.
///
/// # Errors
/// As [`random`].
pub fn entropy() -> Result<Entropy, getrandom::Error> {
    random().map(Entropy)
}
