//! Writes down what the kernel did. What must never happen here: an end before its claim, a claim given back in the kernel
//! before the ledger has it.

use super::book::{Book, Ending};
use super::session::Session;
use crate::config::Service;
use crate::event::notice::Notice;
use crate::forward::{Around, Wish};
use crate::vital::Vital;
use kmsgate_core::expiry::Expiry;
use kmsgate_core::grant::GrantId;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::{BootTime, Now};
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{Claim, ClaimEnd, LedgerError};
use kmsgate_orders::order::{Answer, Carried, Ends, GrantName, News, Order, Place};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// News that are written together at most.
const TOGETHER: usize = 256;
/// The timer wakes at least so often: the runtime's clock stops while the machine is suspended, the boot clock does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What reaches the teller, in the order in which it happened.
#[derive(Debug)]
pub(super) enum Told {
    /// A session with the enforcer began: nothing is known of what happened before.
    Began,
    /// What the enforcer tells unasked.
    News(News),
    /// Answered when everything that was told before is written.
    Written(oneshot::Sender<()>),
    /// From here on the connections that are told of are noted, for [`Told::Reckon`].
    Listen,
    /// Every connection was told of: whichever was not has ended. Answered when that is written.
    Reckon(oneshot::Sender<()>),
    /// The grant was closed in the kernel: its connections end. Answered when that is written.
    Finish(GrantId, oneshot::Sender<()>),
    /// Asks for the elements that were told of.
    Found(oneshot::Sender<Vec<(Place, GrantName)>>),
}

/// What has to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    /// The enforcer may have lost everything: adopt what is open, and compare.
    Everything,
    /// News were lost: compare.
    Counts,
}

/// Writes what is told until the end.
pub(super) struct Teller {
    /// What the kernel forwards.
    pub(super) book: Arc<Book>,
    /// For orders that follow from what was told.
    pub(super) session: Session,
    /// The limits of connections are theirs.
    pub(super) services: Vec<Service>,
    /// The ledger and the rest.
    pub(super) around: Around,
    /// Who mends.
    pub(super) mend: mpsc::UnboundedSender<Mend>,
    /// What is to be written.
    pub(super) batch: Batch,
    /// When connections have lasted too long.
    pub(super) limits: Expiry<(GrantId, u32)>,
    /// Connections told of since [`Told::Listen`].
    pub(super) listening: Option<HashSet<Ends>>,
    /// Elements told of.
    pub(super) found: Vec<(Place, GrantName)>,
}

/// What is to be written, in its order: claims, answers, ends.
#[derive(Default)]
pub(super) struct Batch {
    claims: Vec<(Ends, Claim, BootTime, u8)>,
    answers: Vec<(GrantId, u32)>,
    ends: Vec<(Ends, Option<Carried>)>,
}

impl Teller {
    /// Writes what is told until `stop`.
    pub(super) async fn run(mut self, mut told: mpsc::UnboundedReceiver<Told>, stop: CancellationToken) {
        let _vital = Vital;
        let mut some = Vec::new();
        loop {
            let now = self.around.clock.now().boot;
            let wait = self.limits.poll_timeout().map_or(LONGEST_SLEEP, |at| now.until(at).min(LONGEST_SLEEP));
            tokio::select! {
                count = told.recv_many(&mut some, TOGETHER) => if count == 0 { return },
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            for told in some.drain(..) {
                self.hear(told).await;
            }
            self.cut_what_lasted_too_long().await;
            self.flush().await;
        }
    }

    async fn hear(&mut self, told: Told) {
        match told {
            Told::News(News::Claimed(ends, carried)) => self.claimed(ends, &carried).await,
            Told::News(News::Answered(ends, _)) => self.batch.answers.extend(self.book.runner(&ends)),
            Told::News(News::Ended(ends, carried)) => self.batch.ends.push((ends, Some(carried))),
            Told::News(News::Found(place, grant)) => self.found.push((place, grant)),
            Told::News(News::Lost) => self.mend(Mend::Counts),
            Told::News(News::Reinstalled) => {
                self.around.notices.say(Notice::RulesetRemoved);
                self.mend(Mend::Everything);
            }
            Told::Began => self.mend(Mend::Everything),
            Told::Written(done) => {
                self.flush().await;
                done.send(()).unwrap_or(());
            }
            Told::Listen => self.listening = Some(HashSet::new()),
            Told::Reckon(done) => {
                let there = self.listening.take().unwrap_or_default();
                let gone = self.book.all_running().into_iter().filter(|ends| !there.contains(ends));
                self.batch.ends.extend(gone.map(|ends| (ends, None)));
                self.flush().await;
                self.end_those_before().await;
                done.send(()).unwrap_or(());
            }
            Told::Finish(id, done) => {
                self.finish(id).await;
                done.send(()).unwrap_or(());
            }
            Told::Found(asker) => drop(asker.send(std::mem::take(&mut self.found))),
        }
    }

    fn mend(&self, what: Mend) {
        // Nobody mends while the gateway stops.
        self.mend.send(what).unwrap_or(());
    }

    async fn claimed(&mut self, ends: Ends, carried: &Carried) {
        if self.batch.ends.iter().any(|(ended, _)| *ended == ends) {
            // The same port again: the earlier connection ends first.
            self.flush().await;
        }
        if let Some(listening) = &mut self.listening {
            listening.insert(ends);
        }
        // Without a name its grant ended in the same moment, and the connection with it.
        let Some(id) = carried.grant.map(GrantId::from_bytes) else { return };
        let new = match self.book.claim(id, ends) {
            Some(super::book::Told::New(new)) => new,
            Some(super::book::Told::Again(number, service)) => {
                let now = self.around.clock.now().boot;
                if let Some(longest) = self.longest(service) {
                    let left = longest.saturating_sub(Duration::from_millis(carried.lasted));
                    self.limits.insert((id, number), now.plus(left));
                }
                return;
            }
            None => return,
        };
        let claim =
            Claim { grant: id, number: new.number, client: ends.client, provider: carried.provider, relayed: false };
        self.batch.claims.push((ends, claim, new.deadline, new.service));
    }

    /// How long a connection of a service may last.
    fn longest(&self, service: u8) -> Option<Duration> {
        self.services.get(usize::from(service)).and_then(|service| service.max_connection)
    }

    /// Writes what waits.
    async fn flush(&mut self) {
        let Batch { claims, answers, ends } = std::mem::take(&mut self.batch);
        if claims.is_empty() && answers.is_empty() && ends.is_empty() {
            return;
        }
        self.write_claims(claims).await;
        self.write_answers(answers).await;
        self.write_ends(ends).await;
        self.around.news.notify();
    }

    async fn write_claims(&mut self, claims: Vec<(Ends, Claim, BootTime, u8)>) {
        let mut grants = HashSet::new();
        let mut writing = JoinSet::new();
        for (ends, claim, deadline, service) in claims {
            grants.insert(claim.grant);
            let now = self.around.clock.now();
            if let Some(longest) = self.longest(service) {
                self.limits.insert((claim.grant, claim.number), now.boot.plus(longest));
            }
            let ledger = Arc::clone(&self.around.ledger);
            writing.spawn(async move { (ends, ledger.claim(claim, within(now, deadline)).await) });
        }
        while let Some(written) = writing.join_next().await {
            match written {
                Ok((ends, Ok(()))) => self.book.written(&ends),
                // The grant is closed: the claim is in its totals.
                Ok((_, Err(LedgerError::State(_)))) | Err(_) => {}
                Ok((_, Err(error))) => self.around.notices.say(Notice::Ledger { error }),
            }
        }
        for id in grants {
            self.pay(id).await;
        }
    }

    async fn write_answers(&self, answers: Vec<(GrantId, u32)>) {
        let mut writing = JoinSet::new();
        for (id, number) in answers {
            let ledger = Arc::clone(&self.around.ledger);
            writing.spawn(async move { ledger.answered(id, number).await });
        }
        while let Some(written) = writing.join_next().await {
            match written {
                // No claim of that number runs: it was never written.
                Ok(Ok(()) | Err(LedgerError::Missing)) | Err(_) => {}
                Ok(Err(error)) => self.around.notices.say(Notice::Ledger { error }),
            }
        }
    }

    async fn write_ends(&mut self, ends: Vec<(Ends, Option<Carried>)>) {
        let mut over: Vec<Over> = Vec::new();
        for (ends, carried) in ends {
            if let Some(ending) = self.book.ending(&ends)
                && !over.iter().any(|other| other.ends == ends)
            {
                over.push(Over::of(ends, carried, ending));
            }
        }
        let to_write: Vec<ClaimEnd> =
            over.iter().filter(|over| over.ending.written).map(|over| over.end.clone()).collect();
        let unwritten = self.write(to_write).await;
        for Over { ends, carried, ending, end } in over {
            let given_back = end.given_back && ending.written && !unwritten.contains(&end);
            self.book.ended(&ends, carried.as_ref(), given_back);
            if given_back {
                self.pay(ending.grant).await;
            }
            let service = self.services.get(usize::from(ending.service));
            let most = service.and_then(|service| service.max_bytes_in);
            let too_many = most.zip(carried).is_some_and(|(most, carried)| carried.cut && carried.bytes_in > most);
            if too_many || ending.limit && !end.given_back {
                self.wish(ending.grant, Cause::Limit);
            } else if self.book.used(ending.grant).is_some_and(|deadline| self.around.clock.now().boot < deadline) {
                self.wish(ending.grant, Cause::Used);
            }
        }
    }

    /// Writes ends; those that the ledger does not have are returned.
    async fn write(&self, ends: Vec<ClaimEnd>) -> Vec<ClaimEnd> {
        if ends.is_empty() {
            return ends;
        }
        match self.around.ledger.claims_ended(ends.clone(), self.around.clock.now()).await {
            Ok(unknown) => unknown,
            Err(error) => {
                self.around.notices.say(Notice::Ledger { error });
                ends
            }
        }
    }

    async fn pay(&self, id: GrantId) {
        pay(&self.book, &self.session, id).await;
    }

    async fn cut_what_lasted_too_long(&mut self) {
        let now = self.around.clock.now().boot;
        for (id, number) in self.limits.handle_timeout(now) {
            let Some(ends) = self.book.lasted_too_long(id, number) else { continue };
            match self.session.order(Order::Cut(ends)).await {
                Some(Answer::Absent) => self.batch.ends.push((ends, None)),
                Some(Answer::Connection(_)) => {}
                // Nobody heard it, or the kernel refused: it is ordered again.
                _ => self.limits.insert((id, number), now.plus(super::AGAIN)),
            }
        }
    }

    /// The kernel lets nothing pass any more: whatever its last state was is the end of each connection.
    async fn finish(&mut self, id: GrantId) {
        self.flush().await;
        let over = self.book.place(id).is_some_and(|(_, _, end)| self.around.clock.now().boot >= end);
        for ends in self.book.running(id) {
            let carried = match self.session.order(Order::Connection(ends)).await {
                // At the end of a window whoever was asked and has not answered hangs.
                Some(Answer::Connection(carried)) => Some(Carried { cut: over, ..carried }),
                _ => None,
            };
            self.batch.ends.push((ends, carried));
        }
        self.flush().await;
    }

    /// Ends, in the ledger, connections of a former run that the kernel does not have.
    async fn end_those_before(&self) {
        let ended = self.book.ran_out().into_iter().map(|(grant, number)| unknown_end(grant, number));
        self.write(ended.collect()).await;
    }

    fn wish(&self, grant: GrantId, cause: Cause) {
        // Nobody receives while the gateway stops: the next start finds the grant and finishes it.
        self.around.wishes.send(Wish { grant, cause }).unwrap_or(());
    }
}

/// Gives back in the kernel what the ledger has given back. Where connections are left it waits for the last of them.
pub(super) async fn pay(book: &Book, session: &Session, id: GrantId) {
    let Some((place, count)) = book.owed(id) else { return };
    let answer = session.order(Order::GiveBack { grant: id.to_bytes(), place, count }).await;
    if let Some(Answer::Done | Answer::Absent) = answer {
        book.paid(id, count);
    }
}

/// An end that is about to be written.
struct Over {
    ends: Ends,
    carried: Option<Carried>,
    ending: Ending,
    end: ClaimEnd,
}

impl Over {
    fn of(ends: Ends, carried: Option<Carried>, ending: Ending) -> Self {
        let end = match carried {
            None => unknown_end(ending.grant, ending.number),
            Some(carried) => ClaimEnd {
                grant: ending.grant,
                number: ending.number,
                given_back: is_unserved(&carried) && ending.may_give_back,
                answered: carried.answered,
                bytes_in: carried.bytes_in,
                bytes_out: carried.bytes_out,
                lasted: Duration::from_millis(carried.lasted),
            },
        };
        Self { ends, carried, ending, end }
    }
}

/// Unanswered, and the provider ended it or kept silent to the end: the claim is to be given back (F07).
fn is_unserved(carried: &Carried) -> bool {
    !carried.answered && (carried.by_provider || carried.cut && carried.asked)
}

/// The end of a connection of which nothing is known but that it is over.
pub(super) fn unknown_end(grant: GrantId, number: u32) -> ClaimEnd {
    let lasted = Duration::ZERO;
    ClaimEnd { grant, number, given_back: false, answered: false, bytes_in: 0, bytes_out: 0, lasted }
}

/// The kernel let it in while the window was open, however late we hear of it.
fn within(now: Now, deadline: BootTime) -> Now {
    Now { boot: BootTime(now.boot.0.min(deadline.0.saturating_sub(1))), ..now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f07_unserved_is_what_the_provider_left_unanswered() {
        let carried = |answered, asked, by_provider, cut| Carried {
            grant: None,
            mark: 0,
            provider: "10.0.0.2:1688".parse().unwrap(),
            alive: false,
            answered,
            asked,
            by_provider,
            cut,
            bytes_in: 0,
            bytes_out: 0,
            lasted: 0,
        };
        assert!(is_unserved(&carried(false, false, true, false)), "reset by the provider");
        assert!(is_unserved(&carried(false, true, false, true)), "silent to the end");
        assert!(!is_unserved(&carried(false, false, false, true)), "nothing was asked");
        assert!(!is_unserved(&carried(false, true, false, false)), "the person hung up");
        assert!(!is_unserved(&carried(true, true, true, true)), "answered");
    }
}
