//! Reports over a large ledger, by the command that an administrator runs.

use crate::Failure;
use crate::fill::{As, fill};
use crate::place::{Front, Place, program};
use crate::stats::{Spread, number};
use crate::table::Table;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 5;
/// Before the oldest grant: a report goes back 30 days unless told.
const FROM: &str = "2000-01-01";

pub(crate) async fn measure(table: &mut Table, full: bool) -> Result<(), Failure> {
    let grants = if full { 1_000_000 } else { 100_000 };
    let place = Place::make()?;
    crate::progress(&format!("a ledger with {grants} closed grants"));
    fill(&place.ledger(), grants, As::Closed).await?;
    let gateway = place.start(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)), Front::Direct)?;
    let config = place.config();
    let run = |arguments: &[&str]| -> Result<f64, Failure> {
        let begun = Instant::now();
        let status =
            Command::new(program()?).args(arguments).arg("--config").arg(&config).stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err(format!("kmsgate {} failed", arguments.join(" ")).into());
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    // All are closed: without `--all` the list would be empty.
    let asks: [(&str, &[&str], &str, &str); 6] = [
        ("list of the last 50 grants", &["grants", "list", "--all"], "<= 200 ms", "50 ms"),
        ("by day", &["report", "--by", "day", "--from", FROM], "<= 200 ms", "50 ms"),
        ("by service", &["report", "--by", "service", "--from", FROM], "<= 200 ms", "50 ms"),
        ("by reason", &["report", "--by", "reason", "--from", FROM], "<= 200 ms", "50 ms"),
        ("by user", &["report", "--by", "user", "--from", FROM], "<= 5 s", "1 s"),
        ("by source", &["report", "--by", "source", "--from", FROM], "<= 5 s", "1 s"),
    ];
    for (what, arguments, must, goal) in asks {
        let times: Result<Vec<f64>, Failure> = (0..ROUNDS).map(|_| run(arguments)).collect();
        let what = format!("report over {} grants, {what}", number(f64::from(grants)));
        table.row(&what, &Spread::of(times?, "ms").shown(), must, goal);
    }
    drop(gateway);
    Ok(())
}
