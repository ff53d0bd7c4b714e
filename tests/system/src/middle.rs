//! Between the gateway and its enforcer, on the way of their orders: stops the one frame that a test has chosen, so that
//! either can be killed in exactly that moment. What must never happen here: a frame that is changed, a later one that passes
//! the one that is stopped.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use crate::log::Log;
use kmsgate_orders::order::{News, Order};
use kmsgate_orders::wire::{Reply, frame};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

    /// Ends every session, as the death of either side does; later ones pass.
    pub fn cut(&self) {
        let mut shared = self.shared();
        for stream in std::mem::take(&mut shared.streams) {
            // It may have ended by itself.
            stream.shutdown(Shutdown::Both).unwrap_or(());
        }
        (shared.trap, shared.sprung, shared.awaited) = (None, false, None);
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
                if read(body).is_none_or(|frame| self.stops(&frame)) {
                    return;
                }
                if to.write_all(input.get(..length).unwrap_or_default()).is_err() {
                    return;
                }
                input.drain(..length);
            }
        }
        // Whoever is left is told.
        to.shutdown(Shutdown::Both).unwrap_or(());
    }

    /// Whether this frame goes no further; none does after one that did not.
    fn stops(&self, frame: &Frame) -> bool {
        let mut shared = self.shared();
        let stops = match (shared.trap, frame) {
            (Some(Trap::Order(is)), Frame::Order(_, order)) => is(order),
            (Some(Trap::News(is)), Frame::News(news)) => is(news),
            (Some(Trap::Answer(is)), Frame::Order(number, order)) => {
                if shared.awaited.is_none() && is(order) {
                    shared.awaited = Some(*number);
                }
                false
            }
            (Some(Trap::Answer(_)), Frame::Answer(number)) => shared.awaited == Some(*number),
            (Some(Trap::After(0)), _) => true,
            (Some(Trap::After(left)), _) => {
                shared.trap = Some(Trap::After(left - 1));
                false
            }
            _ => false,
        };
        shared.sprung |= stops;
        shared.sprung
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
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
