//! A provider and its clients, as light as they can be: the gateway's kernel between them is measured, not these.

use crate::Failure;
use crate::stats::percentile;
use kmsgate_system_tests::namespace::Host;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, connect, listen, shutdown, socket_with, sockopt,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections at once.
const AT_ONCE: usize = 4;
/// A connection that is not there after this time is none.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many accepted connections are held before the oldest is dropped: the client has closed it by then.
const HELD: usize = 1024;

/// A provider that accepts, and says nothing. It ends with the value.
pub(crate) struct Sink(Arc<TcpListener>);

impl Sink {
    pub(crate) fn start(host: &Host, address: SocketAddr) -> Result<Self, Failure> {
        let listener = host.within(|| -> Result<TcpListener, Failure> {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &address)?;
            listen(&socket, 4096)?;
            Ok(socket.into())
        })?;
        let listener = Arc::new(listener);
        let accepts = Arc::clone(&listener);
        std::thread::spawn(move || {
            let mut held = VecDeque::with_capacity(HELD);
            while let Ok((stream, _)) = accepts.accept() {
                if held.len() == HELD {
                    held.pop_front();
                }
                held.push_back(stream);
            }
        });
        Ok(Self(listener))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Wakes the thread that accepts (EINVAL); one that has ended needs no waking.
        if shutdown(&self.0, Shutdown::Read).is_err() {}
    }
}

/// A round of connections: how many a second, and milliseconds until one was there.
pub(crate) struct Load {
    pub(crate) a_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// One connection from each of the addresses, [`AT_ONCE`] at a time, each reset by its client as soon as it is there.
pub(crate) fn connect_from_each(host: &Host, sources: &[Ipv4Addr], to: SocketAddr) -> Result<Load, Failure> {
    let share = sources.len().div_ceil(AT_ONCE);
    let begun = Instant::now();
    let times: Result<Vec<Vec<f64>>, Failure> = host.within(|| {
        std::thread::scope(|scope| {
            // They are this host's, as the thread that starts them.
            let clients = (0..).zip(sources.chunks(share));
            let threads: Vec<_> = clients.map(|(own, some)| scope.spawn(move || one_by_one(own, some, to))).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked")?).collect()
        })
    });
    let seconds = begun.elapsed().as_secs_f64();
    let mut times = times?.concat();
    times.sort_by(f64::total_cmp);
    let a_second = f64::from(u32::try_from(times.len())?) / seconds;
    Ok(Load { a_second, p50: percentile(&times, 50), p99: percentile(&times, 99) })
}

fn one_by_one(own: usize, sources: &[Ipv4Addr], to: SocketAddr) -> Result<Vec<f64>, Failure> {
    // On its processor: where the scheduler puts four threads for a tenth of a second differs more than what is compared.
    let mut processor = CpuSet::new();
    processor.set(own % std::thread::available_parallelism()?);
    sched_setaffinity(None, &processor)?;
    let mut times = Vec::with_capacity(sources.len());
    for source in sources {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
        // Closed by a reset: neither side keeps a port for the time that TCP waits otherwise.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        bind(&socket, &SocketAddr::new((*source).into(), 0))?;
        let begun = Instant::now();
        connect(&socket, &to).map_err(|error| format!("no connection from {source}: {error}"))?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
