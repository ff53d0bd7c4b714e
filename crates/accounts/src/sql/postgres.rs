//! A PostgreSQL database of another program as an account server. What must never happen here: a write to it, a name that is part of
//! a statement (F11), a connection with an unread answer that is used again, an answer longer than anybody could mean.

use super::{Asked, Cell, Database, LONGEST_VALUE, MOST_GROUPS, NOBODY, RemoteSettings, Room, Row, fitting, of_nobody};
use crate::reach::{Hosts, Stream, Target};
use crate::server::AccountServer;
use crate::tls::TlsError;
use crate::verdict::{Outage, Progress, Question, Verdict};
use futures_util::TryStreamExt;
use std::error::Error as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Config, NoTls, Statement};

/// `SSLRequest`: eight bytes, and 80877103 (PostgreSQL 17, section 53.7).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
/// Most bytes of the answers to one question: every group as long as it may be, and room for what is around them.
const MOST: usize = MOST_GROUPS * LONGEST_VALUE * 2;
/// What is said at the beginning of a session: it only reads, and an end is put to what takes too long.
const BEGINNING: &str = "SET default_transaction_read_only = on; SET statement_timeout = '60s'";

/// A PostgreSQL database of another program.
#[derive(Debug)]
pub struct PostgresServer {
    settings: Box<RemoteSettings>,
    hosts: Hosts,
    room: Room,
    /// Sessions that nobody uses now.
    idle: Mutex<Vec<Session>>,
    /// Most of them.
    most: usize,
}

/// A session with its statements.
struct Session {
    client: Client,
    heard: Arc<AtomicUsize>,
    statements: [Option<Statement>; 2],
}

/// A connection that ends when more comes than may.
struct Bounded {
    stream: Stream,
    heard: Arc<AtomicUsize>,
}

/// A value as it came.
struct Raw(Cell);

/// Why there are no rows.
enum Failed {
    /// The session is gone: another one may know.
    Gone(Outage),
    /// It is as it is.
    Outage(Outage),
}

impl PostgresServer {
    /// Reads certificates; connects to nothing. At most so many sessions are kept.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the name.
    pub fn new(settings: Box<RemoteSettings>, most: usize) -> Result<Self, TlsError> {
        let hosts = Hosts::new(&settings.way)?;
        let room = Room::new(settings.sql.clone());
        Ok(Self { settings, hosts, room, idle: Mutex::default(), most })
    }

    async fn session(&self, progress: &Progress) -> Result<Session, Outage> {
        let (session, _) = self.hosts.first_ready(|target| self.begin(target, progress)).await?;
        Ok(session)
    }

    async fn begin(&self, target: Target<'_>, progress: &Progress) -> Result<Session, Outage> {
        let mut stream = target.open(progress).await?;
        if let Some(tls) = target.later {
            progress.at("asking for TLS");
            let broke = |why: io::Error| Outage::server(format!("the connection broke: {why} (asking for TLS)"));
            stream.write_all(&SSL_REQUEST).await.map_err(broke)?;
            // One byte and no more: what came behind it in clear would be read after the handshake, and would not be TLS.
            match stream.read_u8().await.map_err(broke)? {
                b'S' => stream = stream.secure(tls, progress).await?,
                b'N' => return Err(Outage::server("the server has no TLS (ssl = on in postgresql.conf)")),
                _ => return Err(Outage::server("this is not PostgreSQL (asking for TLS)")),
            }
        }
        progress.at("signing in to the database");
        let heard = Arc::<AtomicUsize>::default();
        let bounded = Bounded { stream, heard: Arc::clone(&heard) };
        let mut config = Config::new();
        config.user(&self.settings.user).dbname(&self.settings.database).application_name("kmsgate");
        if let Some(password) = &self.settings.password {
            config.password(password.expose());
        }
        let (client, connection) = config.connect_raw(bounded, NoTls).await.map_err(|why| refused(&why))?;
        // It ends with its client.
        tokio::spawn(connection);
        client.batch_execute(BEGINNING).await.map_err(|why| refused(&why))?;
        Ok(Session { client, heard, statements: [None, None] })
    }

    async fn ask_in(&self, session: &mut Session, asked: Asked, name: &str) -> Result<(Vec<Row>, bool), Failed> {
        let Some(text) = self.room.statement(asked) else { return Ok((vec![], true)) };
        session.heard.store(0, Ordering::Relaxed);
        let place = match asked {
            Asked::Account => &mut session.statements[0],
            Asked::Groups => &mut session.statements[1],
        };
        let statement = match place {
            Some(statement) => statement.clone(),
            None => {
                let new = session.client.prepare(text).await.map_err(|why| failed(asked, &why))?;
                fitting(asked, new.columns().len()).map_err(|why| Failed::Outage(Outage::server(why)))?;
                place.insert(new).clone()
            }
        };
        let values = vec![name; statement.params().len()];
        let answer = session.client.query_raw(&statement, values).await.map_err(|why| failed(asked, &why))?;
        let mut answer = pin!(answer);
        let mut rows = Vec::new();
        while let Some(row) = answer.try_next().await.map_err(|why| failed(asked, &why))? {
            if rows.len() == asked.rows() {
                // What is unread stays with its session, which nobody uses again.
                return Ok((rows, false));
            }
            let cells = (0..row.len()).map(|column| row.try_get::<_, Raw>(column).map(|raw| raw.0));
            rows.push(cells.collect::<Result<Row, _>>().map_err(|why| failed(asked, &why))?);
        }
        Ok((rows, true))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session back.
    fn keep(&self, session: Session) {
        let mut idle = self.idle();
        if idle.len() < self.most && !session.client.is_closed() {
            idle.push(session);
        }
    }
}

impl Database for PostgresServer {
    async fn rows(&self, asked: Asked, name: &str, progress: &Progress) -> Result<Vec<Row>, Outage> {
        loop {
            let kept = self.idle().pop().filter(|session| !session.client.is_closed());
            let fresh = kept.is_none();
            let mut session = match kept {
                Some(session) => session,
                None => self.session(progress).await?,
            };
            progress.at("waiting for the database's answer");
            match self.ask_in(&mut session, asked, name).await {
                Ok((rows, whole)) => {
                    if whole {
                        self.keep(session);
                    }
                    return Ok(rows);
                }
                // It was kept too long: the server may have been started again since. All that were kept go with it.
                Err(Failed::Gone(_)) if !fresh => self.idle().clear(),
                Err(Failed::Gone(outage)) => return Err(outage),
                Err(Failed::Outage(outage)) => {
                    self.keep(session);
                    return Err(outage);
                }
            }
        }
    }
}

impl AccountServer for PostgresServer {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn can_tell(&self) -> bool {
        true
    }

    async fn ask(&self, question: &Question<'_>) -> Verdict {
        self.room.ask(self, question).await
    }

    async fn probe(&self) -> Result<String, String> {
        self.hosts.each(|target| self.look(target)).await
    }
}

impl PostgresServer {
    async fn look(&self, target: Target<'_>) -> Result<String, String> {
        let progress = Progress::default();
        let mut session = self.begin(target, &progress).await.map_err(|outage| outage.detail)?;
        for (asked, _) in self.room.statements() {
            match self.ask_in(&mut session, asked, NOBODY).await {
                Ok((rows, _)) => of_nobody(asked, &rows)?,
                Err(Failed::Gone(outage) | Failed::Outage(outage)) => return Err(outage.detail),
            }
        }
        let way = if self.hosts.clear() { "no TLS, hashes go in clear" } else { "TLS" };
        Ok(format!("{way}, read only; it answers"))
    }
}

fn failed(asked: Asked, why: &tokio_postgres::Error) -> Failed {
    let Some(error) = why.as_db_error() else {
        let outage = Outage::server(format!("{asked}: {}", shown(why)));
        return if why.is_closed() || matches!(why.source(), Some(source) if source.is::<io::Error>()) {
            Failed::Gone(outage)
        } else {
            Failed::Outage(outage)
        };
    };
    // Class 57: the server is going down or coming up (PostgreSQL 17, appendix A).
    if error.code().code().starts_with("57P") {
        return Failed::Gone(Outage::server(format!("{asked}: {}", error.message())));
    }
    let advice = match *error.code() {
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN => "; is it written as the database has it?",
        SqlState::INSUFFICIENT_PRIVILEGE => "; GRANT SELECT to the user of `url`",
        SqlState::READ_ONLY_SQL_TRANSACTION => "; it must be a SELECT",
        _ => "",
    };
    Failed::Outage(Outage::server(format!("{asked}: {}{advice}", error.message())))
}

/// Why there is no session, in words that an administrator can act on.
fn refused(why: &tokio_postgres::Error) -> Outage {
    let advice = match why.code() {
        Some(code) if matches!(*code, SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            "; mend the user of `url`, `password`, or pg_hba.conf"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "; mend the database of `url`",
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "; lower `connections`, or raise max_connections there"
        }
        _ => "",
    };
    Outage::server(format!("the database takes no session: {}{advice}", shown(why)))
}

/// An error with its cause: by itself it says "db error".
fn shown(why: &tokio_postgres::Error) -> String {
    match (why.as_db_error(), why.source()) {
        (Some(error), _) => error.message().to_owned(),
        (None, Some(source)) => format!("{why}: {source}"),
        (None, None) => why.to_string(),
    }
}

impl<'a> FromSql<'a> for Raw {
    fn from_sql(kind: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let is_text =
            matches!(*kind, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::BYTEA);
        Ok(Self(if is_text || kind.name() == "citext" { Cell::of(bytes) } else { Cell::Other(kind.name().to_owned()) }))
    }

    fn from_sql_null(_kind: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Cell::Null))
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        let before = into.filled().len();
        let polled = Pin::new(&mut own.stream).poll_read(context, into);
        let read = into.filled().len() - before;
        if own.heard.fetch_add(read, Ordering::Relaxed) + read > MOST {
            return Poll::Ready(Err(io::Error::other("a longer answer than anybody could mean")));
        }
        polled
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
