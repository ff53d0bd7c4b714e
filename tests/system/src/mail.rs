//! A mail server that misbehaves on purpose. What must never happen here: a password that is right.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How it misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// It does not: every password is wrong.
    Rejects,
    /// It greets with something else.
    Garbage,
    /// Its greeting never ends.
    EndlessLine,
    /// It closes after the greeting.
    ClosesAfterGreeting,
    /// It closes instead of an answer to the password.
    ClosesAtPassword,
    /// It says nothing to the password.
    SilentAtPassword,
    /// It answers the password with something else.
    GarbageAtPassword,
}

/// A mail server that listens.
#[derive(Debug)]
pub struct Mail {
    /// Where.
    pub address: SocketAddr,
    passwords: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Mail {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn start(habit: Habit) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (passwords, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (asked, stopped) = (Arc::clone(&passwords), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let asked = Arc::clone(&asked);
                // Whoever asks goes away when it has seen enough, and so does this.
                std::thread::spawn(move || talk(&stream, habit, &asked).unwrap_or(()));
            }
        });
        Self { address, passwords, stop }
    }

    /// Passwords that reached it.
    #[must_use]
    pub fn passwords(&self) -> usize {
        self.passwords.load(Ordering::SeqCst)
    }

    /// The keys of an account server that asks it in clear.
    #[must_use]
    pub fn keys(&self) -> String {
        format!("domain = \"campus\"\nkind = \"pop3\"\nurl = \"pop3://{}\"\ntls = \"none\"", self.address)
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; it is gone already if this fails.
        drop(TcpStream::connect(self.address));
    }
}

fn talk(mut stream: &TcpStream, habit: Habit, passwords: &AtomicUsize) -> std::io::Result<()> {
    match habit {
        Habit::Garbage => return stream.write_all(b"\xff\x00 220 go away\r\n"),
        Habit::EndlessLine => loop {
            stream.write_all(&[b'a'; 4096])?;
        },
        _ => stream.write_all(b"+OK\r\n")?,
    }
    if habit == Habit::ClosesAfterGreeting {
        return Ok(());
    }
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let answer: &[u8] = match (line.get(..4), habit) {
            (Some("USER"), _) => b"+OK\r\n",
            (Some("PASS"), _) => {
                passwords.fetch_add(1, Ordering::SeqCst);
                match habit {
                    Habit::ClosesAtPassword => return Ok(()),
                    Habit::SilentAtPassword => continue,
                    Habit::GarbageAtPassword => b"maybe\r\n",
                    _ => b"-ERR no\r\n",
                }
            }
            (Some("QUIT"), _) => return stream.write_all(b"+OK\r\n"),
            _ => b"-ERR what?\r\n",
        };
        stream.write_all(answer)?;
    }
    Ok(())
}
