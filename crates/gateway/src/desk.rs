//! The gate as the portal sees it. What must never happen here: more than the portal's own trait names.

use crate::admit::admit;
use crate::answer::{Answer, Visit};
use crate::close::close;
use crate::event::notice::Notice;
use crate::gate::Gate;
use crate::portal::desk::{Desk, Site, Work};
use crate::portal::fault::Fault;
use kmsgate_core::address::Source;
use kmsgate_core::grant::GrantId;
use kmsgate_core::name::{Person, ServiceName};
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::{Cause, Outcome};
use kmsgate_core::sign_in::SignIn;
use kmsgate_core::time::Now;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{Filter, GrantRecord, LedgerError, Session};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// A running gateway behind the portal.
pub struct Front(pub Arc<Gate>);

impl Desk for Front {
    fn now(&self) -> Now {
        self.0.clock.now()
    }

    fn site(&self) -> Arc<Site> {
        self.0.site.load_full()
    }

    fn admit(&self, sign_in: SignIn, visit: Visit) -> Work<'_, Answer> {
        Box::pin(admit(&self.0, sign_in, visit))
    }

    fn close(&self, id: GrantId, cause: Cause) -> Work<'_, Result<GrantRecord, LedgerError>> {
        Box::pin(close(&self.0, id, cause))
    }

    fn grant(&self, id: GrantId) -> Work<'_, Result<Option<GrantRecord>, LedgerError>> {
        Box::pin(async move { Ok(self.0.ledger.grant(id).await?.map(|grant| self.0.forwarder.as_carried(grant))) })
    }

    fn grant_by_token(&self, token: SecretHash) -> Work<'_, Result<Option<GrantRecord>, LedgerError>> {
        Box::pin(async move {
            let found = self.0.ledger.grant_by_token(token, self.now()).await?;
            Ok(found.map(|grant| self.0.forwarder.as_carried(grant)))
        })
    }

    fn history(&self, person: Person, limit: usize) -> Work<'_, Result<Vec<GrantRecord>, LedgerError>> {
        Box::pin(self.0.ledger.grants(Filter { person: Some(person), limit, ..Filter::default() }))
    }

    fn session(&self, cookie: SecretHash) -> Work<'_, Result<Option<Session>, LedgerError>> {
        Box::pin(self.0.ledger.session(cookie, self.now()))
    }

    fn session_end(&self, cookie: SecretHash) -> Work<'_, Result<(), LedgerError>> {
        Box::pin(self.0.ledger.session_end(cookie))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.0.news.listen()
    }

    fn bypasses(&self, source: Source, service: &ServiceName) -> bool {
        self.0.policy.load().bypassed(source, service).is_some()
    }

    fn turned_away(&self, peer: IpAddr, fault: &Fault) {
        let gate = &self.0;
        gate.counters.record(Outcome::Refused(fault.reason()));
        gate.refusals.count(fault.reason(), Source::new(peer), gate.clock.now().utc);
        if let Some(detail) = fault.for_operator() {
            gate.notices.say(Notice::Proxy { peer, detail });
        }
    }
}
