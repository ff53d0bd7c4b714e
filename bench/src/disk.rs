//! The disk alone.

use crate::Failure;
use crate::stats::Spread;
use std::io::Write;
use std::time::Instant;

/// Milliseconds that an appended and synced page takes: five rounds of a hundred, the median of each.
pub(crate) fn fsync() -> Result<Spread, Failure> {
    let mut file = tempfile::tempfile()?;
    let mut medians = Vec::new();
    for _ in 0..5 {
        let mut times = Vec::new();
        for _ in 0..100 {
            let begun = Instant::now();
            file.write_all(&[1; 4096])?;
            file.sync_data()?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        medians.push(Spread::of(times, "ms").median);
    }
    Ok(Spread::of(medians, "ms"))
}
