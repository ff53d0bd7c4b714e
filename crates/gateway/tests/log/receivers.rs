//! The log against receivers that come and go.

use kmsgate::config::{Log, LogFormat, LogTarget};
use kmsgate::event::news::News;
use kmsgate::event::notice::Notices;
use kmsgate::event::sender;
use kmsgate::gate::Engine;
use kmsgate_core::address::Source;
use kmsgate_core::name::{Domain, Name, Person, ServiceName};
use kmsgate_core::reason::Reason;
use kmsgate_core::time::{BootTime, Now};
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::Refused;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A ledger whose log is being sent.
struct Running {
    ledger: Arc<Engine>,
    news: News,
    stop: CancellationToken,
    task: JoinHandle<()>,
    place: tempfile::TempDir,
}

impl Running {
    fn start(target: impl FnOnce(&std::path::Path) -> LogTarget) -> Self {
        let place = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Engine::open(&place.path().join("ledger.db")).unwrap());
        let (news, stop) = (News::default(), CancellationToken::new());
        let log = Log { target: target(place.path()), format: LogFormat::Rfc5424 };
        let (bell, notices) = (news.listen(), Notices::default());
        let task = tokio::spawn(sender::run(Arc::clone(&ledger), bell, log, "gw1".to_owned(), notices, stop.clone()));
        Self { ledger, news, stop, task, place }
    }

    /// Events `from` to `to`, told apart by their user.
    async fn happen(&self, from: u32, to: u32) {
        let now = Now { utc: "2026-08-13T12:00:00Z".parse().unwrap(), boot: BootTime(0) };
        for number in from..to {
            let person = Person { domain: Domain::new("campus"), name: Name::stored(&format!("user{number}")) };
            let refused = Refused {
                person,
                server: None,
                source: Source::new([198, 51, 100, 7].into()),
                service: ServiceName::new("kms"),
                reason: Reason::NotPermitted,
                rule: None,
            };
            self.ledger.refused(refused, now).await.unwrap();
            self.news.notify();
        }
    }

    /// Stops, and says where the sender stood.
    async fn stop(self) -> u64 {
        self.stop.cancel();
        self.task.await.unwrap();
        self.ledger.cursor(sender::READER).await.unwrap()
    }
}

/// That this is the line of event `number`.
#[track_caller]
fn is_event(message: &str, number: u32) {
    assert!(message.starts_with("<132>1 2026-08-13T12:00:00.000Z gw1 kmsgate "), "{message}");
    let line = format!("refused user=campus/user{number} source=198.51.100.7 service=kms reason=not_permitted");
    assert!(message.ends_with(&format!(" refused - \u{feff}{line}")), "{message} is not event {number}");
}

async fn datagram(receiver: &UnixDatagram) -> String {
    let mut bytes = [0; 2048];
    let length = receiver.recv(&mut bytes).await.unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

/// RFC 6587 section 3.4.1.
async fn frame(stream: &mut BufReader<TcpStream>) -> String {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).await.unwrap();
    let length = std::str::from_utf8(&length).unwrap().trim_end().parse().unwrap();
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.unwrap();
    String::from_utf8(message).unwrap()
}

#[tokio::test]
async fn a_unix_receiver_that_was_away_gets_every_line_once_and_in_order() {
    let running = Running::start(|place| LogTarget::Unix(place.join("log")));
    let path = running.place.path().join("log");
    running.happen(0, 100).await;
    let receiver = UnixDatagram::bind(&path).unwrap();
    for number in 0..100 {
        is_event(&datagram(&receiver).await, number);
    }
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    running.happen(100, 200).await;
    let receiver = UnixDatagram::bind(&path).unwrap();
    for number in 100..200 {
        is_event(&datagram(&receiver).await, number);
    }
    assert_eq!(running.stop().await, 200);
    assert!(receiver.try_recv(&mut [0; 16]).is_err(), "nothing comes twice");
}

#[tokio::test]
async fn a_tcp_receiver_that_was_away_gets_every_line_once_and_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let running = Running::start(|_| LogTarget::Tcp("127.0.0.1".to_owned(), address.port()));
    running.happen(0, 100).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    for number in 0..100 {
        is_event(&frame(&mut stream).await, number);
    }
    drop((stream, listener));
    running.happen(100, 200).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    for number in 100..200 {
        is_event(&frame(&mut stream).await, number);
    }
    assert_eq!(running.stop().await, 200);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0, "nothing comes twice");
}

#[tokio::test]
async fn a_tcp_receiver_that_broke_with_lines_unread_gets_them_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = Running::start(|_| LogTarget::Tcp("127.0.0.1".to_owned(), address.port()));
    running.happen(0, 10).await;
    let mut stream = BufReader::with_capacity(1, listener.accept().await.unwrap().0);
    is_event(&frame(&mut stream).await, 0);
    drop(stream);
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    let mut next = frame(&mut stream).await;
    while !next.contains("user=campus/user1 ") {
        next = frame(&mut stream).await;
    }
    for number in 1..10 {
        is_event(&next, number);
        if number < 9 {
            next = frame(&mut stream).await;
        }
    }
    assert_eq!(running.stop().await, 10);
}

#[tokio::test]
async fn a_udp_receiver_on_this_machine_that_was_away_gets_every_line_once_and_in_order() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = receiver.local_addr().unwrap();
    drop(receiver);
    let running = Running::start(|_| LogTarget::Udp("127.0.0.1".to_owned(), address.port()));
    running.happen(0, 100).await;
    let receiver = UdpSocket::bind(address).await.unwrap();
    for number in 0..100 {
        let mut bytes = [0; 2048];
        let length = receiver.recv(&mut bytes).await.unwrap();
        is_event(std::str::from_utf8(&bytes[..length]).unwrap(), number);
    }
    assert_eq!(running.stop().await, 100);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_receiver_that_is_away_and_nothing_is_lost() {
    let running = Running::start(|place| LogTarget::Unix(place.join("log")));
    running.happen(0, 10).await;
    let ledger = Arc::clone(&running.ledger);
    assert_eq!(running.stop().await, 0);
    assert_eq!(ledger.events_after(0, 100).await.unwrap().len(), 10);
}
