//! What the rooms of a running gateway share. What must never happen here: logic. Each part has one owner, its own room;
//! this only holds them together for [`crate::admit`] and [`crate::close`].

use crate::clock::Clock;
use crate::close::Closes;
use crate::config::Config;
use crate::event::counters::Counters;
use crate::event::news::News;
use crate::event::notice::Notices;
use crate::event::refusals::Refusals;
use crate::event::typed_name::NameKey;
use crate::expire::Expiries;
use crate::forward::Forwarder;
use crate::portal::desk::Site;
use crate::portal::tls::Certificate;
use crate::take_up::Awaited;
use arc_swap::ArcSwap;
use kmsgate_accounts::chain::Accounts;
use kmsgate_core::policy::Policy;
use kmsgate_core::throttle::Throttle;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ledger engine in use.
pub type Engine = kmsgate_ledger::sqlite::Sqlite;

/// A running gateway.
pub struct Gate {
    /// Reads the clocks.
    pub clock: Clock,
    /// The configuration in force; a reload swaps it whole.
    pub config: ArcSwap<Config>,
    /// The portal's certificate; a reload takes its files again.
    pub certificate: Option<Arc<Certificate>>,
    /// The same as the portal needs it.
    pub site: ArcSwap<Site>,
    /// Denials, rules, bypasses.
    pub policy: ArcSwap<Policy>,
    /// The account servers.
    pub accounts: ArcSwap<Accounts>,
    /// Who may ask. Behind [`Gate::throttle`].
    pub throttle: Mutex<Throttle>,
    /// The record.
    pub ledger: Arc<Engine>,
    /// What carries the bytes.
    pub forwarder: Forwarder,
    /// Which grants are being closed.
    pub closes: Closes,
    /// Open grants of the last run that are still to be taken up.
    pub awaited: Awaited,
    /// When windows end.
    pub expiries: Expiries,
    /// Numbers for the operator.
    pub counters: Counters,
    /// Refusals before an identity was proved.
    pub refusals: Refusals,
    /// What the program says of itself.
    pub notices: Notices,
    /// Keeps what is typed into the name field out of the log.
    pub name_key: NameKey,
    /// Wakes whoever waits for the ledger's next event.
    pub news: Arc<News>,
}

impl Gate {
    /// The throttle, for one step; never held across an await.
    pub fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
