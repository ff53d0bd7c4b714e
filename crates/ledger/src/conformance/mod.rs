//! The suite that every engine passes unchanged. What must never happen here: a word of SQL.
//!
//! * [`Store`]: what an engine brings: a place of its own that can be opened again and again.
//! * [`cases`]: one function a promise; [`suite`] makes a test of each.
//! * [`model`]: random sign-ins, claims, closes, cuts and clocks against a reference that is too simple to be wrong.

pub(crate) mod cases;
pub(crate) mod model;

use crate::Ledger;
use crate::records::{Claim, ClaimEnd, GrantRecord, LedgerError, Reserved};
use jiff::Timestamp;
use kmsgate_core::address::Source;
use kmsgate_core::decide::{Request, decide};
use kmsgate_core::grant::GrantId;
use kmsgate_core::identity::Identity;
use kmsgate_core::name::{Domain, Name, Person, ServerName, ServiceName};
use kmsgate_core::permit::Terms;
use kmsgate_core::policy::Policy;
use kmsgate_core::quota::{Counts, Quota};
use kmsgate_core::random::{Entropy, SecretHash};
use kmsgate_core::time::{BootId, BootTime, Now};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A place in which an engine keeps a ledger.
pub(crate) trait Store {
    /// The engine.
    type Engine: Ledger;
    /// A new, empty one.
    fn empty() -> Self;
    /// Opens it. The one opened before is gone by then.
    async fn open(&self) -> Self::Engine;
}

/// Makes a test of every case for a [`Store`].
macro_rules! suite {
    ($store:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                crate::conformance::cases::$case::<$store>().await;
            }
        )+
    };
}
pub(crate) use suite;

pub(crate) const BOOT: BootId = BootId([1; 16]);
pub(crate) const OTHER_BOOT: BootId = BootId([2; 16]);
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const DAY: u64 = 24 * 60 * MINUTE;

/// The moment `ms` after the beginning of every test: a midnight.
pub(crate) fn at(ms: u64) -> Now {
    let utc = 1_767_225_600_000 + i64::try_from(ms).unwrap();
    Now { utc: Timestamp::from_millisecond(utc).unwrap(), boot: BootTime(1_000_000 + ms) }
}

/// Somebody who asks, with the terms that hold for them.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) name: &'static str,
    pub(crate) source: IpAddr,
    pub(crate) service: &'static str,
    pub(crate) day: Option<u32>,
    pub(crate) week: Option<u32>,
    pub(crate) counts: Counts,
    pub(crate) connections: u16,
    pub(crate) ipv6_prefix: u8,
    pub(crate) operator: Option<&'static str>,
}

/// `name` asks from `source` for a window of 200 s with one connection, without a quota.
pub(crate) fn ask(name: &'static str, source: &str) -> Ask {
    Ask {
        name,
        source: source.parse().unwrap(),
        service: "kms",
        day: None,
        week: None,
        counts: Counts::Used,
        connections: 1,
        ipv6_prefix: 128,
        operator: None,
    }
}

pub(crate) fn person(name: &str) -> Person {
    Person { domain: Domain::new("campus"), name: Name::canonical(name).unwrap() }
}

/// A name for the `n`-th grant of a test.
pub(crate) fn id(n: u64, now: Now) -> GrantId {
    let mut bits = [0; 10];
    bits[2..].copy_from_slice(&n.to_be_bytes());
    GrantId::new(now.utc, Entropy(bits))
}

pub(crate) fn token(n: u64) -> SecretHash {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&n.to_be_bytes());
    SecretHash(hash)
}

impl Ask {
    pub(crate) fn request(&self, n: u64, now: Now) -> Request {
        let terms = |service| {
            Arc::new(Terms {
                service: ServiceName::new(service),
                window: Duration::from_secs(200),
                connections: self.connections,
                close_when_used: true,
                ipv6_prefix: self.ipv6_prefix,
            })
        };
        let policy = Policy {
            denials: vec![],
            rules: vec![],
            bypasses: vec![],
            services: vec![terms("kms"), terms("files")],
            quota: Quota { day: self.day, week: self.week, month: None, counts: self.counts, ..Quota::default() },
        };
        let who = person(self.name);
        let identity = match self.operator {
            None => Identity::accepted(who, vec![], ServerName::new("mail")),
            Some(operator) => Identity::vouched(who, vec![], operator.into(), "a machine without a browser".into()),
        };
        let permit = policy.permit(identity, Source::new(self.source), &ServiceName::new(self.service), now).unwrap();
        Request { id: id(n, now), permit, token: token(n) }
    }
}

/// Asks, and decides as the gateway does.
pub(crate) async fn reserve(ledger: &impl Ledger, ask: &Ask, n: u64, now: Now) -> Result<Reserved, LedgerError> {
    ledger.reserve(ask.request(n, now), now, decide).await
}

/// Asks, gets a new grant and opens it.
pub(crate) async fn open(ledger: &impl Ledger, ask: &Ask, n: u64, now: Now) -> GrantRecord {
    match reserve(ledger, ask, n, now).await.unwrap() {
        Reserved::New { grant, .. } => ledger.opened(grant.id, None, now).await.unwrap(),
        other => panic!("{ask:?} got {other:?}"),
    }
}

/// The `number`-th connection of a grant, carried by us.
pub(crate) fn claim(grant: GrantId, number: u32) -> Claim {
    let client: SocketAddr = "198.51.100.7:50000".parse().unwrap();
    Claim { grant, number, client, provider: "10.0.0.2:1688".parse().unwrap(), relayed: true }
}

/// Its end, answered.
pub(crate) fn end(grant: GrantId, number: u32) -> ClaimEnd {
    ClaimEnd {
        grant,
        number,
        given_back: false,
        answered: true,
        bytes_in: 268,
        bytes_out: 260,
        lasted: Duration::from_millis(3100),
    }
}

/// Its end, with nothing from the provider.
pub(crate) fn failed(grant: GrantId, number: u32) -> ClaimEnd {
    ClaimEnd { given_back: true, answered: false, bytes_out: 0, ..end(grant, number) }
}
