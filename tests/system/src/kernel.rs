//! A site: a person's host with many addresses, the gateway, two providers; each a network namespace. The gateway's kernel is
//! ruled by the enforcer, and the test gives the orders.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::gateway::{Setup, built};
use crate::log::Log;
use crate::namespace::{Host, cable};
use crate::net::{Outcome, connect_from, echo, try_through};
use crate::provider::{Manner, Provider};
use kmsgate_enforcer::carry_out::since_boot;
use kmsgate_orders::order::{Answer, Carrier, GrantName, News, Opening, Order, Place, VERSION};
use kmsgate_orders::table::Table;
use kmsgate_orders::wire::{Reply, frame};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The gateway's addresses on the side of the people.
pub const GATEWAY: [&str; 2] = ["192.0.2.1", "2001:db8:0:1::1"];

/// Which family a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// One of the person's addresses, of 65,536.
    #[must_use]
    pub fn person(self, number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        match self {
            Self::V4 => IpAddr::from([10, 7, high, low]),
            Self::V6 => IpAddr::from([0x2001, 0xdb8, 7, 0, 0, 0, 0, number]),
        }
    }

    /// Where the service is offered.
    #[must_use]
    pub fn service(self) -> SocketAddr {
        let [v4, v6] = GATEWAY.map(|address| address.parse::<IpAddr>().expect("an address"));
        SocketAddr::new(if self == Self::V4 { v4 } else { v6 }, 1688)
    }

    /// The address of a provider, 0 or 1.
    #[must_use]
    pub fn provider(self, number: usize) -> SocketAddr {
        let address = match self {
            Self::V4 => format!("198.19.{number}.2"),
            Self::V6 => format!("2001:db8:2:{number}::2"),
        };
        SocketAddr::new(address.parse().expect("an address"), 1688)
    }
}

/// The whole of it.
#[derive(Debug)]
pub struct Site {
    /// The person's host.
    pub person: Host,
    /// The gateway.
    pub gateway: Host,
    /// The providers' hosts.
    pub hosts: [Host; 2],
    directory: tempfile::TempDir,
    table: String,
    /// Whether the enforcer starts as nobody, with one capability.
    as_nobody: bool,
}

impl Site {
    /// Four hosts and their cables; nothing is forwarded by rule yet, and everything by routing.
    #[must_use]
    pub fn new() -> Self {
        let (person, gateway) = (Host::new("person"), Host::new("gate"));
        let hosts = [Host::new("one"), Host::new("two")];
        cable(
            (&person, "net", &["192.0.2.2/24", "2001:db8:0:1::2/64"]),
            (&gateway, "ext", &["192.0.2.1/24", "2001:db8:0:1::1/64"]),
        );
        for (number, host) in hosts.iter().enumerate() {
            let here = [format!("198.19.{number}.2/24"), format!("2001:db8:2:{number}::2/64")];
            let there = [format!("198.19.{number}.1/24"), format!("2001:db8:2:{number}::1/64")];
            let inside = format!("in{number}");
            cable(
                (host, "net", &here.each_ref().map(String::as_str)),
                (&gateway, &inside, &there.each_ref().map(String::as_str)),
            );
            host.ip(&format!("route add default via 198.19.{number}.1"));
            host.ip(&format!("-6 route add default via 2001:db8:2:{number}::1"));
        }
        // All of the person's addresses, and the way back to them.
        person.ip("route add local 10.7.0.0/16 dev lo");
        person.ip("-6 route add local 2001:db8:7::/64 dev lo");
        person.ip("route add default via 192.0.2.1");
        person.ip("-6 route add default via 2001:db8:0:1::1");
        gateway.ip("route add 10.7.0.0/16 via 192.0.2.2");
        gateway.ip("-6 route add 2001:db8:7::/64 via 2001:db8:0:1::2");
        // An IPv6 socket may bind only to an address of an interface, unless this is set; an IPv4 socket to any local route.
        person.set("net.ipv6.ip_nonlocal_bind", "1");
        gateway.set("net.ipv4.ip_forward", "1");
        gateway.set("net.ipv6.conf.all.forwarding", "1");
        gateway.set("net.netfilter.nf_conntrack_acct", "1");
        gateway.set("net.netfilter.nf_conntrack_timestamp", "1");
        let directory = tempfile::tempdir().expect("a directory");
        let table = "kmsgate-table 1\nexternal ext\nrefuse reset\nmasquerade no\nmark_mask 0xffffffff\n\
            longest_window 3600\nopens_per_second 100000\ngrants 65536\nservice kms port=1688 max_bytes_in=0\n\
            provider 198.19.0.2:1688 weight=1\nprovider 198.19.1.2:1688 weight=1\n\
            provider [2001:db8:2::2]:1688 weight=1\nprovider [2001:db8:2:1::2]:1688 weight=1\n";
        Self { person, gateway, hosts, directory, table: table.to_owned(), as_nobody: false }
    }

    /// The same with another line in the table.
    ///
    /// # Panics
    /// If the table has no such line, or is none then.
    #[must_use]
    pub fn with(mut self, line: &str, instead: &str) -> Self {
        assert!(self.table.contains(line), "{line}");
        self.table = self.table.replacen(line, instead, 1);
        Table::parse(&self.table).expect("a table");
        self
    }

    /// The table of its enforcers is this one.
    ///
    /// # Panics
    /// If it is none.
    pub fn set_table(&mut self, table: String) {
        Table::parse(&table).expect("a table");
        self.table = table;
    }

    /// The enforcer's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("enforcer.sock")
    }

    /// The same, whose enforcer starts as systemd starts it: an ordinary user with one ambient capability.
    ///
    /// # Panics
    /// If the program cannot be copied to where such a user may read it.
    #[must_use]
    pub fn with_an_ordinary_user(mut self) -> Self {
        let own = self.directory.path();
        std::fs::copy(built("kmsgate-enforcer", "kmsgate-enforcer"), own.join("enforcer")).expect("copied");
        std::os::unix::fs::chown(own, Some(65534), Some(65534)).expect("root may");
        self.as_nobody = true;
        self
    }

    /// A provider of this number and family.
    #[must_use]
    pub fn provider(&self, number: usize, family: Family, manner: Manner) -> Provider {
        let host = self.hosts.get(number).expect("0 or 1");
        host.within(|| Provider::start_at(family.provider(number), manner))
    }

    /// Both providers of both families, echoing.
    #[must_use]
    pub fn echoing(&self) -> Vec<Provider> {
        let all = Family::BOTH.into_iter().flat_map(|family| [0, 1].map(|number| (number, family)));
        all.map(|(number, family)| self.provider(number, family, Manner::Echo)).collect()
    }

    /// The enforcer's command, not started, and its socket: until its standard input ends it serves.
    ///
    /// # Panics
    /// If the table cannot be written.
    #[must_use]
    pub fn command(&self) -> (Command, PathBuf) {
        let table = self.directory.path().join("table");
        std::fs::write(&table, &self.table).expect("written");
        let socket = self.socket();
        let program = built("kmsgate-enforcer", "kmsgate-enforcer");
        let mut command = match self.as_nobody {
            false => self.gateway.command(program.to_str().expect("a plain path")),
            true => {
                let mut command = self.gateway.command("setpriv");
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
                command.args(["--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin"]);
                command.arg("--bounding-set=-all,+net_admin").arg(self.directory.path().join("enforcer"));
                command
            }
        };
        command.args(["--until-stdin-ends", "--user", "65534", "--table"]).arg(&table).arg("--socket").arg(&socket);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        (command, socket)
    }

    /// Loads the ruleset as at a boot, with nobody to serve it; what was said.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn guard(&self) -> String {
        let table = self.table_file();
        let program = built("kmsgate-enforcer", "kmsgate-enforcer");
        let mut command = self.gateway.command(program.to_str().expect("a plain path"));
        let output = command.arg("--load-only").arg("--table").arg(&table).output().expect("ip starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    /// A file that has the enforcer's table.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn table_file(&self) -> String {
        let table = self.directory.path().join("table");
        std::fs::write(&table, &self.table).expect("written");
        table.display().to_string()
    }

    /// The enforcer's table.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn table(&self) -> Table {
        Table::parse(&self.table).expect("a table")
    }

    /// Starts the enforcer.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn enforcer(&self) -> Enforcer {
        let (mut command, socket) = self.command();
        let log = Log::default();
        let mut child = command.spawn().expect("ip starts");
        log.collect(child.stderr.take().expect("its lines"));
        log.until("the line that says that it serves", || {
            if let Some(status) = child.try_wait().expect("its status") {
                panic!("it ended: {status}\n{}", log.text());
            }
            log.after(0, &["kmsgate-enforcer: serving"])
        });
        let table = self.table().fingerprint();
        let session = Session::begin(&socket, table);
        Enforcer { child, log, session, socket, table }
    }

    /// A gateway that forwards in this site's kernel: both families, no provider checked, a window of a minute.
    #[must_use]
    pub fn setup(&self) -> Setup {
        let providers: Vec<_> = Family::BOTH
            .into_iter()
            .flat_map(|family| [0, 1].map(|number| format!("\"{}\"", family.provider(number))))
            .collect();
        Setup::new(Family::V4.provider(0))
            .on(&self.gateway)
            .service("port", "1688")
            .service("providers", &format!("[{}]", providers.join(", ")))
            .service("window", "\"60s\"")
            .service("max_connection", "\"1h\"")
            .section("portal", "listen = [\"192.0.2.1:80\", \"[2001:db8:0:1::1]:80\"]\ninsecure_http = true")
            .section("forward", "mode = \"nftables\"\nexternal = [\"ext\"]")
    }

    /// Connects from one of the person's addresses, says something and waits for it to come back.
    #[must_use]
    pub fn connect(&self, source: IpAddr) -> Outcome {
        self.person.within(|| try_through(source, service_of(source)))
    }

    /// Connects and says nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect_only(&self, source: IpAddr) -> std::io::Result<TcpStream> {
        self.person.within(|| connect_from(source, service_of(source)))
    }

    /// So many connections at once from one address; how many came through.
    #[must_use]
    pub fn at_once(&self, source: IpAddr, count: usize) -> Vec<TcpStream> {
        self.person.within(|| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..count)
                    .map(|_| {
                        scope.spawn(|| {
                            let stream = connect_from(source, service_of(source)).ok()?;
                            stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
                            match echo(stream) {
                                Outcome::Echoed(stream) => Some(stream),
                                _ => None,
                            }
                        })
                    })
                    .collect();
                threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
            })
        })
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

fn service_of(source: IpAddr) -> SocketAddr {
    if source.is_ipv4() { Family::V4.service() } else { Family::V6.service() }
}

/// A running enforcer, and a session with it.
#[derive(Debug)]
pub struct Enforcer {
    child: Child,
    /// What it says.
    pub log: Log,
    /// Its first session.
    pub session: Session,
    socket: PathBuf,
    table: u64,
}

impl Enforcer {
    /// Another session.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::begin(&self.socket, self.table)
    }

    /// Opens a window for an address.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn open(&mut self, grant: u8, address: IpAddr, seconds: u64, connections: u16) -> GrantName {
        let opening = opening(grant, address, seconds, connections);
        assert_eq!(self.session.order(Order::Open(opening)), Answer::Done, "{}", self.log.text());
        opening.grant
    }

    /// Its number; `ip netns exec` has become the enforcer by the time that it serves.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Ends its standard input, which tells it to leave, and waits until it has left.
    ///
    /// # Panics
    /// If it has no status.
    #[must_use]
    pub fn leave(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("its status")
    }

    /// SIGKILL, and it is gone. `ip netns exec` has become the enforcer by then.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill9(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the enforcer said:\n{}", self.log.text());
        }
    }
}

/// A grant of the first service.
#[must_use]
pub fn opening(grant: u8, address: IpAddr, seconds: u64, connections: u16) -> Opening {
    Opening {
        grant: [grant; 16],
        place: Place { service: 0, address },
        deadline: since_boot() + seconds * 1_000_000_000,
        connections,
        claimed: 0,
        carrier: Carrier::Kernel,
    }
}

/// A session with the enforcer, as serve has one.
#[derive(Debug)]
pub struct Session {
    stream: UnixStream,
    input: Vec<u8>,
    number: u32,
    news: VecDeque<News>,
}

impl Session {
    /// Connects and greets.
    ///
    /// # Panics
    /// If it is refused.
    #[must_use]
    pub fn begin(socket: &std::path::Path, table: u64) -> Self {
        let stream = UnixStream::connect(socket).expect("it listens");
        stream.set_read_timeout(Some(crate::PATIENCE)).expect("a time-out");
        let mut session = Self { stream, input: vec![], number: 0, news: VecDeque::new() };
        assert_eq!(session.order(Order::Hello { version: VERSION, table }), Answer::Done);
        session
    }

    /// Gives an order and waits for its answer.
    ///
    /// # Panics
    /// If the session ends.
    #[track_caller]
    pub fn order(&mut self, order: Order) -> Answer {
        let number = self.send(order);
        loop {
            match self.next() {
                Reply::Answer(of, answer) if of == number => return answer,
                Reply::Answer(of, _) => panic!("an answer to {of} instead of {number}"),
                Reply::News(news) => self.news.push_back(news),
            }
        }
    }

    /// Gives orders in one piece, without waiting in between; their answers in the same order.
    ///
    /// # Panics
    /// If the session ends.
    #[must_use]
    pub fn orders(&mut self, orders: impl IntoIterator<Item = Order>) -> Vec<Answer> {
        let mut bytes = vec![];
        let numbers: Vec<_> = orders.into_iter().map(|order| self.write_order(order, &mut bytes)).collect();
        self.stream.write_all(&bytes).expect("the session is there");
        let mut answers = vec![None; numbers.len()];
        let first = numbers.first().copied().unwrap_or(0);
        for _ in &numbers {
            loop {
                match self.next() {
                    Reply::News(news) => self.news.push_back(news),
                    Reply::Answer(of, answer) => {
                        let slot = usize::try_from(of - first).ok().and_then(|place| answers.get_mut(place));
                        *slot.expect("an answer to one of these") = Some(answer);
                        break;
                    }
                }
            }
        }
        answers.into_iter().map(|answer| answer.expect("each was answered")).collect()
    }

    /// Waits for news of this kind; others before it are dropped.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn until<T>(&mut self, mut wanted: impl FnMut(News) -> Option<T>) -> T {
        loop {
            let news = match self.news.pop_front() {
                Some(news) => news,
                None => match self.next() {
                    Reply::News(news) => news,
                    Reply::Answer(..) => panic!("an answer to nothing"),
                },
            };
            if let Some(found) = wanted(news) {
                return found;
            }
        }
    }

    /// The news that came before the last answer and were not waited for.
    #[must_use]
    pub fn told(&mut self) -> Vec<News> {
        self.news.drain(..).collect()
    }

    /// Writes bytes that may be no order.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Whether the enforcer has ended the session.
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        let mut piece = [0; 64];
        matches!(self.stream.read(&mut piece), Ok(0)) || self.stream.write_all(&[0]).is_err()
    }

    fn send(&mut self, order: Order) -> u32 {
        let mut bytes = vec![];
        let number = self.write_order(order, &mut bytes);
        self.stream.write_all(&bytes).expect("the session is there");
        number
    }

    fn write_order(&mut self, order: Order, bytes: &mut Vec<u8>) -> u32 {
        self.number += 1;
        order.write(self.number, bytes);
        self.number
    }

    #[track_caller]
    fn next(&mut self) -> Reply {
        loop {
            if let Some((body, length)) = frame(&self.input).expect("a frame") {
                let reply = Reply::read(body).expect("a reply");
                self.input.drain(..length);
                return reply;
            }
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece).expect("the session answers");
            assert!(read > 0, "the session has ended");
            self.input.extend_from_slice(piece.get(..read).unwrap_or_default());
        }
    }
}
