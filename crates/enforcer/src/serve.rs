//! The loop: sessions on a unix socket, the kernel's events, and a look every quarter of a second whether the ruleset is
//! there. What must never happen here: a session that can stop another, bytes of a malformed one that are acted upon.

use crate::carry_out::{Enforcer, since_boot};
use crate::log::Line;
use crate::netlink::{Failed, Socket};
use kmsgate_orders::order::{Answer, News, Opening, Order, Refused, VERSION};
use kmsgate_orders::table::Table;
use kmsgate_orders::wire::{Malformed, Reply, frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// Sessions at once: serve has one for orders and one for news, the command line a third.
const SESSIONS: usize = 16;
/// A session that has taken nothing of what waits for it for so many nanoseconds is ended, as soon as so many bytes wait: a
/// listing may be long, and whoever reads it is not ended for that.
const UNREAD: (u64, usize) = (5_000_000_000, 4 << 20);
/// How often the ruleset is looked for, in nanoseconds.
const LOOK: u32 = 250_000_000;
/// What the kernel tells is not listened to for so many nanoseconds after it told something: a thousand connections a second
/// then wake us no oftener than one does. Whoever asks meanwhile is told first.
const REST: u32 = 1_000_000;
/// Openings in one transaction at most: their elements must fit into one message of the socket.
const TOGETHER: usize = 256;

struct Session {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// When it last took something, or nothing waited.
    taken: u64,
    greeted: bool,
    watches: bool,
    /// Its orders are not carried out; it is over when it has read why.
    deaf: bool,
    over: bool,
    /// Whoever started us holds its other end: when it is over, so are we.
    ours: bool,
}

/// Who gives orders.
#[derive(Debug)]
pub enum Sessions {
    /// Whoever connects, if it is this user or root; served until the standard input ends, if that is said.
    Socket {
        /// Where they connect.
        listener: UnixListener,
        /// Who may.
        user: u32,
        /// Whether to leave with the standard input.
        until_stdin_ends: bool,
    },
    /// Whoever started us and nobody else, until they are gone.
    Starter(UnixStream),
}

/// Serves until it is told to leave.
///
/// # Errors
/// If the kernel takes the netlink sockets away.
pub fn run(mut enforcer: Enforcer, table: &Table, from: Sessions) -> Result<(), Failed> {
    let failed = |errno| Failed { errno, sequence: 0 };
    let stdin = std::io::stdin();
    let (listener, leave, mut sessions) = match from {
        Sessions::Socket { listener, user, until_stdin_ends } => {
            (Some((listener, user)), until_stdin_ends.then(|| stdin.as_fd()), vec![])
        }
        Sessions::Starter(stream) => (None, None, vec![Session { ours: true, ..Session::of(stream) }]),
    };
    let mut log = Line::default();
    let mut looked = since_boot();
    let mut told = false;
    loop {
        let events = (!told).then_some(enforcer.events());
        let leaving = wait(events, listener.as_ref().map(|(listener, _)| listener), leave, &sessions);
        if leaving.map_err(failed)? {
            return Ok(());
        }
        if let Some((listener, user)) = &listener {
            accept(listener, *user, &mut sessions, &mut log);
        }
        let mut news = vec![];
        told = enforcer.hear(&mut |told| news.push(told))?;
        // Before any answer: one that tells of the same connections tells what came of them since.
        tell(&mut sessions, &news);
        if since_boot().saturating_sub(looked) >= LOOK.into() {
            looked = since_boot();
            enforcer.guard()?;
        }
        carry_out(&mut enforcer, table, &mut sessions, &mut log);
        if enforcer.take_reinstalled() {
            log.say("ERROR the ruleset was removed by another program and is loaded again");
            tell(&mut sessions, &[News::Reinstalled]);
        }
        sessions.iter_mut().for_each(Session::write);
        let told_to_leave = sessions.iter().any(|session| session.over && session.ours);
        sessions.retain(|session| !session.over);
        log.flush();
        if told_to_leave {
            return Ok(());
        }
    }
}

/// Tells whoever watches.
fn tell(sessions: &mut [Session], news: &[News]) {
    for session in sessions.iter_mut().filter(|session| session.watches) {
        news.iter().for_each(|told| Reply::News(*told).write(&mut session.output));
    }
}

/// Waits for anything to do; true if it is to leave. Without `events` it waits no longer than [`REST`].
fn wait(
    events: Option<&Socket>,
    listener: Option<&UnixListener>,
    leave: Option<BorrowedFd<'_>>,
    sessions: &[Session],
) -> Result<bool, Errno> {
    // The one that tells to leave is the first, if there is one.
    let mut fds: Vec<_> = leave.map(|leave| PollFd::from_borrowed_fd(leave, PollFlags::IN)).into_iter().collect();
    fds.extend(events.map(|events| PollFd::new(events, PollFlags::IN)));
    fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
    for session in sessions {
        let writes = if session.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        fds.push(PollFd::new(&session.stream, PollFlags::IN | writes));
    }
    let longest = Timespec { tv_sec: 0, tv_nsec: if events.is_some() { LOOK } else { REST }.into() };
    match poll(&mut fds, Some(&longest)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    Ok(leave.is_some() && fds.first().is_some_and(|fd| !fd.revents().is_empty()))
}

fn accept(listener: &UnixListener, allowed: u32, sessions: &mut Vec<Session>, log: &mut Line) {
    while let Ok((stream, _)) = listener.accept() {
        let user = socket_peercred(&stream).map(|peer| peer.uid.as_raw());
        let usable = stream.set_nonblocking(true).is_ok();
        match user {
            Ok(user) if (user == allowed || user == 0) && usable && sessions.len() < SESSIONS => {
                sessions.push(Session::of(stream));
            }
            Ok(user) if sessions.len() >= SESSIONS => {
                log.seldom(&format!("a session of user {user} refused: too many"), since_boot());
            }
            Ok(user) => log.seldom(&format!("a session of user {user} refused: not the gateway's"), since_boot()),
            Err(errno) => log.seldom(&format!("a session refused: whose it is cannot be read: {errno}"), since_boot()),
        }
    }
}

/// Reads what every session asks and carries it out in the order of each session. Openings that follow one another go
/// into one transaction, whoever asks.
fn carry_out(enforcer: &mut Enforcer, table: &Table, sessions: &mut [Session], log: &mut Line) {
    let mut openings: Vec<(usize, u32, Opening)> = vec![];
    for place in 0..sessions.len() {
        let Some(session) = sessions.get_mut(place) else { return };
        let orders = session.read().unwrap_or_else(|malformed| {
            log.say(&format!("a session ended: {malformed}"));
            session.over = true;
            vec![]
        });
        for (number, order) in orders {
            if let Order::Open(opening) = order {
                if session_may(sessions, place, &order, log) {
                    openings.push((place, number, opening));
                }
                continue;
            }
            open(enforcer, table, sessions, &mut openings, log);
            if session_may(sessions, place, &order, log)
                && let Some(session) = sessions.get_mut(place)
            {
                if let Order::Hello { table: by, .. } = order
                    && by != table.fingerprint()
                {
                    log.say("a session is not heard: it counts its places by another table; restart both sides");
                    session.deaf = true;
                    session.answer(number, Answer::Refused(Refused::OtherTable));
                    break;
                }
                session.watches |= order == Order::Watch;
                let output = &mut session.output;
                let answer = enforcer.order(order, &mut |told| Reply::News(told).write(output));
                log.order(table, &order, &answer);
                session.answer(number, answer);
            }
        }
    }
    open(enforcer, table, sessions, &mut openings, log);
}

/// Whether the session of this place began as it must; if not, it is over.
fn session_may(sessions: &mut [Session], place: usize, order: &Order, log: &mut Line) -> bool {
    let Some(session) = sessions.get_mut(place).filter(|session| !session.over && !session.deaf) else { return false };
    match order {
        Order::Hello { version, .. } if *version == VERSION && !session.greeted => session.greeted = true,
        Order::Hello { .. } => session.over = true,
        _ => session.over = !session.greeted,
    }
    if session.over {
        log.say("a session ended: it did not begin with a greeting of our version");
    }
    !session.over
}

fn open(
    enforcer: &mut Enforcer,
    table: &Table,
    sessions: &mut [Session],
    openings: &mut Vec<(usize, u32, Opening)>,
    log: &mut Line,
) {
    for some in openings.chunks(TOGETHER) {
        let wanted: Vec<_> = some.iter().map(|(_, _, opening)| *opening).collect();
        for ((place, number, opening), answer) in some.iter().zip(enforcer.open(&wanted, since_boot())) {
            log.order(table, &Order::Open(*opening), &answer);
            if let Some(session) = sessions.get_mut(*place) {
                session.answer(*number, answer);
            }
        }
    }
    openings.clear();
}

impl Session {
    fn of(stream: UnixStream) -> Self {
        let (input, output) = (vec![], vec![]);
        let taken = since_boot();
        Self { stream, input, output, taken, greeted: false, watches: false, deaf: false, over: false, ours: false }
    }

    /// Every whole order that waits.
    fn read(&mut self) -> Result<Vec<(u32, Order)>, Malformed> {
        let mut piece = [0; 16 << 10];
        // One piece a turn: a session that never stops writing must not stop the others.
        match self.stream.read(&mut piece) {
            Ok(0) => self.over = true,
            Ok(length) => self.input.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.over = true,
        }
        let (mut orders, mut taken) = (vec![], 0);
        while let Some((body, length)) = frame(self.input.get(taken..).unwrap_or_default())? {
            orders.push(Order::read(body)?);
            taken += length;
        }
        self.input.drain(..taken);
        Ok(orders)
    }

    fn answer(&mut self, number: u32, answer: Answer) {
        Reply::Answer(number, answer).write(&mut self.output);
    }

    fn write(&mut self) {
        self.over |= self.deaf && self.output.is_empty();
        if self.output.is_empty() {
            self.taken = since_boot();
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(length) => {
                    self.output.drain(..length);
                    self.taken = since_boot();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let (longest, most) = UNREAD;
                    self.over |= self.output.len() > most && since_boot().saturating_sub(self.taken) > longest;
                    return;
                }
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Session, UNREAD};
    use crate::carry_out::since_boot;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn with_a_long_listing() -> (Session, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut session = Session::of(ours);
        session.output = vec![0; UNREAD.1 * 2];
        (session, theirs)
    }

    #[test]
    fn a_long_listing_reaches_whoever_reads_it_slowly() {
        let (mut session, mut reader) = with_a_long_listing();
        let mut piece = vec![0; 1 << 20];
        session.write();
        while session.output.len() > UNREAD.1 {
            session.taken = since_boot().saturating_sub(UNREAD.0 + 1);
            assert!(reader.read(&mut piece).unwrap() > 0, "it takes some");
            session.write();
            assert!(!session.over);
        }
    }

    #[test]
    fn a_session_that_takes_nothing_is_ended() {
        let (mut session, _reader) = with_a_long_listing();
        session.write();
        assert!(!session.over, "it has its time");
        session.taken = since_boot().saturating_sub(UNREAD.0 + 1);
        session.write();
        assert!(session.over);
    }
}
