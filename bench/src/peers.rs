//! What people would use to relay a port: HAProxy in TCP mode, nginx stream. Both as root on the same machine, with as many
//! threads or workers as there are processors. Each writes a line for each connection to its standard output, as kmsgate does,
//! and that goes nowhere.

use crate::Failure;
use crate::place::{end, memory};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A relay that is not ours.
pub(crate) struct Peer {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

/// HAProxy, if this machine has it.
pub(crate) fn haproxy(provider: SocketAddr) -> Result<Option<Peer>, Failure> {
    let Some(program) = find("haproxy") else { return Ok(None) };
    let address = free()?;
    let text = format!(
        "global\n  maxconn 4000\n  nbthread 2\n  log stdout format raw daemon\n\
         defaults\n  mode tcp\n  log global\n  option tcplog\n  timeout connect 3s\n  timeout client 1h\n  timeout server 1h\n  maxconn 4000\n\
         listen relay\n  bind {address}\n  server provider {provider}\n"
    );
    start(&program, "haproxy.cfg", &text, &["-db", "-f"], address)
}

/// nginx with its stream module, if this machine has both.
pub(crate) fn nginx(provider: SocketAddr) -> Result<Option<Peer>, Failure> {
    let Some(program) = find("nginx") else { return Ok(None) };
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if !module.exists() {
        return Ok(None);
    }
    let address = free()?;
    let text = format!(
        "load_module {};\nuser root;\nworker_processes 2;\ndaemon off;\npid nginx.pid;\nerror_log stderr crit;\n\
\nevents {{ worker_connections 8000; }}\n\
         stream {{ log_format line '$time_iso8601 $remote_addr $status $bytes_sent $bytes_received $session_time'; \
         access_log /dev/stdout line; server {{ listen {address} backlog=4096 reuseport; proxy_pass {provider}; proxy_timeout 1h; tcp_nodelay on; }} }}\n",
        module.display()
    );
    start(&program, "nginx.conf", &text, &["-c"], address)
}

impl Peer {
    /// The memory of all its processes, in kilobytes.
    pub(crate) fn memory(&self) -> Result<f64, Failure> {
        let mut all = 0.0;
        for pid in family(self.child.id())? {
            all += memory(pid)?;
        }
        Ok(all)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A master that is killed leaves its workers: they are asked to end first, and it with them.
        let workers = family(self.child.id()).unwrap_or_default();
        for pid in workers.into_iter().rev() {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            // One that has ended already is as well.
            if pid.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_err()) {}
        }
        end(&mut self.child);
    }
}

fn start(
    program: &Path,
    name: &str,
    text: &str,
    options: &[&str],
    address: SocketAddr,
) -> Result<Option<Peer>, Failure> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join(name);
    std::fs::write(&file, text)?;
    let child = Command::new(program)
        .args(options)
        .arg(&file)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut peer = Peer { child, address, _directory: directory };
    let begun = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        if begun.elapsed() > Duration::from_secs(10) || peer.child.try_wait()?.is_some() {
            return Err(format!("{} does not serve", program.display()).into());
        }
        std::thread::yield_now();
    }
    Ok(Some(peer))
}

/// A process and its children (proc_pid_children is not built everywhere, so that all processes are asked).
fn family(pid: u32) -> Result<Vec<u32>, Failure> {
    let mut family = vec![pid];
    for entry in std::fs::read_dir("/proc")? {
        let Some(other) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{other}/stat")) else { continue };
        let parent =
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).and_then(|text| text.parse().ok());
        if parent == Some(pid) {
            family.push(other);
        }
    }
    Ok(family)
}

fn find(program: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin"]
        .iter()
        .map(|place| Path::new(place).join(program))
        .find(|path| path.exists())
}

fn free() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
