//! A real NIS server with its portmapper, on a host of the test's own: port 111 is fixed, and so are their files in `/run`. What must
//! never happen here: a server that outlives its test, a map of another test's.

use crate::namespace::Host;
use crate::{PATIENCE, available};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

const YPSERV: &str = "/usr/sbin/ypserv";
const RPCBIND: &str = "/usr/sbin/rpcbind";
const MAKEDBM: &str = "/usr/lib/yp/makedbm";

/// `secret`, by mkpasswd(1).
pub const SECRET: &str =
    "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";

/// A map: its name, its lines (the first field of each is its key), whether it is told to reserved ports alone.
pub type Map = (&'static str, Vec<String>, bool);

/// What a domain holds.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub domain: String,
    /// Its maps.
    pub maps: Vec<Map>,
    /// `securenets`, if there is to be one.
    pub securenets: Option<String>,
    /// The port, or else one of its own choice.
    pub port: Option<u16>,
}

impl Default for Wanted {
    fn default() -> Self {
        let lines = |lines: &[&str]| lines.iter().map(|line| line.replace("SECRET", SECRET)).collect();
        let passwd = lines(&[
            "alice:SECRET:1000:50:Alice:/home/alice:/bin/sh",
            "bob:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA:1001:51::/home/bob:/bin/sh",
            "locked:!SECRET:1002:51::/:/bin/sh",
            "nobody:*:1003:51::/:/bin/sh",
            "open::1004:51::/:/bin/sh",
            "old:ab8eTvUhq5MhY:1005:51::/:/bin/sh",
        ]);
        let group = lines(&["staff:*:50:", "lab:*:52:bob,alice", "others:*:53:malice"]);
        Self {
            domain: "campus".to_owned(),
            maps: vec![("passwd.byname", passwd, false), ("group.byname", group, false)],
            securenets: None,
            port: None,
        }
    }
}

/// A running one. Ended when dropped, with its host.
#[derive(Debug)]
pub struct YpServ {
    // In the order in which they end: the host last.
    ypserv: Ended,
    rpcbind: Ended,
    _view: Ended,
    view: u32,
    directory: tempfile::TempDir,
    wanted: Wanted,
    /// Where it runs, and where it is to be asked.
    pub host: Host,
}

/// A program that ends with its test.
#[derive(Debug)]
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Nothing is left to be done about a failure.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl YpServ {
    /// Starts one and waits until it answers. None if it is left out by `KMSGATE_TEST_WITHOUT`.
    ///
    /// # Errors
    /// It is not installed, or does not start; the text says why.
    pub fn start(wanted: &Wanted) -> Result<Option<Self>, String> {
        if crate::left_out("root") || !available("ypserv", YPSERV, "ypserv")? {
            return Ok(None);
        }
        if !available("ypserv", RPCBIND, "rpcbind")? || !available("iproute2", "/usr/sbin/ip", "iproute2")? {
            return Ok(None);
        }
        let host = Host::new("yp");
        let directory = tempfile::tempdir().map_err(|why| why.to_string())?;
        make(directory.path(), wanted)?;
        // A view of the file system with a `/run` of its own, held by a process that ends with us. What it echoes shows that it is
        // there.
        let mut view = host.within(|| {
            Command::new("unshare")
                .args(["--mount", "--propagation", "private", "cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map(Ended)
                .map_err(|why| format!("unshare: {why}"))
        })?;
        if let Some(into) = &mut view.0.stdin {
            into.write_all(b"there\n").map_err(|why| why.to_string())?;
        }
        let mut line = String::new();
        if let Some(from) = &mut view.0.stdout {
            BufReader::new(from).read_line(&mut line).map_err(|why| why.to_string())?;
        }
        if line != "there\n" {
            return Err("unshare cannot make a view of the file system: this test needs root".to_owned());
        }
        let number = view.0.id();
        let mounted = within(number, "mount", &["-t", "tmpfs", "tmpfs", "/run"]).status();
        if !mounted.is_ok_and(|status| status.success()) {
            return Err("/run cannot be covered".to_owned());
        }
        if let Some(nets) = &wanted.securenets {
            // Read from here alone, whatever its directory.
            let file = directory.path().join("securenets");
            std::fs::write(&file, nets).map_err(|why| why.to_string())?;
            let covered =
                within(number, "mount", &["--bind", &file.display().to_string(), "/var/yp/securenets"]).status();
            if !covered.is_ok_and(|status| status.success()) {
                return Err("/var/yp/securenets cannot be covered".to_owned());
            }
        }
        let rpcbind = portmapper(&host, number)?;
        let ypserv = server(&host, number, directory.path(), wanted)?;
        let wanted = wanted.clone();
        Ok(Some(Self { ypserv, rpcbind, _view: view, view: number, directory, wanted, host }))
    }

    /// Makes its maps anew and starts it again.
    ///
    /// # Errors
    /// What went wrong.
    pub fn restart(&mut self, wanted: Wanted) -> Result<(), String> {
        self.end();
        make(self.directory.path(), &wanted)?;
        self.ypserv = server(&self.host, self.view, self.directory.path(), &wanted)?;
        self.wanted = wanted;
        Ok(())
    }

    /// At which port it listens for IPv6.
    #[must_use]
    pub fn ipv6_port(&self) -> Option<u16> {
        let table = self.host.within(|| std::fs::read_to_string("/proc/thread-self/net/tcp6")).ok()?;
        let listening = table.lines().skip(1).filter(|line| line.split_whitespace().nth(3) == Some("0A"));
        let mut ports = listening.filter_map(|line| {
            let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
            u16::from_str_radix(port, 16).ok()
        });
        ports.find(|port| *port != 111)
    }

    /// Ends the portmapper, and starts one that knows nobody.
    ///
    /// # Errors
    /// What went wrong.
    pub fn restart_portmapper(&mut self) -> Result<(), String> {
        self.end_portmapper();
        self.rpcbind = portmapper(&self.host, self.view)?;
        Ok(())
    }

    /// Ends the portmapper.
    pub fn end_portmapper(&mut self) {
        self.rpcbind.0.kill().ok();
        self.rpcbind.0.wait().ok();
    }

    /// Ends ypserv; the portmapper stays, and still tells where it was.
    pub fn end(&mut self) {
        self.ypserv.0.kill().ok();
        self.ypserv.0.wait().ok();
    }
}

/// A program with this view of the file system.
fn within(view: u32, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{view}/ns/mnt")).arg(program).args(arguments).stdin(Stdio::null());
    command
}

fn portmapper(host: &Host, view: u32) -> Result<Ended, String> {
    let mut command = within(view, RPCBIND, &["-f", "-w"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut started = host.within(|| command.spawn()).map(Ended).map_err(|why| format!("{RPCBIND}: {why}"))?;
    let until = Instant::now() + PATIENCE;
    while !host.within(|| TcpStream::connect("127.0.0.1:111").is_ok()) {
        if started.0.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > until {
            return Err("rpcbind does not start".to_owned());
        }
        std::thread::yield_now();
    }
    Ok(started)
}

fn server(host: &Host, view: u32, directory: &Path, wanted: &Wanted) -> Result<Ended, String> {
    let port = match wanted.port {
        Some(port) => port,
        None => host.within(free_port)?,
    };
    let (path, port_text) = (directory.display().to_string(), port.to_string());
    let mut command = within(view, YPSERV, &["-p", &port_text, "-d", &path]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut started = host.within(|| command.spawn()).map(Ended).map_err(|why| format!("{YPSERV}: {why}"))?;
    let said = started.0.stderr.take().map(collect).ok_or("no stderr")?;
    let until = Instant::now() + PATIENCE;
    let mut log = String::new();
    while !host.within(|| answers(port)) {
        log.extend(said.try_iter());
        if started.0.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > until {
            return Err(format!("ypserv does not start:\n{log}"));
        }
        std::thread::yield_now();
    }
    Ok(started)
}

/// Whether ypserv's procedure that does nothing (YPPROC_NULL) answers: by then the portmapper knows it for every transport.
fn answers(port: u16) -> bool {
    let call: [u32; 11] = [0x8000_0028, 7, 0, 2, 100_004, 2, 0, 0, 0, 0, 0];
    let bytes: Vec<u8> = call.into_iter().flat_map(u32::to_be_bytes).collect();
    let mut answer = [0; 4];
    TcpStream::connect(("127.0.0.1", port))
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&bytes)?;
            stream.read_exact(&mut answer)
        })
        .is_ok()
}

/// Its lines, read to the end, so that it never waits for us.
fn collect(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            // Whoever does not listen any more has seen enough.
            sender.send(format!("{}\n", String::from_utf8_lossy(&line))).ok();
        }
    });
    receiver
}

fn make(directory: &Path, wanted: &Wanted) -> Result<(), String> {
    let fault = |why: std::io::Error| format!("{}: {why}", directory.display());
    let domain = directory.join(&wanted.domain);
    if domain.exists() {
        std::fs::remove_dir_all(&domain).map_err(fault)?;
    }
    std::fs::create_dir_all(&domain).map_err(fault)?;
    for (name, lines, secure) in &wanted.maps {
        let mut text = String::new();
        for line in lines {
            writeln!(text, "{} {line}", line.split(':').next().unwrap_or_default()).map_err(|why| why.to_string())?;
        }
        let source = directory.join(format!("{name}.txt"));
        std::fs::write(&source, text).map_err(fault)?;
        let mut command = Command::new(MAKEDBM);
        if *secure {
            command.arg("-s");
        }
        let made = command.args(["-m", "master", "--no-limit-check"]).arg(&source).arg(domain.join(name)).output();
        let made = made.map_err(|why| format!("{MAKEDBM}: {why}"))?;
        if !made.status.success() {
            return Err(format!("{MAKEDBM} {name}: {}", String::from_utf8_lossy(&made.stderr)));
        }
    }
    Ok(())
}

/// One that both transports have.
fn free_port() -> Result<u16, String> {
    for _ in 0..16 {
        let listener = TcpListener::bind("0.0.0.0:0").map_err(|why| why.to_string())?;
        let port = listener.local_addr().map_err(|why| why.to_string())?.port();
        if UdpSocket::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".to_owned())
}
