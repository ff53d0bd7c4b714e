//! The session with the enforcer. What must never happen here: an answer taken for another order's, an order whose asker is
//! not told that it got lost.

use super::tell::Told;
use crate::event::notice::{Notice, Notices};
use crate::vital::Vital;
use kmsgate_orders::order::{Answer, Order, Refused, VERSION};
use kmsgate_orders::wire::{Reply, frame};
use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// An enforcer that is away is looked for so often.
const RETRY: Duration = Duration::from_millis(500);
/// Orders that go into one write at most.
const TOGETHER: usize = 512;
/// The numbers of the first two orders of a session.
const HELLO: u32 = 1;
const WATCH: u32 = 2;

/// Where the enforcer is.
#[derive(Debug)]
pub enum Whence {
    /// We started it: this is the one session with it, and without it we end.
    Started(std::os::unix::net::UnixStream),
    /// It listens there, and comes back if it goes away.
    Listens(PathBuf),
}

/// Where orders are given. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Session {
    orders: mpsc::UnboundedSender<Asked>,
    up: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Asked {
    order: Order,
    answer: oneshot::Sender<Answer>,
}

impl Session {
    /// Gives an order and waits for its answer; none if the enforcer is away or went away: whether it was carried out is not
    /// known then.
    pub(super) async fn order(&self, order: Order) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Asked { order, answer }).ok()?;
        answered.await.ok()
    }

    /// Whether there is a session.
    #[must_use]
    pub(super) fn ready(&self) -> bool {
        *self.up.borrow()
    }

    /// Waits until there is a session.
    pub(super) async fn is_up(&self) {
        // The sender lives as long as the task that keeps the session; after it there is nothing to wait for.
        drop(self.up.clone().wait_for(|up| *up).await);
    }
}

/// What the task that keeps a session needs.
#[derive(Debug)]
pub(super) struct Keeper {
    whence: Whence,
    table: u64,
    orders: mpsc::UnboundedReceiver<Asked>,
    heard: mpsc::UnboundedSender<Told>,
    up: watch::Sender<bool>,
    notices: Notices,
}

/// A session that [`Keeper::keep`] has still to begin; `table` is the fingerprint of the table that both count by.
#[must_use]
pub(super) fn session(
    whence: Whence,
    table: u64,
    heard: mpsc::UnboundedSender<Told>,
    notices: Notices,
) -> (Session, Keeper) {
    let (orders, asked) = mpsc::unbounded_channel();
    let up = watch::Sender::new(false);
    let session = Session { orders, up: up.subscribe() };
    (session, Keeper { whence, table, orders: asked, heard, up, notices })
}

impl Keeper {
    /// Connects and greets, once.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) async fn begin(&mut self) -> Result<Begun, String> {
        let connected = match &self.whence {
            Whence::Started(stream) => {
                stream.try_clone().and_then(|stream| stream.set_nonblocking(true).and(UnixStream::from_std(stream)))
            }
            Whence::Listens(path) => UnixStream::connect(path).await,
        };
        let stream = connected.map_err(|error| format!("{}: {error}", self.place()))?;
        let mut begun = Begun::of(stream);
        let mut bytes = vec![];
        Order::Hello { version: VERSION, table: self.table }.write(HELLO, &mut bytes);
        Order::Watch.write(WATCH, &mut bytes);
        begun.to.write_all(&bytes).await.map_err(|error| format!("{}: {error}", self.place()))?;
        for number in [HELLO, WATCH] {
            match begun.next().await.map_err(|error| format!("{}: {error}", self.place()))? {
                Reply::Answer(to, Answer::Done) if to == number => {}
                Reply::Answer(_, Answer::Refused(Refused::OtherTable)) => {
                    return Err("it has another table than this configuration makes; write the table again \
                                (`kmsgate ruleset --table`) and restart both"
                        .to_owned());
                }
                other => return Err(format!("it answered {other:?}")),
            }
        }
        // Nobody hears while the gateway stops.
        self.heard.send(Told::Began).unwrap_or(());
        self.up.send_replace(true);
        Ok(begun)
    }

    /// Keeps the session until `stop`. Once the gateway is `stopping`, an enforcer that ends is no loss: whoever stops a gateway
    /// may have told both.
    pub(super) async fn keep(mut self, mut begun: Begun, stop: CancellationToken, stopping: CancellationToken) {
        let _vital = Vital;
        loop {
            let error = tokio::select! {
                ended = converse(begun, &mut self.orders, &self.heard) => ended,
                () = stop.cancelled() => return,
            };
            self.up.send_replace(false);
            self.notices.say(Notice::EnforcerLost { detail: format!("{}: {error}", self.place()) });
            if stopping.is_cancelled() {
                return;
            }
            if let Whence::Started(_) = self.whence {
                // It lived and died with its one session. Whoever supervises us starts both again; windows end meanwhile
                // without us.
                std::process::abort();
            }
            begun = tokio::select! {
                begun = self.again() => begun,
                () = stop.cancelled() => return,
            };
            self.notices.say(Notice::EnforcerBack);
        }
    }

    /// Tries until there is a session. Whoever orders meanwhile is told that there is none.
    async fn again(&mut self) -> Begun {
        loop {
            let pause = tokio::time::sleep(RETRY);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some(asked) = self.orders.recv() => drop(asked),
                }
            }
            if let Ok(begun) = self.begin().await {
                return begun;
            }
        }
    }

    fn place(&self) -> String {
        match &self.whence {
            Whence::Started(_) => "kmsgate-enforcer".to_owned(),
            Whence::Listens(path) => format!("kmsgate-enforcer at {}", path.display()),
        }
    }
}

/// Carries orders there and answers and news back until either ends.
async fn converse(
    begun: Begun,
    orders: &mut mpsc::UnboundedReceiver<Asked>,
    heard: &mpsc::UnboundedSender<Told>,
) -> Error {
    let Begun { mut to, mut from, mut input } = begun;
    let waiting: Mutex<HashMap<u32, oneshot::Sender<Answer>>> = Mutex::default();
    let waiting = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let write = async {
        let (mut number, mut some, mut bytes) = (WATCH, Vec::new(), Vec::new());
        loop {
            if orders.recv_many(&mut some, TOGETHER).await == 0 {
                return Error::from(ErrorKind::BrokenPipe);
            }
            bytes.clear();
            for Asked { order, answer } in some.drain(..) {
                // 0 is news.
                number = number.checked_add(1).unwrap_or(1);
                waiting().insert(number, answer);
                order.write(number, &mut bytes);
            }
            if let Err(error) = to.write_all(&bytes).await {
                return error;
            }
        }
    };
    let read = async {
        loop {
            match next(&mut from, &mut input).await {
                Ok(Reply::News(news)) => heard.send(Told::News(news)).unwrap_or(()),
                Ok(Reply::Answer(number, answer)) => {
                    if let Some(asker) = waiting().remove(&number) {
                        // Whoever asked may have gone away.
                        asker.send(answer).unwrap_or(());
                    }
                }
                Err(error) => return error,
            }
        }
    };
    tokio::select! {
        error = write => error,
        error = read => error,
    }
}

/// A session that was greeted.
#[derive(Debug)]
pub(super) struct Begun {
    to: OwnedWriteHalf,
    from: OwnedReadHalf,
    input: Input,
}

/// What was read: the first `taken` bytes of it are done with. They go all together, once nothing whole is left behind them:
/// answers come a thousand at a time.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    taken: usize,
}

impl Begun {
    fn of(stream: UnixStream) -> Self {
        let (from, to) = stream.into_split();
        Self { to, from, input: Input::default() }
    }

    async fn next(&mut self) -> Result<Reply, Error> {
        next(&mut self.from, &mut self.input).await
    }
}

async fn next(from: &mut OwnedReadHalf, input: &mut Input) -> Result<Reply, Error> {
    let malformed = |error| Error::new(ErrorKind::InvalidData, error);
    loop {
        if let Some((body, length)) = frame(input.bytes.get(input.taken..).unwrap_or_default()).map_err(malformed)? {
            input.taken += length;
            return Reply::read(body).map_err(malformed);
        }
        input.bytes.drain(..std::mem::take(&mut input.taken));
        if from.read_buf(&mut input.bytes).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}
