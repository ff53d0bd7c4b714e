//! A ledger with many grants in it, written as the gateway writes them.

use crate::Failure;
use jiff::Timestamp;
use kmsgate_core::address::Source;
use kmsgate_core::decide::{Request, decide};
use kmsgate_core::grant::{GrantId, Totals};
use kmsgate_core::identity::Identity;
use kmsgate_core::name::{Domain, Name, Person, ServerName, ServiceName};
use kmsgate_core::permit::Terms;
use kmsgate_core::policy::Policy;
use kmsgate_core::quota::Quota;
use kmsgate_core::random::{Entropy, SecretHash};
use kmsgate_core::reason::Cause;
use kmsgate_core::time::{BootId, BootTime, Now};
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{Claim, ClaimEnd, Reserved};
use kmsgate_ledger::sqlite::Sqlite;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// So many at once, so that they share their commits.
const AT_ONCE: u32 = 512;

/// What the grants are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// Open, to the end of a long window.
    Open,
    /// Used and closed, over the last hundred days.
    Closed,
}

/// Writes `count` grants of as many people and addresses.
pub(crate) async fn fill(path: &Path, count: u32, kind: As) -> Result<(), Failure> {
    let ledger = Arc::new(Sqlite::open(path)?);
    ledger.recover(boot_id()?, now()).await?;
    let next = Arc::new(AtomicU32::new(0));
    let mut writers = Vec::new();
    for _ in 0..AT_ONCE {
        let (ledger, next) = (Arc::clone(&ledger), Arc::clone(&next));
        writers.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Failure>(());
                }
                if number > 0 && number % 100_000 == 0 {
                    crate::progress(&format!("{number} of {count} grants written"));
                }
                grant(&ledger, number, count, kind).await?;
            }
        }));
    }
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

async fn grant(ledger: &Sqlite, number: u32, count: u32, kind: As) -> Result<(), Failure> {
    let mut at = now();
    if kind == As::Closed {
        let age = Duration::from_hours(2400).as_secs() * u64::from(count - number) / u64::from(count);
        at.utc -= jiff::SignedDuration::from_secs(i64::try_from(age)?);
    }
    // A person comes back after twelve days or so, within the quota of those for whom there is no rule.
    let person = if kind == As::Closed { number % (count / 8) } else { number };
    let Reserved::New { grant, .. } = ledger.reserve(request(number, person, at)?, at, decide).await? else {
        return Err("a grant to fill the ledger was refused".into());
    };
    let id = grant.id;
    drop(ledger.opened(id, None, at).await?);
    if kind == As::Closed {
        let client = (Ipv4Addr::LOCALHOST, 40_000).into();
        let provider = (Ipv4Addr::LOCALHOST, 1688).into();
        ledger.claim(Claim { grant: id, number: 1, client, provider, relayed: true }, at).await?;
        let lasted = Duration::from_millis(3100);
        let end =
            ClaimEnd { grant: id, number: 1, given_back: false, answered: true, bytes_in: 268, bytes_out: 260, lasted };
        ledger.claim_ended(end, at).await?;
        drop(ledger.closing(id, Cause::Used, at).await?);
        let totals = Totals { claims: 1, given_back: 0, bytes_in: 268, bytes_out: 260, milliseconds: 3100 };
        drop(ledger.closed(id, totals, at).await?);
    }
    Ok(())
}

fn request(number: u32, person: u32, now: Now) -> Result<Request, Failure> {
    // Spread out, as people are.
    let spread = number.wrapping_mul(2_654_435_761);
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
    let person = Person { domain: Domain::new("people"), name: Name::canonical(&format!("filler{person}"))? };
    let identity = Identity::accepted(person, vec![], ServerName::new("people"));
    let source = Source::new(address(11, number).into());
    let permit = policy.permit(identity, source, &service, now).map_err(|_| "no permit")?;
    let (mut bits, mut token) = ([0; 10], [0; 32]);
    for (to, from) in bits.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    for (to, from) in token.iter_mut().zip(spread.to_be_bytes()) {
        *to = from;
    }
    Ok(Request { id: GrantId::new(now.utc, Entropy(bits)), permit, token: SecretHash(token) })
}

/// The address of this number in a network of 16 million; neighbours in number are far from each other.
pub(crate) fn address(network: u8, number: u32) -> Ipv4Addr {
    let [_, a, b, c] = number.wrapping_mul(2_654_435_761).to_be_bytes();
    Ipv4Addr::new(network, a, b, c)
}

/// The program must find the grants in its own boot.
fn boot_id() -> Result<BootId, Failure> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    Ok(BootId(u128::from_str_radix(&digits, 16)?.to_be_bytes()))
}

/// The moment, as the program reads it.
fn now() -> Now {
    use rustix::time::{ClockId, Timespec, clock_gettime};
    let milliseconds = |time: Timespec| time.tv_sec.unsigned_abs() * 1000 + time.tv_nsec.unsigned_abs() / 1_000_000;
    let utc = i64::try_from(milliseconds(clock_gettime(ClockId::Realtime))).unwrap_or(i64::MAX);
    Now {
        utc: Timestamp::from_millisecond(utc).unwrap_or(Timestamp::MAX),
        boot: BootTime(milliseconds(clock_gettime(ClockId::Boottime))),
    }
}
