//! Carries out orders. What must never happen here: an order that reaches past the table, an answer before the kernel's.

use crate::conntrack::{self, Entry};
use crate::elements::{self, At, Generations};
use crate::load::{self, Found, NotLoaded};
use crate::marks::Marks;
use crate::netlink::{Failed, Messages, Socket};
use crate::rule::Family;
use crate::ruleset::{self, Names, Up};
use kmsgate_orders::order::{Answer, Carrier, Ends, GrantName, News, Opening, Order, Place, Refused};
use kmsgate_orders::table::Table;
use rustix::io::Errno;
use std::collections::HashMap;
use std::net::IpAddr;

/// A closed connection's entry lasts so many seconds more, in which late packets of either side are answered.
const LAST_SECONDS: u32 = 60;

/// Nanoseconds since the boot, suspended time included (CLOCK_BOOTTIME, Linux 2.6.39).
#[must_use]
pub fn since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// What an order is answered that finds no table.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an error number is a small positive one")]
const MISSING: Answer = Answer::Refused(Refused::Kernel(Errno::NOENT.raw_os_error() as u16));

/// A connection that was told of.
#[derive(Debug, Clone, Copy)]
struct Seen {
    answered: bool,
    ended: bool,
}

/// The enforcer's state: everything else is in the kernel.
#[derive(Debug)]
pub struct Enforcer {
    table: Table,
    marks: Marks,
    socket: Socket,
    events: Socket,
    up: Up,
    generations: Generations,
    allowance: Allowance,
    seen: HashMap<Ends, Seen>,
    reinstalled: bool,
}

impl Enforcer {
    /// Opens its sockets and loads the ruleset. Open windows that are there stay as they are.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn start(table: Table, now: u64) -> Result<(Self, Found), NotLoaded> {
        let refused = |errno| Failed { errno, sequence: 0 };
        let marks = Marks::within(table.mark_mask).ok_or(refused(Errno::INVAL))?;
        let socket = Socket::open(&[]).map_err(refused)?;
        let events = Socket::open(&conntrack::GROUPS).map_err(refused)?;
        let up = ruleset::all_up(&table);
        let allowance = Allowance { tokens: table.opens_per_second, since: now, again: 0 };
        let generations = Generations::new(marks);
        let seen = HashMap::new();
        let mut this = Self { table, marks, socket, events, up, generations, allowance, seen, reinstalled: false };
        let found = this.install()?;
        this.look_again(&mut |_| ())?;
        Ok((this, found))
    }

    fn install(&mut self) -> Result<Found, NotLoaded> {
        let rules = ruleset::of(&self.table, &self.up).ok_or(Failed { errno: Errno::INVAL, sequence: 0 })?;
        let found = load::load(&mut self.socket, &rules)?;
        if found == Found::Nothing {
            self.allowance.again = self.table.grants;
        }
        Ok(found)
    }

    /// The socket on which the kernel's events come.
    #[must_use]
    pub fn events(&self) -> &Socket {
        &self.events
    }

    /// Carries out one order that is no opening.
    pub fn order(&mut self, order: Order, news: &mut dyn FnMut(News)) -> Answer {
        match self.try_order(order, news) {
            MISSING if self.is_reinstalled() => self.try_order(order, news),
            answer => answer,
        }
    }

    fn try_order(&mut self, order: Order, news: &mut dyn FnMut(News)) -> Answer {
        let answered = match order {
            Order::Hello { .. } | Order::Watch | Order::Open(_) => Ok(Answer::Done),
            Order::Adopt(opening) => self.adopt(&opening),
            Order::Close { grant, place } => self.close(&grant, &place),
            Order::State { place } => self.state(&place),
            Order::GiveBack { grant, place, count } => self.give_back(&grant, &place, count),
            Order::Connection(ends) => self.connection(&ends),
            Order::Cut(ends) => self.cut(&ends),
            Order::Provider { service, provider, up } => self.provider(service, provider, up),
            Order::List => self.list(news),
            Order::Connections => self.tell_all(news).map(|()| Answer::Done).map_err(Into::into),
        };
        answered.unwrap_or_else(Answer::Refused)
    }

    /// Opens new grants, all in one transaction; each that the kernel refuses is left out and told so.
    pub fn open(&mut self, openings: &[Opening], now: u64) -> Vec<Answer> {
        let answers = self.try_open(openings, now);
        if answers.contains(&MISSING) && self.is_reinstalled() { self.try_open(openings, now) } else { answers }
    }

    fn try_open(&mut self, openings: &[Opening], now: u64) -> Vec<Answer> {
        let mut answers: Vec<_> = openings.iter().map(|opening| self.may_open(opening, now)).collect();
        while answers.contains(&None) {
            // What was refused took its time.
            let now = now.max(since_boot());
            let wanted = || openings.iter().zip(&answers).filter(|(_, answer)| answer.is_none());
            let mut batch = self.socket.messages();
            batch.begin_batch();
            let mut ends = vec![];
            for (opening, _) in wanted() {
                if let Some(at) = At::new(&self.table, &opening.place) {
                    let mark = self.generations.next(opening.place, now);
                    elements::add(&mut batch, &at, opening, mark, left(opening, now));
                }
                ends.push(batch.sequence());
            }
            let last = elements::done(&mut batch);
            batch.end_batch();
            let committed = self.socket.commit(&batch, last);
            let failed = match committed {
                Ok(()) => {
                    answers.iter_mut().for_each(|answer| *answer = Some(answer.unwrap_or(Answer::Done)));
                    break;
                }
                Err(failed) => failed,
            };
            // The first whose messages reach as far as the failed one; all of them if it was none.
            let culprit = ends.iter().position(|end| failed.sequence != 0 && failed.sequence <= *end);
            let places: Vec<_> =
                (0..).zip(&answers).filter(|(_, answer)| answer.is_none()).map(|(place, _)| place).collect();
            match culprit.and_then(|culprit| places.get(culprit)) {
                Some(place) => {
                    let answer = openings.get(*place).map(|opening| self.open_over(opening, now, failed));
                    if let Some(slot) = answers.get_mut(*place) {
                        *slot = answer;
                    }
                }
                None => answers.iter_mut().for_each(|answer| {
                    *answer = Some(answer.unwrap_or(Answer::Refused(failed.into())));
                }),
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Answer::Refused(Refused::NotListed))).collect()
    }

    /// What stands against an opening before the kernel is asked; none if nothing does.
    fn may_open(&mut self, opening: &Opening, now: u64) -> Option<Answer> {
        let family = Family::of(&opening.place.address);
        let service = usize::from(opening.place.service);
        let refused = match self.table.services.get(service).zip(self.up.get(service)) {
            None => Some(Refused::NotListed),
            Some((entry, up)) => {
                let mut carriers = entry.providers.iter().zip(up);
                let none = !carriers.any(|(provider, up)| *up && Family::of(&provider.address.ip()) == family);
                (none && opening.carrier == Carrier::Kernel).then_some(Refused::NoProvider)
            }
        };
        let refused = refused.or_else(|| self.end_is_wrong(opening, now));
        let refused =
            refused.or_else(|| (!self.allowance.take(self.table.opens_per_second, now)).then_some(Refused::TooFast));
        refused.map(Answer::Refused)
    }

    fn end_is_wrong(&self, opening: &Opening, now: u64) -> Option<Refused> {
        match left(opening, now) {
            0 => Some(Refused::Late),
            left if left > u64::from(self.table.longest_window) * 1000 => Some(Refused::TooLong),
            _ => None,
        }
    }

    /// Opens a grant where something was in the way: what an older grant left goes in the same transaction.
    fn open_over(&mut self, opening: &Opening, now: u64, failed: Failed) -> Answer {
        if failed.errno != Errno::EXIST {
            return Answer::Refused(failed.into());
        }
        self.replace(opening, now).unwrap_or_else(Answer::Refused)
    }

    fn replace(&mut self, opening: &Opening, now: u64) -> Result<Answer, Refused> {
        let at = At::new(&self.table, &opening.place).ok_or(Refused::NotListed)?;
        if elements::budget(&mut self.socket, &at)?.is_some_and(|budget| budget.grant == opening.grant) {
            return Ok(Answer::Done);
        }
        let mark = self.generations.next(opening.place, now);
        let new = |batch: &mut Messages| elements::add(batch, &at, opening, mark, left(opening, now));
        elements::remove(&mut self.socket, &at, new)?;
        Ok(Answer::Done)
    }

    fn adopt(&mut self, opening: &Opening) -> Result<Answer, Refused> {
        let now = since_boot();
        if let Some(refused) = self.end_is_wrong(opening, now) {
            return Err(refused);
        }
        let at = At::new(&self.table, &opening.place).ok_or(Refused::NotListed)?;
        match elements::budget(&mut self.socket, &at)? {
            Some(budget) if budget.grant == opening.grant => Ok(Answer::Standing(budget.standing())),
            Some(_) => Err(Refused::Occupied),
            None => {
                if !self.allowance.take_again(self.table.opens_per_second, now) {
                    return Err(Refused::TooFast);
                }
                let mark = self.generations.next(opening.place, now);
                elements::remove(&mut self.socket, &at, |batch| {
                    elements::add(batch, &at, opening, mark, left(opening, now));
                })?;
                Ok(Answer::Done)
            }
        }
    }

    fn close(&mut self, grant: &[u8; 16], place: &Place) -> Result<Answer, Refused> {
        let at = At::new(&self.table, place).ok_or(Refused::NotListed)?;
        let budget = elements::budget(&mut self.socket, &at)?;
        if budget.is_some_and(|budget| budget.grant != *grant) {
            return Ok(Answer::Absent);
        }
        elements::remove(&mut self.socket, &at, |_| ())?;
        Ok(budget.map_or(Answer::Absent, |budget| Answer::Standing(budget.standing())))
    }

    fn state(&mut self, place: &Place) -> Result<Answer, Refused> {
        let at = At::new(&self.table, place).ok_or(Refused::NotListed)?;
        let budget = elements::budget(&mut self.socket, &at)?;
        Ok(budget.map_or(Answer::Absent, |budget| Answer::Standing(budget.standing())))
    }

    /// Only where no connection is left: a claim that came between the reading and the writing would be lost otherwise.
    fn give_back(&mut self, grant: &[u8; 16], place: &Place, count: u16) -> Result<Answer, Refused> {
        let at = At::new(&self.table, place).ok_or(Refused::NotListed)?;
        let budget = elements::budget(&mut self.socket, &at)?.filter(|budget| budget.grant == *grant);
        let Some(budget) = budget.filter(|budget| budget.remaining > 0) else { return Ok(Answer::Absent) };
        if budget.left() > 0 || count == 0 {
            return Err(Refused::NotYet);
        }
        elements::give_back(&mut self.socket, &at, &budget, count)?;
        Ok(Answer::Done)
    }

    fn connection(&mut self, ends: &Ends) -> Result<Answer, Refused> {
        let entry = conntrack::read(&mut self.socket, &self.marks, ends)?;
        Ok(entry.map_or(Answer::Absent, |entry| Answer::Connection(entry.carried)))
    }

    fn cut(&mut self, ends: &Ends) -> Result<Answer, Refused> {
        let Some(entry) = conntrack::read(&mut self.socket, &self.marks, ends)? else { return Ok(Answer::Absent) };
        conntrack::end(&mut self.socket, &self.marks, ends)?;
        Ok(Answer::Connection(entry.carried))
    }

    fn provider(&mut self, service: u8, provider: u8, up: bool) -> Result<Answer, Refused> {
        let entry = self.table.services.get(usize::from(service)).ok_or(Refused::NotListed)?;
        let address = entry.providers.get(usize::from(provider)).ok_or(Refused::NotListed)?.address;
        let mut after = self.up.clone();
        let slot = after.get_mut(usize::from(service)).and_then(|ups| ups.get_mut(usize::from(provider)));
        let before = std::mem::replace(slot.ok_or(Refused::NotListed)?, up);
        if before == up {
            return Ok(Answer::Done);
        }
        let rules = |up| ruleset::of(&self.table, up).ok_or(Refused::NotListed);
        load::change(&mut self.socket, &rules(&self.up)?, &rules(&after)?)?;
        self.up = after;
        if !up {
            conntrack::forget_pending(&mut self.socket, &self.marks, self.marks.pending(service), &address)?;
            // Those of bypass networks, too (K11).
            conntrack::forget_pending(&mut self.socket, &self.marks, self.marks.bypass(service), &address)?;
        }
        Ok(Answer::Done)
    }

    fn list(&mut self, news: &mut dyn FnMut(News)) -> Result<Answer, Refused> {
        for (service, entry) in (0..).zip(&self.table.services) {
            for family in Family::BOTH {
                let names = Names(&entry.name, family);
                for set in [names.budget(), names.relayed()] {
                    elements::each(&mut self.socket, &set, |key, grant| {
                        let address = match (<[u8; 4]>::try_from(key), <[u8; 16]>::try_from(key)) {
                            (Ok(v4), _) => IpAddr::from(v4),
                            (_, Ok(v6)) => IpAddr::from(v6),
                            _ => return,
                        };
                        news(News::Found(Place { service, address }, grant));
                    })?;
                }
            }
        }
        Ok(Answer::Done)
    }

    /// Reads what the kernel tells of connections; whether it told anything.
    ///
    /// # Errors
    /// If it cannot be read again after some was lost.
    pub fn hear(&mut self, news: &mut dyn FnMut(News)) -> Result<bool, Failed> {
        let (mut any, mut heard) = (false, vec![]);
        let marks = self.marks;
        let drained = self.events.drain(|message| {
            any = true;
            heard.extend(conntrack::entry(&message, &marks));
        });
        for entry in heard {
            self.tell(entry, news)?;
        }
        match drained {
            Ok(()) => Ok(any),
            Err(Errno::NOBUFS) => {
                self.look_again(news)?;
                news(News::Lost);
                Ok(true)
            }
            Err(errno) => Err(Failed { errno, sequence: 0 }),
        }
    }

    /// Tells every connection that runs as if it had never been told of. One that has ended is told once: whoever had heard of
    /// it would count it again.
    fn tell_all(&mut self, news: &mut dyn FnMut(News)) -> Result<(), Failed> {
        self.seen.retain(|_, seen| seen.ended);
        self.look_again(news)
    }

    /// Compares what was told with every connection that there is.
    fn look_again(&mut self, news: &mut dyn FnMut(News)) -> Result<(), Failed> {
        let mut entries = vec![];
        conntrack::each(&mut self.socket, &self.marks, self.marks.claimed(), |entry| entries.push(entry))?;
        let there: std::collections::HashSet<_> = entries.iter().map(|entry| entry.ends).collect();
        self.seen.retain(|ends, _| there.contains(ends));
        for entry in entries {
            self.tell(entry, news)?;
        }
        Ok(())
    }

    /// Tells what an entry says that was not told yet.
    fn tell(&mut self, entry: Entry, news: &mut dyn FnMut(News)) -> Result<(), Failed> {
        let Entry { ends, mut carried, closed, gone, .. } = entry;
        let before = self.seen.get(&ends).copied();
        if before.is_none() {
            carried.grant = self.grant_of(&ends, carried.mark)?;
        }
        if before.is_none() {
            news(News::Claimed(ends, carried));
        }
        if carried.answered && !before.is_some_and(|seen| seen.answered) {
            news(News::Answered(ends, carried));
        }
        let ended = closed || gone || !carried.alive;
        if ended && !before.is_some_and(|seen| seen.ended) {
            // An event of a change has no counters, that of an end has them.
            if !gone && let Some(now) = conntrack::read(&mut self.socket, &self.marks, &ends)? {
                carried = now.carried;
                // What TCP ended lasts no longer by its own time-outs.
                if !closed {
                    conntrack::shorten(&mut self.socket, &ends, LAST_SECONDS)?;
                } else if now.reset && !self.marks.is_over(now.carried.mark) {
                    // A reset that its far side never got: what is told to have ended must not go on.
                    conntrack::end(&mut self.socket, &self.marks, &ends)?;
                }
            }
            carried.alive = false;
            news(News::Ended(ends, carried));
        }
        if gone {
            self.seen.remove(&ends);
        } else {
            // What was told stays told: an event may be older than the listing by which more was known.
            let told = before.unwrap_or(Seen { answered: false, ended: false });
            self.seen.insert(ends, Seen { answered: told.answered || carried.answered, ended: told.ended || ended });
        }
        Ok(())
    }

    /// Whose a connection is: its mark is the mark of the grant that has its place, if that grant is still open.
    fn grant_of(&mut self, ends: &Ends, mark: u32) -> Result<Option<GrantName>, Failed> {
        let service = self.table.services.iter().position(|service| service.port == ends.gateway.port());
        let Some(service) = service.and_then(|service| u8::try_from(service).ok()) else { return Ok(None) };
        let Some(at) = At::new(&self.table, &Place { service, address: ends.client.ip() }) else { return Ok(None) };
        let budget = elements::budget(&mut self.socket, &at)?;
        let same = |budget: &elements::Budget| self.marks.grant_of(budget.mark) == self.marks.grant_of(mark);
        Ok(budget.filter(same).map(|budget| budget.grant))
    }

    /// Looks whether another program removed our table, and loads it again then.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn guard(&mut self) -> Result<(), Failed> {
        self.reinstalled |= self.install().map_err(|not_loaded| not_loaded.failed)? != Found::Same;
        Ok(())
    }

    /// Whether the ruleset was loaded again since this was last asked.
    #[must_use]
    pub fn take_reinstalled(&mut self) -> bool {
        std::mem::take(&mut self.reinstalled)
    }

    /// Whether an order met no table because another program removed it; it is there again then. What the kernel refuses
    /// here it refuses at the next look, too, and is said there.
    fn is_reinstalled(&mut self) -> bool {
        let before = std::mem::take(&mut self.reinstalled);
        let now = self.guard().is_ok() && self.reinstalled;
        self.reinstalled |= before;
        now
    }
}

/// Milliseconds to a grant's end.
fn left(opening: &Opening, now: u64) -> u64 {
    opening.deadline.saturating_sub(now) / 1_000_000
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        match failed.errno {
            Errno::NFILE | Errno::NOSPC => Self::Full,
            errno => Self::Kernel(u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX)),
        }
    }
}

/// How many grants may still be opened in this second.
#[derive(Debug)]
struct Allowance {
    tokens: u32,
    since: u64,
    /// Adoptions beside them: what an empty table had may come back at once.
    again: u32,
}

impl Allowance {
    fn take(&mut self, per_second: u32, now: u64) -> bool {
        if now.saturating_sub(self.since) >= 1_000_000_000 {
            *self = Self { tokens: per_second, since: now, ..*self };
        }
        self.tokens.checked_sub(1).map(|tokens| self.tokens = tokens).is_some()
    }

    fn take_again(&mut self, per_second: u32, now: u64) -> bool {
        self.again.checked_sub(1).map(|again| self.again = again).is_some() || self.take(per_second, now)
    }
}
