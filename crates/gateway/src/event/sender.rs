//! Carries the ledger's events to the receiver of the log. What must never happen here: an event that is never sent, or
//! anybody else who waits for the receiver.
//!
//! The sender is a cursor on the ledger's events: it moves only past what the receiver took. What each way promises:
//!
//! * unix, stdout: every line once and in order. Killed between sending and moving the cursor, a line comes twice.
//! * tcp: the same; but TCP takes bytes before the receiver has them, so after a connection that broke (rather than was
//!   closed) the lines of the last [`DOUBT`] are sent again and may come twice.
//! * udp: what the network loses is lost and what the receiver's machine drops is dropped; only a refusal that comes back
//!   at once (a receiver on this machine that is away) is noticed. Choose tcp where every line counts.

use super::line::line;
use super::notice::{Notice, Notices};
use super::sink::{NotTaken, Sink};
use super::syslog::{Header, moment};
use crate::config::{Log, LogFormat};
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::Event;
use std::collections::VecDeque;
use std::io::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// The name under which the ledger keeps where the sender stands.
pub const READER: &str = "log";
/// Most events read at once.
const BATCH: usize = 500;
/// First and longest wait before the receiver is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// After a look that found less than a batch, the next one comes no sooner: lines that come close together share it.
const SHORTEST_SLEEP: Duration = Duration::from_millis(20);
/// The sender looks for events at least so often, rung for or not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long a stop waits for what is there to be sent.
const LAST: Duration = Duration::from_secs(2);
/// After a TCP connection that broke, lines that were sent within so long before are sent again.
pub const DOUBT: Duration = Duration::from_secs(5);

/// Sends until `stop`, then what is there, for at most two seconds. `bell` is [`super::news::News::listen`]'s.
pub async fn run<L: Ledger>(
    ledger: Arc<L>,
    bell: watch::Receiver<u64>,
    log: Log,
    host: String,
    notices: Notices,
    stop: CancellationToken,
) {
    let header = Header::new(&host, std::process::id());
    let mut sender = Sender {
        ledger,
        bell,
        log,
        header,
        notices,
        stop: stop.clone(),
        sink: None,
        more: true,
        looked: Instant::now(),
        away: false,
        recent: VecDeque::new(),
    };
    let last = async {
        stop.cancelled().await;
        sleep(LAST).await;
    };
    tokio::select! {
        () = sender.run() => {}
        () = last => {}
    }
}

struct Sender<L> {
    ledger: Arc<L>,
    bell: watch::Receiver<u64>,
    log: Log,
    header: Header,
    notices: Notices,
    stop: CancellationToken,
    sink: Option<Sink>,
    /// The last look left events behind, as far as is known.
    more: bool,
    /// When that was.
    looked: Instant,
    /// Whether the receiver was said to be away.
    away: bool,
    /// When batches were sent of late, and where the cursor stood before them.
    recent: VecDeque<(Instant, u64)>,
}

impl<L: Ledger> Sender<L> {
    async fn run(&mut self) {
        let mut wait = BACK_OFF.0;
        let mut cursor = None;
        loop {
            let step = match cursor {
                Some(at) => self.step(at).await,
                None => self.ledger.cursor(READER).await.map_err(|error| (None, Notice::Ledger { error })),
            };
            match step {
                Ok(at) if cursor == Some(at) && self.stop.is_cancelled() => return,
                Ok(at) => {
                    wait = BACK_OFF.0;
                    cursor = Some(if self.more { at } else { self.idle(at).await });
                }
                Err((at, notice)) => {
                    cursor = at.or(cursor);
                    self.say_away(notice);
                    sleep(wait).await;
                    wait = (wait * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    /// Sends one batch. Where the cursor is then; on a failure too, if that is known.
    async fn step(&mut self, cursor: u64) -> Result<u64, (Option<u64>, Notice)> {
        self.bell.mark_unchanged();
        self.looked = Instant::now();
        let unread = |error| (None, Notice::Ledger { error });
        let events = self.ledger.events_after(cursor, BATCH).await.map_err(unread)?;
        self.more = events.len() == BATCH;
        let Some(newest) = events.last().map(|event| event.number) else { return Ok(cursor) };
        match self.send(&events).await {
            Ok(()) => {
                self.remember(cursor);
                self.say_back();
                self.ledger
                    .set_cursor(READER, newest)
                    .await
                    .map_err(|error| (Some(newest), Notice::Ledger { error }))?;
                Ok(newest)
            }
            Err(NotTaken { taken, doubt, error }) => {
                let taken = taken.checked_sub(1).and_then(|last| events.get(last)).map_or(cursor, |event| event.number);
                let at = if doubt { self.rewind(taken) } else { taken };
                let notice = receiver_away(&error);
                if at != cursor
                    && let Err(error) = self.ledger.set_cursor(READER, at).await
                {
                    self.notices.say(Notice::Ledger { error });
                }
                Err((Some(at), notice))
            }
        }
    }

    async fn send(&mut self, events: &[Event]) -> Result<(), NotTaken> {
        let messages: Vec<String> = events.iter().map(|event| self.message(event)).collect();
        let mut sink = match self.sink.take() {
            Some(sink) => sink,
            None => {
                Sink::connect(&self.log.target).await.map_err(|error| NotTaken { taken: 0, doubt: false, error })?
            }
        };
        sink.send(&messages).await?;
        self.sink = Some(sink);
        Ok(())
    }

    fn message(&self, event: &Event) -> String {
        match self.log.format {
            LogFormat::Rfc5424 => self.header.message(event),
            LogFormat::Json => line(&event.what).json(event.at),
            LogFormat::Text => format!("{} {}", moment(event.at), line(&event.what)),
        }
    }

    /// Waits for the next event. Where the cursor is then: further back if the receiver went away with lines in doubt.
    async fn idle(&mut self, cursor: u64) -> u64 {
        let gone = async {
            match &self.sink {
                Some(sink) => sink.gone().await,
                None => std::future::pending().await,
            }
        };
        let rung = async {
            if self.bell.changed().await.is_err() {
                // The bell is gone when the gateway stops, and `stop` says that.
                std::future::pending::<()>().await;
            }
            sleep_until(self.looked + SHORTEST_SLEEP).await;
        };
        let (doubt, error) = tokio::select! {
            () = rung => return cursor,
            () = sleep(LONGEST_SLEEP) => return cursor,
            () = self.stop.cancelled() => return cursor,
            gone = gone => gone,
        };
        self.sink = None;
        self.say_away(receiver_away(&error));
        if doubt { self.rewind(cursor) } else { cursor }
    }

    fn remember(&mut self, cursor: u64) {
        let now = Instant::now();
        self.recent.retain(|(sent, _)| now.duration_since(*sent) < DOUBT);
        self.recent.push_back((now, cursor));
    }

    /// Where the cursor stood before the oldest lines in doubt.
    fn rewind(&mut self, cursor: u64) -> u64 {
        let now = Instant::now();
        let oldest = self.recent.drain(..).find(|(sent, _)| now.duration_since(*sent) < DOUBT);
        oldest.map_or(cursor, |(_, before)| before.min(cursor))
    }

    fn say_away(&mut self, notice: Notice) {
        let receiver = matches!(notice, Notice::LogReceiver { .. });
        if !(receiver && self.away) {
            self.notices.say(notice);
        }
        self.away |= receiver;
    }

    fn say_back(&mut self) {
        if std::mem::take(&mut self.away) {
            self.notices.say(Notice::LogReceiver { detail: "the receiver takes lines again".to_owned() });
        }
    }
}

fn receiver_away(error: &Error) -> Notice {
    Notice::LogReceiver { detail: format!("away, and tried again until it is back; nothing is lost: {error}") }
}
