//! The kinds of account server: one file each, one list. What must never happen here: a kind that answers for itself
//! what the frame answers for all (time, queue, breaker), or that keeps a password after its answer.
//!
//! A new kind is a file beside this one that implements [`AccountServer`], and one line in the list at the end.

use crate::file::FileServer;
use crate::imap::ImapServer;
use crate::ldap::LdapServer;
use crate::nis::NisServer;
use crate::pop3::Pop3Server;
use crate::radius::RadiusServer;
use crate::sql::postgres::PostgresServer;
use crate::sql::sqlite::SqliteServer;
use crate::verdict::{Continuation, Outage, Question, Reply, Verdict};
use std::future::Future;

/// How people come to this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontDoor {
    /// They give us name and password and we ask.
    Password,
    /// We send them there and they come back with proof (OpenID Connect); see [`AccountServer::begin`].
    Redirect,
}

/// What every kind does. The frame around it bounds time and number; an implementation only asks and reads the answer.
/// Dropping a future of it must be safe at any point: that is how a time-out ends it.
pub trait AccountServer: Send + Sync {
    /// The kind's name in the configuration.
    fn kind(&self) -> &'static str;

    /// Whether it tells an unknown name from a wrong password. If so, its [`Verdict::Rejected`] ends the chain and an
    /// unknown name is [`Verdict::NotMine`]; if not, a rejection passes on to the next server.
    fn can_tell(&self) -> bool;

    /// How people come to it.
    fn front_door(&self) -> FrontDoor {
        FrontDoor::Password
    }

    /// Is this password right for this login?
    fn ask(&self, question: &Question<'_>) -> impl Future<Output = Verdict> + Send;

    /// Goes on where a [`Verdict::Challenge`] stopped. Only kinds that challenge or redirect have an answer.
    fn answer(&self, _continuation: Continuation, _reply: Reply<'_>) -> impl Future<Output = Verdict> + Send {
        async {
            Verdict::Unavailable(Outage::account("this kind of account server asks nothing that could be answered"))
        }
    }

    /// Where to send somebody who chose this server ([`FrontDoor::Redirect`]); `return_to` is our own address that they
    /// come back to. Answers with a [`Verdict::Challenge`] whose prompt is the address.
    fn begin(&self, _return_to: &str) -> impl Future<Output = Verdict> + Send {
        async { Verdict::Unavailable(Outage::account("this kind of account server takes name and password only")) }
    }

    /// Everything short of a password: for `kmsgate check`. What was found, or what is wrong and what to do.
    fn probe(&self) -> impl Future<Output = Result<String, String>> + Send;

    /// A fault that does not keep it from answering, such as a changed file that cannot be read.
    fn fault(&self) -> Option<String> {
        None
    }
}

/// Makes the closed enum and its dispatch from the one list of kinds.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($server:ty)),+ $(,)?) => {
        /// An account server of any kind. Closed: every kind is in this list and nothing is looked up at run time.
        #[derive(Debug)]
        pub enum Server { $($(#[$doc])* $variant($server)),+ }

        impl AccountServer for Server {
            fn kind(&self) -> &'static str {
                match self { $(Self::$variant(server) => server.kind()),+ }
            }

            fn can_tell(&self) -> bool {
                match self { $(Self::$variant(server) => server.can_tell()),+ }
            }

            fn front_door(&self) -> FrontDoor {
                match self { $(Self::$variant(server) => server.front_door()),+ }
            }

            async fn ask(&self, question: &Question<'_>) -> Verdict {
                match self { $(Self::$variant(server) => server.ask(question).await),+ }
            }

            async fn answer(&self, continuation: Continuation, reply: Reply<'_>) -> Verdict {
                match self { $(Self::$variant(server) => server.answer(continuation, reply).await),+ }
            }

            async fn begin(&self, return_to: &str) -> Verdict {
                match self { $(Self::$variant(server) => server.begin(return_to).await),+ }
            }

            async fn probe(&self) -> Result<String, String> {
                match self { $(Self::$variant(server) => server.probe().await),+ }
            }

            fn fault(&self) -> Option<String> {
                match self { $(Self::$variant(server) => server.fault()),+ }
            }
        }
    };
}

kinds! {
    /// Names and hashes in a local file.
    File(FileServer),
    /// A mail server that speaks IMAP.
    Imap(ImapServer),
    /// A directory.
    Ldap(LdapServer),
    /// A NIS domain.
    Nis(NisServer),
    /// A mail server that speaks POP3.
    Pop3(Pop3Server),
    /// A PostgreSQL database.
    Postgres(PostgresServer),
    /// A RADIUS server.
    Radius(RadiusServer),
    /// A SQLite file of another program.
    Sqlite(SqliteServer),
}
