//! Between the gateway and its enforcer, on the way of their orders: stops the one frame that a test has chosen, so that
//! either can be killed in exactly that moment. What must never happen here: a frame that is changed, a later one that passes
//! the one that is stopped, unless a test wants just that.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use crate::log::Log;
use kmsgate_orders::order::{Answer, News, Order, Refused};
use kmsgate_orders::wire::{Reply, frame};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `errno` of a kernel without memory (errno-base.h).
const ENOMEM: u16 = 12;

/// What is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Trap {
    /// The first order of this kind, before the enforcer has it.
    Order(fn(&Order) -> bool),
    /// The answer to the first order of this kind: it is carried out, and the gateway does not know.
    Answer(fn(&Order) -> bool),
    /// The first news of this kind.
    News(fn(&News) -> bool),
    /// Whatever comes after so many frames, of either side.
    After(u32),
    /// So many orders of this kind, which others pass, until [`Middle::release`].
    Held(fn(&Order) -> bool, usize),
    /// So many orders of this kind, which the enforcer never sees: each is answered as one that the kernel had no memory for.
    Refused(fn(&Order) -> bool, usize),
}

/// Listens where the gateway looks for its enforcer, and hands on to where the enforcer is.
#[derive(Debug, Clone)]
pub struct Middle {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    trap: Option<Trap>,
    sprung: bool,
    /// The number of the order whose answer is awaited.
    awaited: Option<u32>,
    streams: Vec<UnixStream>,
    held: Vec<Vec<u8>>,
    refused: usize,
    /// An order of the refused kind that was handed on.
    passed: bool,
}

/// A frame, as far as traps ask.
enum Frame {
    Order(u32, Order),
    Answer(u32),
    News(News),
}

impl Middle {
    /// Listens at `here` for whoever connects, for the enforcer at `there`.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn new(here: &Path, there: PathBuf) -> Self {
        let listener = UnixListener::bind(here).expect("it can listen");
        std::fs::set_permissions(here, PermissionsExt::from_mode(0o666)).expect("it is ours");
        let middle = Self { shared: Arc::default() };
        let own = middle.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for gateway in listener.incoming().flatten() {
                // An enforcer that is away hangs up at once.
                let Ok(enforcer) = UnixStream::connect(&there) else { continue };
                own.join(gateway, enforcer);
            }
        });
        middle
    }

    /// From here on this is stopped, once.
    pub fn set(&self, trap: Trap) {
        let mut shared = self.shared();
        (shared.trap, shared.sprung, shared.awaited) = (Some(trap), false, None);
        (shared.refused, shared.passed) = (0, false);
    }

    /// Whether something was stopped.
    #[must_use]
    pub fn is_sprung(&self) -> bool {
        self.shared().sprung
    }

    /// Waits until something was stopped.
    #[track_caller]
    pub fn until_sprung(&self) {
        Log::default().until("the frame to be stopped", || self.is_sprung().then_some(()));
    }

    /// Waits until so many are held.
    #[track_caller]
    pub fn until_held(&self, count: usize) {
        Log::default().until("the frames to be held", || (self.shared().held.len() == count).then_some(()));
    }

    /// So many were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.shared().refused
    }

    /// Waits until an order of the refused kind was handed on.
    #[track_caller]
    pub fn until_passed(&self) {
        Log::default().until("the order to be handed on", || self.shared().passed.then_some(()));
    }

    /// Hands on what was held; from here on the other trap is set.
    ///
    /// # Panics
    /// If the enforcer is gone.
    pub fn release(&self, next: Trap) {
        let mut shared = self.shared();
        let Shared { held, streams, trap, .. } = &mut *shared;
        // Of the two streams of the last session, the enforcer's is the second.
        let mut enforcer = streams.last().expect("a session");
        for frame in held.drain(..) {
            enforcer.write_all(&frame).expect("it is there");
        }
        *trap = Some(next);
    }

    /// Ends every session, as the death of either side does; later ones pass.
    pub fn cut(&self) {
        let mut shared = self.shared();
        for stream in std::mem::take(&mut shared.streams) {
            // It may have ended by itself.
            stream.shutdown(Shutdown::Both).unwrap_or(());
        }
        (shared.trap, shared.sprung, shared.awaited) = (None, false, None);
        shared.held.clear();
    }

    fn join(&self, gateway: UnixStream, enforcer: UnixStream) {
        let clone = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
        let (to_enforcer, to_gateway) = (clone(&enforcer), clone(&gateway));
        self.shared().streams.extend([clone(&gateway), clone(&enforcer)]);
        for (from, to, read) in
            [(gateway, to_enforcer, order as fn(&[u8]) -> Option<Frame>), (enforcer, to_gateway, reply)]
        {
            let own = self.clone();
            std::thread::spawn(move || own.hand_on(from, to, read));
        }
    }

    /// Hands on frame by frame until either side ends or one is stopped.
    fn hand_on(&self, mut from: UnixStream, mut to: UnixStream, read: fn(&[u8]) -> Option<Frame>) {
        let (mut input, mut piece) = (vec![], [0; 16 << 10]);
        while let Ok(length @ 1..) = from.read(&mut piece) {
            input.extend_from_slice(piece.get(..length).unwrap_or_default());
            while let Ok(Some((body, length))) = frame(&input) {
                let whole = input.get(..length).unwrap_or_default();
                let mut shared = self.shared();
                match read(body) {
                    Some(frame) if shared.holds(&frame) => shared.held.push(whole.to_vec()),
                    Some(Frame::Order(number, order)) if shared.refuses(&order) => {
                        let answer = Reply::Answer(number, Answer::Refused(Refused::Kernel(ENOMEM)));
                        // Of the two streams of the last session, the gateway's is the first.
                        let [.., gateway, _] = &mut *shared.streams else { return };
                        let mut frame = vec![];
                        answer.write(&mut frame);
                        if gateway.write_all(&frame).is_err() {
                            return;
                        }
                    }
                    Some(frame) if !shared.stops(&frame) && to.write_all(whole).is_ok() => {}
                    _ => return,
                }
                drop(shared);
                input.drain(..length);
            }
        }
        // Whoever is left is told.
        to.shutdown(Shutdown::Both).unwrap_or(());
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Whether this frame goes no further; none does after one that did not.
    fn stops(&mut self, frame: &Frame) -> bool {
        let stops = match (self.trap, frame) {
            (Some(Trap::Order(is)), Frame::Order(_, order)) => is(order),
            (Some(Trap::News(is)), Frame::News(news)) => is(news),
            (Some(Trap::Answer(is)), Frame::Order(number, order)) => {
                if self.awaited.is_none() && is(order) {
                    self.awaited = Some(*number);
                }
                false
            }
            (Some(Trap::Answer(_)), Frame::Answer(number)) => self.awaited == Some(*number),
            (Some(Trap::After(0)), _) => true,
            (Some(Trap::After(left)), _) => {
                self.trap = Some(Trap::After(left - 1));
                false
            }
            _ => false,
        };
        self.sprung |= stops;
        self.sprung
    }

    /// Whether this order is answered here.
    fn refuses(&mut self, order: &Order) -> bool {
        match &mut self.trap {
            Some(Trap::Refused(is, left)) if is(order) => {
                let refuses = *left > 0;
                *left = left.saturating_sub(1);
                self.refused += usize::from(refuses);
                self.passed |= !refuses;
                refuses
            }
            _ => false,
        }
    }

    /// Whether this frame is held while others pass.
    fn holds(&mut self, frame: &Frame) -> bool {
        match (&mut self.trap, frame) {
            (Some(Trap::Held(is, left)), Frame::Order(_, order)) if *left > 0 && is(order) => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

fn order(body: &[u8]) -> Option<Frame> {
    Order::read(body).ok().map(|(number, order)| Frame::Order(number, order))
}

fn reply(body: &[u8]) -> Option<Frame> {
    Some(match Reply::read(body).ok()? {
        Reply::Answer(number, _) => Frame::Answer(number),
        Reply::News(news) => Frame::News(news),
    })
}
