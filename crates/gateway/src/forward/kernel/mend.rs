//! Adoption, and what is made good after something was lost. What must never happen here: a budget or an end that an open
//! grant has afresh.

use super::Kernel;
use super::tell::{Mend, Told, unknown_end};
use crate::event::notice::Notice;
use crate::forward::{Confirmed, OpenError, Wish};
use kmsgate_core::grant::GrantId;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::BootTime;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{Claim, GrantRecord, RunningClaim};
use kmsgate_orders::order::{Answer, Carrier, Opening, Order, Place, Refused, Standing};
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// So long until openings are taken again that came too fast.
const TOO_FAST: Duration = Duration::from_millis(100);
/// Orders under way at once.
const TOGETHER: usize = 1000;
/// Elements are listed only where fewer grants than this are open: the kernel takes a time that grows with their square
/// (Linux 6.18: 10,000 in 30 ms, 100,000 in 5 s).
const LISTED_BELOW: usize = 20_000;

impl Kernel {
    /// Takes up a grant that was open in the last run: what the kernel has of it stays as it is, what is missing is added with
    /// what is left.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn adopt(&self, grant: &GrantRecord) -> Result<(Confirmed, Carrier), OpenError> {
        let inner = &self.inner;
        let away = || OpenError::Unavailable("the enforcer is away".to_owned());
        let place = self.place(grant)?;
        let carrier = self.missing(grant);
        inner.book.enter(grant, place, carrier);
        let opening = inner.book.opening(grant.id).ok_or_else(away)?;
        // One order is enough for nearly every grant: there may be a million, and nobody is served before the last.
        let adopt = || self.order_adoption(opening);
        let mut answer = adopt().await.ok_or_else(away)?;
        if answer == Answer::Refused(Refused::Occupied) {
            // The ledger has closed that one, or it would have refused this one.
            let there = inner.session.order(Order::State { place }).await.ok_or_else(away)?;
            if let Answer::Standing(Standing { grant: earlier, .. }) = there {
                inner.session.order(Order::Close { grant: earlier, place }).await.ok_or_else(away)?;
            }
            answer = adopt().await.ok_or_else(away)?;
        }
        match answer {
            Answer::Standing(Standing { carrier: there, claimed, left, .. }) => {
                if there != carrier {
                    inner.book.enter(grant, place, there);
                }
                inner.book.stands(grant.id, claimed, left);
                Ok((Confirmed(grant.id), there))
            }
            Answer::Done => {
                inner.book.added(grant.id);
                Ok((Confirmed(grant.id), carrier))
            }
            // It ends in this moment, and is closed as every other one.
            Answer::Refused(Refused::Late) => Ok((Confirmed(grant.id), carrier)),
            other => {
                inner.book.remove(grant.id);
                Err(OpenError::Unavailable(format!("the enforcer answered {other:?}")))
            }
        }
    }

    /// An adoption that has to add elements counts among the openings of its second, and waits for the next one. One whose grant
    /// was closed meanwhile may have put it there again: it is taken away, and too late.
    async fn order_adoption(&self, opening: Opening) -> Option<Answer> {
        let id = GrantId::from_bytes(opening.grant);
        let answer = loop {
            let answer = self.inner.session.order(Order::Adopt(opening)).await;
            if answer != Some(Answer::Refused(Refused::TooFast)) {
                break answer;
            }
            tokio::time::sleep(TOO_FAST).await;
        };
        if !matches!(answer, Some(Answer::Refused(_))) && self.inner.book.opening(id).is_none() {
            self.take_away(id, opening.place, BootTime(opening.deadline / 1_000_000)).await;
            return Some(Answer::Refused(Refused::Late));
        }
        answer
    }

    /// What the ledger says of connections that ran when the last run ended.
    pub fn ran(&self, running: &[RunningClaim]) {
        for RunningClaim { grant, number, port } in running {
            self.inner.book.ran(*grant, *number, *port);
        }
    }

    /// All that is open was adopted: compares counts and connections, takes away elements that the ledger does not know, and
    /// from here on makes good what gets lost. Not before: what is compared with a book that is half written looks lost.
    pub async fn adopted(&self) {
        self.compare().await;
        match self.inner.book.len() {
            few if few < LISTED_BELOW => self.sweep().await,
            grants => self.inner.around.notices.say(Notice::NotSwept { grants }),
        }
        let mends = self.inner.mends.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut mends) = mends else { return };
        // What the beginning of the first session asked for is done by now.
        let _first = mends.try_recv();
        self.inner.tasks.spawn(self.clone().mend(mends));
    }

    /// Who carries an open grant of which the kernel has nothing: the kernel, if it ever could.
    fn missing(&self, grant: &GrantRecord) -> Carrier {
        let v4 = grant.key.ip().is_ipv4();
        let service = self.inner.services.iter().find(|service| service.terms.service == grant.service);
        match service.is_some_and(|service| service.providers.iter().any(|provider| provider.address.is_ipv4() == v4)) {
            true => Carrier::Kernel,
            false => Carrier::Relay,
        }
    }

    /// Makes good whatever the teller says is doubtful, until the end.
    pub(super) async fn mend(self, mut mends: mpsc::UnboundedReceiver<Mend>) {
        loop {
            let what = tokio::select! {
                what = mends.recv() => what,
                () = self.inner.stop.cancelled() => return,
            };
            match what {
                None => return,
                Some(Mend::Everything) => self.adopt_again().await,
                Some(Mend::Counts) => self.read_counts().await,
            }
            self.compare().await;
        }
    }

    /// Sees to it that every grant of the book is in the kernel, with its own end and what is left of it.
    async fn adopt_again(&self) {
        self.tell_providers_anew().await;
        let names = self.inner.book.names();
        for names in names.chunks(TOGETHER) {
            let mut orders = JoinSet::new();
            for id in names.iter().copied() {
                let Some(opening) = self.inner.book.opening(id) else { continue };
                let this = self.clone();
                orders.spawn(async move { (id, this.order_adoption(opening).await) });
            }
            while let Some(answered) = orders.join_next().await {
                match answered {
                    Ok((id, Some(Answer::Done))) => self.inner.book.added(id),
                    Ok((id, Some(Answer::Standing(standing)))) => {
                        self.inner.book.stands(id, standing.claimed, standing.left);
                    }
                    Ok((_, Some(Answer::Refused(Refused::Late)) | None)) | Err(_) => {}
                    Ok((_, Some(other))) => {
                        let error = OpenError::Unavailable(format!("the enforcer answered {other:?}"));
                        self.inner.around.notices.say(Notice::NotOpened { error });
                    }
                }
            }
        }
    }

    /// Reads how every grant of the book stands.
    async fn read_counts(&self) {
        let names = self.inner.book.names();
        for names in names.chunks(TOGETHER) {
            let mut orders = JoinSet::new();
            for id in names.iter().copied() {
                let Some((place, ..)) = self.inner.book.place(id) else { continue };
                let session = self.inner.session.clone();
                orders.spawn(async move { (id, session.order(Order::State { place }).await) });
            }
            while let Some(answered) = orders.join_next().await {
                if let Ok((id, Some(Answer::Standing(standing)))) = answered
                    && standing.grant == id.to_bytes()
                {
                    self.inner.book.stands(id, standing.claimed, standing.left);
                }
            }
        }
    }

    /// Compares connections and counts with what was told, and writes down what nobody told of.
    async fn compare(&self) {
        let inner = &self.inner;
        if inner.told.send(Told::Listen).is_err() || inner.session.order(Order::Connections).await.is_none() {
            return;
        }
        self.tell(Told::Reckon).await;
        for id in inner.book.names() {
            self.write_untold(id).await;
            self.pay(id).await;
            if inner.book.used(id).is_some_and(|deadline| inner.around.clock.now().boot < deadline) {
                inner.around.wishes.send(Wish { grant: id, cause: Cause::Used }).unwrap_or(());
            }
        }
        inner.around.news.notify();
    }

    /// Claims of a grant that is about to leave the kernel, of which nobody told: its counter goes with it, and whoever is
    /// killed after that could not read it any more.
    pub(super) async fn write_what_nobody_told(&self, id: GrantId, place: Place) {
        let state = || self.inner.session.order(Order::State { place });
        let Some(Answer::Standing(standing)) = state().await else { return };
        // Asked again, the enforcer has heard of every claim that was counted when it was asked first.
        if standing.grant == id.to_bytes() && state().await.is_some() {
            self.tell(Told::Written).await;
            self.inner.book.stands(id, standing.claimed, standing.left);
            self.write_untold(id).await;
        }
    }

    /// Writes the claims that the kernel counted and nobody told of.
    async fn write_untold(&self, id: GrantId) {
        let Some((untold, first)) = self.inner.book.compare(id) else { return };
        for number in (first..).take(untold.into()) {
            self.write_unknown(id, number).await;
        }
    }

    /// A connection that came and went while nobody listened: the kernel's counter has it, and nothing else is known.
    async fn write_unknown(&self, id: GrantId, number: u32) {
        let inner = &self.inner;
        let Some((place, ..)) = inner.book.place(id) else { return };
        let unknown = |address: IpAddr| SocketAddr::new(address, 0);
        let nowhere = if place.address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let claim =
            Claim { grant: id, number, client: unknown(place.address), provider: unknown(nowhere), relayed: false };
        let now = inner.around.clock.now();
        let written = match inner.around.ledger.claim(claim, now).await {
            Ok(()) => inner.around.ledger.claim_ended(unknown_end(id, number), now).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            inner.around.notices.say(Notice::Ledger { error });
        }
    }

    async fn pay(&self, id: GrantId) {
        super::tell::pay(&self.inner.book, &self.inner.session, id).await;
    }

    /// Takes away elements of grants that nobody here knows: of a ledger that was put back, or of one that was lost.
    async fn sweep(&self) {
        let inner = &self.inner;
        if inner.session.order(Order::List).await.is_none() {
            return;
        }
        let (asker, found) = oneshot::channel();
        if inner.told.send(Told::Found(asker)).is_err() {
            return;
        }
        let Ok(found) = found.await else { return };
        let unknown = found.into_iter().filter(|(_, grant)| inner.book.place(GrantId::from_bytes(*grant)).is_none());
        let unknown: Vec<(Place, _)> = unknown.collect();
        for (place, grant) in &unknown {
            inner.session.order(Order::Close { grant: *grant, place: *place }).await;
        }
        if !unknown.is_empty() {
            inner.around.notices.say(Notice::Swept { grants: unknown.len() });
        }
    }
}
