//! How many sign-ins a second the ledger of this disk takes: `cargo run --release -p kmsgate-ledger --example speed -- DIRECTORY
//! [OPEN]`, with so many open grants to begin with. A measurement, not a test.

use kmsgate_core::address::Source;
use kmsgate_core::decide::{Request, decide};
use kmsgate_core::grant::GrantId;
use kmsgate_core::identity::Identity;
use kmsgate_core::name::{Domain, Name, Person, ServerName, ServiceName};
use kmsgate_core::permit::Terms;
use kmsgate_core::policy::Policy;
use kmsgate_core::quota::Quota;
use kmsgate_core::random::{Entropy, SecretHash};
use kmsgate_core::time::{BootId, BootTime, Now};
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::Reserved;
use kmsgate_ledger::sqlite::Sqlite;
use std::error::Error;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a directory on the disk to be measured")?;
    let open = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let folder = Path::new(&folder);
    let fsync = fsync(folder)?;
    println!("fsync of 4 KiB: p50 {:.2} ms, p99 {:.2} ms", at(&fsync, 50) * 1e3, at(&fsync, 99) * 1e3);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let ledger = Arc::new(Sqlite::open(&folder.join("speed.db"))?);
        ledger.recover(BootId([1; 16]), now()?).await?;
        let next = Arc::new(AtomicU32::new(0));
        if open > 0 {
            sign_in(&ledger, &next, 512, open).await?;
        }
        for (at_once, rounds) in [(32, 30_000), (1, 1_000)] {
            let begun = Instant::now();
            let times = sign_in(&ledger, &next, at_once, rounds).await?;
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "{open} open, {at_once} at a time: {:.0} sign-ins/s (reserve and opened), reserve p50 {:.2} ms, p99 {:.2} ms",
                f64::from(rounds) / seconds,
                at(&times, 50) * 1e3,
                at(&times, 99) * 1e3
            );
        }
        Ok(())
    })
}

/// Seconds that each reservation took, in order of length.
async fn sign_in(ledger: &Arc<Sqlite>, next: &Arc<AtomicU32>, at_once: u32, rounds: u32) -> Result<Vec<f64>, Failure> {
    let until = next.load(Ordering::Relaxed) + rounds;
    let mut people = vec![];
    for _ in 0..at_once {
        let (ledger, next) = (Arc::clone(ledger), Arc::clone(next));
        people.push(tokio::spawn(async move {
            let mut times = vec![];
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= until {
                    return Ok::<_, Failure>(times);
                }
                let request = request(n)?;
                let begun = Instant::now();
                let Reserved::New { grant, .. } = ledger.reserve(request, now()?, decide).await? else {
                    return Err("refused".into());
                };
                times.push(begun.elapsed().as_secs_f64());
                drop(ledger.opened(grant.id, None, now()?).await?);
            }
        }));
    }
    let mut times = vec![];
    for person in people {
        times.extend(person.await??);
    }
    next.store(until, Ordering::Relaxed);
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn request(n: u32) -> Result<Request, Failure> {
    // Spread out, as people are.
    let spread = n.wrapping_mul(2_654_435_761);
    let service = ServiceName::new("kms");
    let terms = Terms {
        service: service.clone(),
        window: Duration::from_hours(12),
        connections: 1,
        close_when_used: true,
        ipv6_prefix: 128,
    };
    let policy = Policy {
        denials: vec![],
        rules: vec![],
        bypasses: vec![],
        services: vec![Arc::new(terms)],
        quota: Quota::default(),
    };
    let person = Person { domain: Domain::new("campus"), name: Name::canonical(&format!("p{spread}"))? };
    let identity = Identity::accepted(person, vec![], ServerName::new("mail"));
    let source = Source::new(Ipv4Addr::from(spread).into());
    let permit = policy.permit(identity, source, &service, now()?).map_err(|_| "no permit")?;
    let mut bits = [0; 10];
    let mut token = [0; 32];
    for (to, from) in bits.iter_mut().zip(n.to_be_bytes()) {
        *to = from;
    }
    for (to, from) in token.iter_mut().zip(spread.to_be_bytes()) {
        *to = from;
    }
    Ok(Request { id: GrantId::new(now()?.utc, Entropy(bits)), permit, token: SecretHash(token) })
}

/// A moment; which one does not matter here.
fn now() -> Result<Now, Failure> {
    Ok(Now { utc: jiff::Timestamp::from_second(1_800_000_000)?, boot: BootTime(1_000_000) })
}

/// Seconds that 300 appended and synced pages took, in order of length.
fn fsync(folder: &Path) -> Result<Vec<f64>, Failure> {
    let path = folder.join("fsync");
    let mut file = std::fs::File::create(&path)?;
    let mut times = vec![];
    for _ in 0..300 {
        let begun = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_all()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    std::fs::remove_file(&path)?;
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
}
