//! What stands between us and a real server, and misbehaves. What must never happen here: a byte that the server did not send,
//! but where the fault is such bytes.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is done to what the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Behind so many bytes nothing comes any more, and the connection stays.
    HangsAfter(usize),
    /// Behind so many bytes the connection ends.
    EndsAfter(usize),
    /// One byte a second.
    Slow,
    /// Behind so many bytes nonsense comes in their place, and the end.
    GarbageAfter(usize),
    /// Behind so many bytes the letter `a` comes without end.
    EndlessAfter(usize),
}

/// A door to a real server on loopback.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// One to the server that listens at this port of 127.0.0.1.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (fault, answered) = (Arc::new(Mutex::new(Fault::None)), Arc::<AtomicUsize>::default());
        let stop = Arc::<AtomicBool>::default();
        let (at, counted, stopped) = (Arc::clone(&fault), Arc::clone(&answered), Arc::clone(&stop));
        std::thread::spawn(move || {
            for person in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                let (fault, counted) = (*at.lock().unwrap_or_else(PoisonError::into_inner), Arc::clone(&counted));
                let (there, back) = (person.try_clone(), server.try_clone());
                if let (Ok(mut there), Ok(mut back)) = (there, back) {
                    std::thread::spawn(move || {
                        drop(std::io::copy(&mut there, &mut back));
                        drop(back.shutdown(Shutdown::Write));
                    });
                }
                std::thread::spawn(move || drop(answer(server, person, fault, &counted)));
            }
        });
        Self { address, fault, answered, stop }
    }

    /// What is done to connections from now on.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Bytes that the server sent so far, over all connections.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; it is gone already if this fails.
        drop(TcpStream::connect(self.address));
    }
}

fn answer(mut from: TcpStream, mut to: TcpStream, fault: Fault, counted: &AtomicUsize) -> std::io::Result<()> {
    let (mut piece, mut passed) = ([0; 4096], 0_usize);
    loop {
        let limit = match fault {
            Fault::None => piece.len(),
            Fault::Slow => 1,
            Fault::HangsAfter(bytes)
            | Fault::EndsAfter(bytes)
            | Fault::GarbageAfter(bytes)
            | Fault::EndlessAfter(bytes) => (bytes - passed).min(piece.len()),
        };
        if limit == 0 {
            return misbehave(&mut to, fault);
        }
        let length = from.read(piece.get_mut(..limit).unwrap_or_default())?;
        if length == 0 {
            return to.shutdown(Shutdown::Write);
        }
        counted.fetch_add(length, Ordering::SeqCst);
        passed += length;
        if fault == Fault::Slow {
            std::thread::park_timeout(Duration::from_secs(1));
        }
        to.write_all(piece.get(..length).unwrap_or_default())?;
    }
}

fn misbehave(to: &mut TcpStream, fault: Fault) -> std::io::Result<()> {
    match fault {
        Fault::HangsAfter(_) => {
            // Until whoever asked goes away.
            let mut piece = [0; 64];
            while to.read(&mut piece)? > 0 {}
            Ok(())
        }
        Fault::GarbageAfter(_) => {
            to.write_all(b"\xff\xfe\x00nonsense\r\n\r\n")?;
            to.shutdown(Shutdown::Write)
        }
        Fault::EndlessAfter(_) => loop {
            to.write_all(&[b'a'; 4096])?;
        },
        // The thread of the other direction holds it too: to let go of it would not end it.
        Fault::EndsAfter(_) => to.shutdown(Shutdown::Write),
        Fault::None | Fault::Slow => Ok(()),
    }
}
