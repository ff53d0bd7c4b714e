//! The whole way of a sign-in, in one function. What must never happen here: a stage without the proof of the one before,
//! a sign-in that ends in no (outcome, reason) or in two.

use crate::answer::{Answer, Granted, Secret, Visit};
use crate::close::close_or_say;
use crate::event::notice::Notice;
use crate::forward::OpenError;
use crate::gate::Gate;
use crate::take_up;
use crate::vital::Vital;
use kmsgate_accounts::chain::ChainAnswer;
use kmsgate_core::address::Source;
use kmsgate_core::decide::{Refusal, Request, decide};
use kmsgate_core::grant::GrantId;
use kmsgate_core::identity::{Identity, Voucher};
use kmsgate_core::name::ServiceName;
use kmsgate_core::permit::Permit;
use kmsgate_core::reason::{Cause, Outcome, Reason};
use kmsgate_core::sign_in::SignIn;
use kmsgate_core::throttle::{Asked, Failure, Ticket};
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{GrantRecord, Refused, Reserved, Session};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long an answer waits for what did not open to be undone.
const LONGEST_UNDOING: Duration = Duration::from_secs(1);
/// A failed password is answered no sooner than this, so that a guess costs time (2-design: the answer to a failure).
const SOONEST_FAILURE: Duration = Duration::from_secs(1);
/// And then only at multiples of this, so that the time tells nothing of which server was asked.
const FAILURE_STEP: Duration = Duration::from_millis(250);

/// Lets a person in, or says why not. Runs as a task of its own: a browser that goes away before anything is reserved ends
/// it as `abandoned`; after that it runs to its end, so that no grant is left half open.
pub async fn admit(gate: &Arc<Gate>, sign_in: SignIn, visit: Visit) -> Answer {
    let gone = CancellationToken::new();
    let _told_when_dropped = gone.clone().drop_guard();
    let (gate, source) = (Arc::clone(gate), sign_in.source);
    in_a_task(Arc::clone(&gate), source, async move {
        let began = Instant::now();
        let ended = pipeline(&gate, sign_in, visit, &gone).await;
        let answer = record(&gate, source, ended).await;
        hold_back(&answer, began).await;
        answer
    })
    .await
}

/// Opens for somebody else's machine: an operator vouches instead of an account server. The same way from policy on.
pub async fn open_vouched(gate: &Arc<Gate>, identity: Identity, source: Source, service: ServiceName) -> Answer {
    let gate = Arc::clone(gate);
    in_a_task(Arc::clone(&gate), source, async move {
        let ended = permitted(&gate, identity, source, &service, Visit::Api).await;
        record(&gate, source, ended).await
    })
    .await
}

/// The sentence: throttle, accounts, policy, ledger, forwarder.
async fn pipeline(gate: &Arc<Gate>, sign_in: SignIn, visit: Visit, gone: &CancellationToken) -> Ended {
    let asked = gate.throttle().pass(sign_in, gate.clock.now()).map_err(Early::of)?;
    let (identity, source, service) = tokio::select! {
        known = identify(gate, asked) => known?,
        () = gone.cancelled() => return Err(Early::of(Refusal::plain(Reason::Abandoned))),
    };
    permitted(gate, identity, source, &service, visit).await
}

/// Asks the account servers, and tells the throttle how it ended, whatever the end.
async fn identify(gate: &Arc<Gate>, asked: Asked) -> Result<(Identity, Source, ServiceName), Early> {
    let (source, service) = (asked.source(), asked.service().clone());
    let (sign_in, ticket) = asked.into_parts();
    let mut unsettled = Unsettled { gate, ticket: Some(ticket) };
    let accounts = gate.accounts.load_full();
    match accounts.ask(&sign_in).await {
        ChainAnswer::Accepted(identity) => {
            unsettled.settle(Settled::Accepted);
            Ok((identity, source, service))
        }
        ChainAnswer::Refused(refused) => {
            unsettled.settle(match refused.reason {
                _ if refused.definite => Settled::Failed(Failure::Rejected),
                Reason::AccountServerUnavailable => Settled::Outage,
                _ => Settled::Failed(Failure::NotAccepted),
            });
            let name = gate.name_key.shown(&sign_in.login.name, &*gate.ledger).await;
            gate.notices.say(Notice::SignInRefused { name, source, reason: refused.reason, log: refused.log });
            Err(Early::of(Refusal::plain(refused.reason)))
        }
        ChainAnswer::Challenge(_) => {
            // No kind of this version asks anything more.
            unsettled.settle(Settled::Outage);
            Err(Early::of(Refusal::plain(Reason::AccountServerUnavailable)))
        }
    }
}

/// From a proved identity to an open grant. Nothing here is undone by a browser that goes away.
async fn permitted(gate: &Arc<Gate>, identity: Identity, source: Source, service: &ServiceName, visit: Visit) -> Ended {
    let now = gate.clock.now();
    let late = Late { identity: identity.clone(), service: service.clone() };
    let permit =
        gate.policy.load().permit(identity, source, service, now).map_err(|refusal| late.unwritten(refusal))?;
    let token = Secret::draw().map_err(|_| late.unwritten(Refusal::plain(Reason::Internal)))?;
    let reserved = reserve(gate, permit, &token).await.map_err(|refusal| late.unwritten(refusal))?;
    let (opening, new) = match reserved {
        Reserved::Refused(refusal) => return Err(late.written(refusal)),
        Reserved::Same(grant) => (grant, false),
        Reserved::New { grant, replaced } => {
            if let Some(spent) = replaced {
                take_up::at_once(gate, spent).await;
                gate.forwarder.close(spent).await;
            }
            (grant, true)
        }
    };
    let id = opening.id;
    match open(gate, opening, new, visit).await {
        Ok((grant, cookie)) => Ok(Granted { grant, token, cookie, new }),
        Err(refusal) if new => Err(undo(gate, id, &late, refusal).await),
        Err(refusal) => Err(late.unwritten(refusal)),
    }
}

/// The ledger decides and writes in one step; nothing opens before it is on disk (P3).
async fn reserve(gate: &Arc<Gate>, permit: Permit, token: &Secret) -> Result<Reserved, Refusal> {
    let now = gate.clock.now();
    let entropy = crate::clock::entropy().map_err(|_| Refusal::plain(Reason::Internal))?;
    let request = Request { id: GrantId::new(now.utc, entropy), permit, token: token.hash() };
    gate.ledger.reserve(request, now, decide).await.map_err(|error| {
        gate.notices.say(Notice::Ledger { error });
        Refusal::plain(Reason::LedgerUnavailable)
    })
}

/// Only the forwarder's confirmation makes a grant Open (P9, F20), and `Open` is written before the answer (P3).
async fn open(
    gate: &Arc<Gate>,
    opening: GrantRecord,
    new: bool,
    visit: Visit,
) -> Result<(GrantRecord, Option<Secret>), Refusal> {
    let cookie = match visit {
        Visit::Browser => Some(Secret::draw().map_err(|_| Refusal::plain(Reason::Internal))?),
        Visit::Api => None,
    };
    let confirmed = match new {
        true => gate.forwarder.open(&opening).await,
        // It was open when the ledger was asked. If a close came between, nothing may be opened again under its name.
        false => {
            take_up::at_once(gate, opening.id).await;
            gate.forwarder.confirm(opening.id)
        }
    };
    let confirmed = confirmed.map_err(|error| refusal_of(gate, error))?;
    let now = gate.clock.now();
    let session = cookie.as_ref().map(|cookie| Session {
        hash: cookie.hash(),
        person: opening.person.clone(),
        grant: opening.id,
        since: now.utc,
    });
    gate.expiries.watch(opening.id, opening.window.deadline);
    let written = if new {
        gate.ledger.opened(confirmed.grant(), session, now).await
    } else if let Some(session) = session {
        gate.ledger.session_begin(session, now).await.map(|()| opening)
    } else {
        Ok(opening)
    };
    written.map(|grant| (grant, cookie)).map_err(|error| {
        gate.notices.say(Notice::Ledger { error });
        Refusal::plain(Reason::LedgerUnavailable)
    })
}

/// A grant that did not open is closed (`failed`) and does not count. The forwarder is told first, whatever it answered: an
/// unknown outcome must not leave a door.
async fn undo(gate: &Arc<Gate>, id: GrantId, late: &Late, refusal: Refusal) -> Early {
    let undoing = tokio::spawn({
        let gate = Arc::clone(gate);
        async move {
            let _vital = Vital;
            gate.forwarder.close(id).await;
            close_or_say(&gate, id, Cause::Failed).await;
        }
    });
    // An enforcer that is away makes this take the rest of the window. The address is busy as long, and the person learns now
    // that it did not open.
    drop(tokio::time::timeout(LONGEST_UNDOING, undoing).await);
    late.unwritten(refusal)
}

fn refusal_of(gate: &Gate, error: OpenError) -> Refusal {
    let reason = match &error {
        OpenError::NoProvider => Reason::NoProvider,
        OpenError::Full => Reason::GatewayFull,
        OpenError::Unavailable(_) => Reason::ForwarderUnavailable,
    };
    gate.notices.say(Notice::NotOpened { error });
    Refusal::plain(reason)
}

/// How the pipeline ends, before it is recorded.
type Ended = Result<Granted, Early>;

/// A refusal, and whom and what it concerns if an identity was proved.
struct Early {
    refusal: Refusal,
    proved: Option<Late>,
    /// Whether the ledger wrote it itself, in the reservation's transaction.
    written: bool,
}

/// Whom a refusal after a proved identity concerns.
#[derive(Clone)]
struct Late {
    identity: Identity,
    service: ServiceName,
}

impl Early {
    fn of(refusal: Refusal) -> Self {
        Self { refusal, proved: None, written: false }
    }
}

impl Late {
    fn unwritten(&self, refusal: Refusal) -> Early {
        Early { refusal, proved: Some(self.clone()), written: false }
    }

    fn written(&self, refusal: Refusal) -> Early {
        Early { refusal, proved: Some(self.clone()), written: true }
    }
}

/// The one place where a sign-in's end is counted and recorded.
async fn record(gate: &Gate, source: Source, ended: Ended) -> Answer {
    let early = match ended {
        Ok(granted) => {
            gate.counters.record(Outcome::Granted);
            gate.news.notify();
            return Ok(granted);
        }
        Err(early) => early,
    };
    let reason = early.refusal.reason;
    gate.counters.record(Outcome::Refused(reason));
    let now = gate.clock.now();
    match early.proved {
        None => gate.refusals.count(reason, source, now.utc),
        Some(late) if !early.written && reason != Reason::LedgerUnavailable => {
            let refused = Refused {
                person: late.identity.person().clone(),
                server: match late.identity.voucher() {
                    Voucher::Server(server) => Some(server.clone()),
                    Voucher::Operator { .. } => None,
                },
                source,
                service: late.service,
                reason,
                rule: early.refusal.rule.clone(),
            };
            if let Err(error) = gate.ledger.refused(refused, now).await {
                gate.notices.say(Notice::Ledger { error });
            }
            gate.news.notify();
        }
        Some(_) => gate.news.notify(),
    }
    Err(early.refusal)
}

/// A failed password waits on a timer, which holds no worker; every other answer goes out at once.
async fn hold_back(answer: &Answer, began: Instant) {
    let failed = matches!(answer, Err(refusal) if matches!(
        refusal.reason,
        Reason::InvalidCredentials | Reason::AccountUnusable | Reason::AccountServerUnavailable
    ));
    if failed {
        tokio::time::sleep_until(began + failure_time(began.elapsed())).await;
    }
}

/// At least a second, and a multiple of 250 ms.
fn failure_time(real: Duration) -> Duration {
    let step = FAILURE_STEP.as_millis();
    let steps = real.as_millis().div_ceil(step);
    let rounded = u64::try_from(steps * step).map_or(real, Duration::from_millis);
    rounded.max(SOONEST_FAILURE)
}

/// A panic in one sign-in is `internal`, counted, and nobody else's trouble.
async fn in_a_task(gate: Arc<Gate>, source: Source, work: impl Future<Output = Answer> + Send + 'static) -> Answer {
    match tokio::spawn(work).await {
        Ok(answer) => answer,
        Err(_) => record(&gate, source, Err(Early::of(Refusal::plain(Reason::Internal)))).await,
    }
}

/// An attempt that the throttle let through and that nobody has told it the end of. Dropped in mid-question (the browser
/// went away) it counts as a wrong password, so that vanishing is no way to guess for free: a server that answers a right
/// one at once and delays a wrong one tells by its silence.
struct Unsettled<'a> {
    gate: &'a Gate,
    ticket: Option<Ticket>,
}

/// How an attempt ended, for the throttle.
enum Settled {
    Accepted,
    Failed(Failure),
    Outage,
}

impl Unsettled<'_> {
    fn settle(&mut self, how: Settled) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = self.gate.clock.now();
        match how {
            Settled::Accepted => self.gate.throttle().succeeded(ticket, now),
            Settled::Failed(failure) => self.gate.throttle().failed(ticket, failure, now),
            Settled::Outage => self.gate.throttle().outage(ticket, now),
        }
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        self.settle(Settled::Failed(Failure::Rejected));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f15_a_failure_is_answered_at_a_second_or_the_next_quarter() {
        for (real, answered) in
            [(0, 1000), (3, 1000), (999, 1000), (1000, 1000), (1001, 1250), (1250, 1250), (4999, 5000)]
        {
            assert_eq!(failure_time(Duration::from_millis(real)).as_millis(), answered, "{real}");
        }
    }
}
