//! The gateway and its enforcer as systemd runs them, each to be killed and started on its own, with the test between them.
//! What must never happen here: a victim that is only asked to go.

use crate::gateway::{Gateway, Setup};
use crate::kernel::{Enforcer, Site};
use crate::middle::Middle;
use kmsgate_orders::order::{Answer, Order, Place, Standing};
use rustix::process::Signal;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// `kmsgate serve`.
    Serve,
    /// `kmsgate-enforcer`.
    Enforcer,
    /// Both at once.
    Both,
}

impl Victim {
    /// Everyone, and a person of the accounts for each.
    pub const ALL: [(Self, &str); 3] = [(Self::Serve, "alice"), (Self::Enforcer, "bob"), (Self::Both, "carol")];

    /// Whether the gateway is.
    #[must_use]
    pub fn is_serve(self) -> bool {
        self != Self::Enforcer
    }

    /// Whether the enforcer is.
    #[must_use]
    pub fn is_enforcer(self) -> bool {
        self != Self::Serve
    }
}

/// Both of them, and whom they serve.
#[derive(Debug)]
pub struct Pair {
    /// The gateway.
    pub gateway: Gateway,
    /// Between the two.
    pub middle: Middle,
    /// While it lives.
    enforcer: Mutex<Option<Enforcer>>,
    /// The hosts.
    pub site: Site,
}

impl Pair {
    /// Starts both on a new site, the gateway as `change` makes it.
    #[must_use]
    #[track_caller]
    pub fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let mut site = Site::new();
        site.gateway.set("net.ipv4.ip_unprivileged_port_start", "0");
        let setup = change(site.setup().as_nobody());
        site.set_table(setup.table());
        let enforcer = site.enforcer();
        let middle = Middle::new(&setup.enforcer_socket(), site.socket());
        Self { gateway: setup.start(), middle, enforcer: Mutex::new(Some(enforcer)), site }
    }

    /// Kills, by SIGKILL; whoever lives on sees the session end. A sign-in may hold on to the gateway meanwhile.
    #[track_caller]
    pub fn kill(&self, victim: Victim) {
        if victim.is_serve() {
            self.gateway.signal(Signal::KILL);
        }
        if victim.is_enforcer()
            && let Some(enforcer) = self.enforcer().take()
        {
            enforcer.kill9();
        }
        self.middle.cut();
    }

    /// Starts whoever was killed again.
    #[track_caller]
    pub fn start_again(&mut self, victim: Victim) {
        self.enforcer_again();
        if victim.is_serve() {
            self.gateway.kill9();
            self.gateway.start_again();
        }
    }

    /// Starts the enforcer again if it was killed.
    #[track_caller]
    pub fn enforcer_again(&self) {
        self.enforcer().get_or_insert_with(|| self.site.enforcer());
    }

    /// How the kernel has the place of an address; none if nothing is open there, or no enforcer lives to say.
    #[track_caller]
    pub fn standing(&self, address: IpAddr) -> Option<Standing> {
        let place = Place { service: 0, address };
        match self.enforcer().as_mut()?.session.order(Order::State { place }) {
            Answer::Standing(standing) => Some(standing),
            _ => None,
        }
    }

    fn enforcer(&self) -> MutexGuard<'_, Option<Enforcer>> {
        self.enforcer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
