//! The ways to a receiver of the log. What must never happen here: a receiver for which this process waits without bound.

use crate::config::LogTarget;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::future::pending;
use std::io::{Error, ErrorKind, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Longest time for a receiver to accept a connection or a batch; then it counts as away.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// An open way to the receiver.
pub(super) enum Sink {
    Nobody,
    Stdout(Stdout),
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Why a batch was not taken whole.
pub(super) struct NotTaken {
    /// So many of its messages were.
    pub(super) taken: usize,
    /// Whether messages of batches before may be lost with it: TCP takes bytes long before the receiver has them.
    pub(super) doubt: bool,
    /// Why.
    pub(super) error: Error,
}

impl Sink {
    pub(super) async fn connect(target: &LogTarget) -> Result<Self> {
        let connect = async {
            Ok(match target {
                LogTarget::Nobody => Self::Nobody,
                LogTarget::Stdout => Self::Stdout(Stdout::start()?),
                LogTarget::Unix(path) => {
                    let socket = UnixDatagram::unbound()?;
                    socket.connect(path)?;
                    Self::Unix(socket)
                }
                LogTarget::Udp(host, port) => Self::Udp(udp(host, *port).await?),
                LogTarget::Tcp(host, port) => Self::Tcp(TcpStream::connect((host.as_str(), *port)).await?),
            })
        };
        timeout(LONGEST_WAIT, connect).await.unwrap_or_else(|_| Err(late()))
    }

    /// Hands over the messages, each framed as the transport wants it. What is given up in the middle of it may have been
    /// sent.
    pub(super) async fn send(&mut self, messages: &[String]) -> std::result::Result<(), NotTaken> {
        if let Self::Stdout(stdout) = self {
            // A reader that is slow is waited for: to write elsewhere meanwhile would be to write twice.
            let written = stdout.write(lines(messages)).await;
            return written.map_err(|error| NotTaken { taken: 0, doubt: false, error });
        }
        if let Self::Tcp(stream) = self {
            // A receiver that closed in good order before this batch has what came before it.
            let (doubt, error) = match hung_up(stream) {
                Ok(false) => return self.send_in_time(messages).await,
                Ok(true) => (false, gone()),
                Err(error) => (true, error),
            };
            return Err(NotTaken { taken: 0, doubt, error });
        }
        self.send_in_time(messages).await
    }

    async fn send_in_time(&mut self, messages: &[String]) -> std::result::Result<(), NotTaken> {
        let mut taken = 0;
        let sent = timeout(LONGEST_WAIT, self.send_counting(messages, &mut taken)).await;
        let doubt = matches!(self, Self::Tcp(_));
        sent.unwrap_or_else(|_| Err(late())).map_err(|error| NotTaken { taken, doubt, error })
    }

    async fn send_counting(&mut self, messages: &[String], taken: &mut usize) -> Result<()> {
        match self {
            Self::Nobody | Self::Stdout(_) => {}
            Self::Unix(socket) => {
                for message in messages {
                    socket.send(message.as_bytes()).await?;
                    *taken += 1;
                }
            }
            Self::Udp(socket) => {
                for message in messages {
                    socket.send(message.as_bytes()).await?;
                    // What a receiver on this machine refused is known at once (ICMP port unreachable).
                    if let Some(error) = socket.take_error()? {
                        return Err(error);
                    }
                    *taken += 1;
                }
            }
            Self::Tcp(stream) => {
                stream.write_all(octet_counted(messages).as_bytes()).await?;
            }
        }
        Ok(())
    }

    /// Waits until the receiver hangs up; whether messages that it was sent may be lost.
    pub(super) async fn gone(&self) -> (bool, Error) {
        let Self::Tcp(stream) = self else { return pending().await };
        loop {
            if let Err(error) = stream.readable().await {
                return (true, error);
            }
            match hung_up(stream) {
                // Reading once more through the runtime is what makes it wait again.
                Ok(false) => match stream.try_read(&mut [0; 512]) {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return (true, error),
                    Ok(_) | Err(_) => {}
                },
                Ok(true) => return (false, gone()),
                Err(error) => return (true, error),
            }
        }
    }
}

/// Whether the receiver closed its end having read all that it was sent. If it had not, it answered with a reset, and that
/// is an error.
fn hung_up(stream: &TcpStream) -> Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    // Asked of the kernel and not of the runtime, which learns of a hang-up only when it next looks. A receiver of syslog
    // has nothing to say; whatever it says is not ours to judge.
    match recv(stream, &mut [0; 512], RecvFlags::DONTWAIT) {
        Ok((0, _)) => stream.take_error()?.map_or(Ok(true), Err),
        Ok(_) | Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn udp(host: &str, port: u16) -> Result<UdpSocket> {
    let mut failed = Error::new(ErrorKind::NotFound, "the receiver's name has no address");
    for address in lookup_host((host, port)).await? {
        let own: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(own, 0)).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// RFC 6587 section 3.4.1: the length in bytes, a space, the message.
fn octet_counted(messages: &[String]) -> String {
    messages.iter().map(|message| format!("{} {message}", message.len())).collect()
}

fn lines(messages: &[String]) -> String {
    messages.iter().flat_map(|message| [message.as_str(), "\n"]).collect()
}

fn late() -> Error {
    Error::new(ErrorKind::TimedOut, "the receiver took nothing for five seconds")
}

fn gone() -> Error {
    Error::new(ErrorKind::ConnectionReset, "the receiver closed the connection")
}

/// Standard output, written by a thread of its own: nobody waits at the end of the process for a reader that is stuck.
pub(super) struct Stdout(mpsc::Sender<(String, oneshot::Sender<Result<()>>)>);

impl Stdout {
    fn start() -> Result<Self> {
        let (writer, mut texts) = mpsc::channel::<(String, oneshot::Sender<Result<()>>)>(1);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            while let Some((text, answer)) = texts.blocking_recv() {
                let mut stdout = std::io::stdout().lock();
                let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
                if answer.send(written).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self(writer))
    }

    async fn write(&self, text: String) -> Result<()> {
        let ended = || Error::new(ErrorKind::BrokenPipe, "standard output is closed");
        let (answer, written) = oneshot::channel();
        self.0.send((text, answer)).await.map_err(|_| ended())?;
        written.await.unwrap_or_else(|_| Err(ended()))
    }
}
