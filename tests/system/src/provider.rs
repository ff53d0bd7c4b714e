//! What stands behind the gateway, well or ill. What must never happen here: a stand-in that answers an activation request.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::net::{End, end_of, reset};
use crate::{PATIENCE, log::Log};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a provider behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Sends back what it gets.
    Echo,
    /// Accepts and says nothing for ever.
    Hang,
    /// Resets what it accepted.
    Reset,
    /// Sends back what it gets first, and resets when it gets more.
    ResetSecond,
    /// Closes what it accepted, in good order.
    Close,
    /// Speaks first, then echoes.
    Greet,
}

/// A provider that listens.
#[derive(Debug)]
pub struct Provider {
    /// Where.
    pub address: SocketAddr,
    listener: Arc<TcpListener>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    accepted: AtomicUsize,
    ends: Mutex<Vec<End>>,
    stop: AtomicBool,
}

/// A provider that is down: its address is its own, but nobody listens.
#[derive(Debug)]
pub struct Down {
    /// Where.
    pub address: SocketAddr,
    socket: OwnedFd,
}

impl Provider {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), manner)
    }

    /// Starts one on this address of the host whose thread this is. It ends with the test's process.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn start_at(address: SocketAddr, manner: Manner) -> Self {
        Self::on(TcpListener::bind(address).unwrap(), manner)
    }

    fn on(listener: TcpListener, manner: Manner) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let listener = Arc::new(listener);
        let (accepts, of_thread) = (Arc::clone(&listener), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in accepts.incoming() {
                let seen = Arc::clone(&of_thread);
                if seen.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                seen.accepted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let end = serve(stream, manner);
                    seen.ends.lock().unwrap_or_else(PoisonError::into_inner).push(end);
                });
            }
        });
        Self { address, listener, seen }
    }

    /// Connections that reached it.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// How connections ended here, in the order of their ends.
    #[must_use]
    pub fn ends(&self) -> Vec<End> {
        self.seen.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many have ended.
    ///
    /// # Panics
    /// If they do not.
    #[track_caller]
    pub fn until_ended(&self, count: usize) -> Vec<End> {
        Log::default().until("ends at the provider", || Some(self.ends()).filter(|ends| ends.len() >= count))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts: accept(2) of a socket that was shut down fails with EINVAL on Linux.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Read).unwrap();
    }
}

impl Down {
    /// Takes a port of 127.0.0.1 on which nobody listens.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn new() -> Self {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
        Self { address, socket }
    }

    /// It comes up.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn up(self, manner: Manner) -> Provider {
        Provider::on(self.listen(128), manner)
    }

    /// It listens, with room for so many (listen(2)), and does not accept yet.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn listen(self, backlog: i32) -> TcpListener {
        listen(&self.socket, backlog).unwrap();
        self.socket.into()
    }
}

impl Default for Down {
    fn default() -> Self {
        Self::new()
    }
}

fn serve(mut stream: TcpStream, manner: Manner) -> End {
    match manner {
        Manner::Hang => return end_of(&mut stream),
        Manner::Reset => {
            reset(stream);
            return End::Reset;
        }
        Manner::Close => {
            // Its end is what is asked for; that the other side was faster is no matter.
            stream.shutdown(Shutdown::Both).unwrap_or(());
            return End::Fin;
        }
        Manner::Greet => {
            if stream.write_all(b"hello").is_err() {
                return End::Reset;
            }
        }
        Manner::ResetSecond => {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap();
            stream.write_all(bytes.get(..read).unwrap_or_default()).unwrap();
            let more = stream.read(&mut bytes).unwrap();
            reset(stream);
            return if more == 0 { End::Fin } else { End::Reset };
        }
        Manner::Echo => {}
    }
    stream.set_read_timeout(Some(PATIENCE * 10)).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return End::Fin,
            Ok(read) => {
                if stream.write_all(bytes.get(..read).unwrap_or_default()).is_err() {
                    return End::Reset;
                }
            }
            Err(_) => return End::Reset,
        }
    }
}
