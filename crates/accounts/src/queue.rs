//! Who is next at one account server: at most so many at once, at most so many waiting, one address after another. What
//! must never happen here: an address with many waiting that delays or crowds out another's first (P8, F15).

use kmsgate_core::address::{AddressKey, Source};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// IPv6 addresses of one /64 are one party (the smallest network a site is given, RFC 6177); IPv4 addresses are whole.
const IPV6_PARTY: u8 = 64;

/// A bounded number of turns, handed out round-robin over the addresses that wait.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Mutex<Line>>);

/// A turn. Dropping it hands it to the next in line.
#[derive(Debug)]
#[must_use]
pub struct Turn(Option<Queue>);

/// The line is full, and the newcomer's address has at least as many in it as any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
struct Line {
    free: usize,
    running: usize,
    bound: usize,
    waiting: usize,
    next_ticket: u64,
    /// Whose turn comes next; each address with somebody waiting stands here once.
    ring: VecDeque<AddressKey>,
    parties: HashMap<AddressKey, VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    turn: oneshot::Sender<Turn>,
}

/// Takes a waiter out of the line when its future is dropped.
struct Place<'a> {
    queue: &'a Queue,
    party: AddressKey,
    ticket: u64,
}

impl Queue {
    /// At most `at_once` turns (1 or more) and `bound` waiting.
    #[must_use]
    pub fn new(at_once: usize, bound: usize) -> Self {
        Self(Arc::new(Mutex::new(Line {
            free: at_once.max(1),
            running: 0,
            bound,
            waiting: 0,
            next_ticket: 0,
            ring: VecDeque::new(),
            parties: HashMap::new(),
        })))
    }

    /// Waits for a turn. When the line is full, the newest of the address with most waiting gives way if that address
    /// has more waiting than this one.
    ///
    /// # Errors
    /// [`Full`], at once or, for one that gives way, later.
    pub async fn turn(&self, source: Source) -> Result<Turn, Full> {
        let party = source.key(IPV6_PARTY);
        let (ticket, turn) = {
            let mut line = self.line();
            if line.free > 0 {
                line.free -= 1;
                line.running += 1;
                return Ok(Turn(Some(self.clone())));
            }
            line.join(party)?
        };
        let place = Place { queue: self, party, ticket };
        let turn = turn.await.map_err(|_| Full);
        drop(place);
        turn
    }

    /// (at work, waiting) now.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let line = self.line();
        (line.running, line.waiting)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(self) {
        loop {
            let next = {
                let mut line = self.line();
                let Some(next) = line.next() else {
                    line.free += 1;
                    line.running -= 1;
                    return;
                };
                next
            };
            match next.turn.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // Gone in the meantime: the turn goes to the one behind, without a second way through `drop`.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }
}

impl Line {
    fn join(&mut self, party: AddressKey) -> Result<(u64, oneshot::Receiver<Turn>), Full> {
        if self.waiting >= self.bound {
            self.make_room_for(party)?;
        }
        let (turn, wait) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        let line = self.parties.entry(party).or_default();
        if line.is_empty() {
            self.ring.push_back(party);
        }
        line.push_back(Waiter { ticket, turn });
        Ok((ticket, wait))
    }

    fn make_room_for(&mut self, newcomer: AddressKey) -> Result<(), Full> {
        let own = self.parties.get(&newcomer).map_or(0, VecDeque::len);
        let (party, most) = self.parties.iter().map(|(p, l)| (*p, l.len())).max_by_key(|(_, n)| *n).ok_or(Full)?;
        if most <= own + 1 {
            return Err(Full);
        }
        // Dropping the sender tells the one that gives way.
        let newest = self.parties.get_mut(&party).and_then(VecDeque::pop_back);
        self.waiting -= usize::from(newest.is_some());
        Ok(())
    }

    fn next(&mut self) -> Option<Waiter> {
        let party = self.ring.pop_front()?;
        let line = self.parties.get_mut(&party)?;
        let waiter = line.pop_front();
        if line.is_empty() {
            self.parties.remove(&party);
        } else {
            self.ring.push_back(party);
        }
        self.waiting -= usize::from(waiter.is_some());
        waiter
    }

    fn leave(&mut self, party: AddressKey, ticket: u64) {
        let Some(line) = self.parties.get_mut(&party) else { return };
        let before = line.len();
        line.retain(|waiter| waiter.ticket != ticket);
        self.waiting -= before - line.len();
        if line.is_empty() {
            self.parties.remove(&party);
            self.ring.retain(|waiting| *waiting != party);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.line().leave(self.party, self.ticket);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.give_back();
        }
    }
}
