//! The providers of one service. What must never happen here: a connection kept from a provider that is up.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Providers in turn, those that are down left out.
#[derive(Debug)]
pub struct Pool {
    providers: Vec<Provider>,
    turn: AtomicUsize,
}

/// A provider and whether its last health check succeeded.
#[derive(Debug)]
pub struct Provider {
    /// Where.
    pub address: SocketAddr,
    healthy: AtomicBool,
    drained: AtomicBool,
    doubt: Notify,
}

impl Provider {
    /// A connect to it failed: whoever watches it should look.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits for a doubt; one from before counts.
    pub async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// Whether new connections may go to it.
    #[must_use]
    pub fn up(&self) -> bool {
        self.healthy() && !self.drained()
    }

    /// Whether its last health check succeeded.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Whether an operator keeps new connections from it.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    /// Keeps new connections from it, or no longer.
    pub fn drain(&self, drained: bool) {
        self.drained.store(drained, Ordering::Release);
    }

    /// Notes what a check saw; whether that is news.
    pub fn note(&self, up: bool) -> bool {
        self.healthy.swap(up, Ordering::AcqRel) != up
    }
}

impl Pool {
    /// Providers of which none is known to be up.
    #[must_use]
    pub fn new(addresses: &[SocketAddr]) -> Self {
        let provider = |address: &SocketAddr| Provider {
            address: *address,
            healthy: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            doubt: Notify::new(),
        };
        Self { providers: addresses.iter().map(provider).collect(), turn: AtomicUsize::new(0) }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Provider] {
        &self.providers
    }

    /// Whether any is up.
    #[must_use]
    pub fn any_up(&self) -> bool {
        self.providers.iter().any(Provider::up)
    }

    /// Those that are up, in the order in which this connection should try them: everybody begins with another one.
    pub fn in_turn(&self) -> impl Iterator<Item = &Provider> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.providers.len().max(1);
        let (before, from) = self.providers.split_at(first);
        from.iter().chain(before).filter(|provider| provider.up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns_among_providers_that_are_up() {
        let addresses: Vec<SocketAddr> = (1..=3).map(|n| SocketAddr::from(([10, 0, 0, n], 1688))).collect();
        let pool = Pool::new(&addresses);
        assert!(!pool.any_up() && pool.in_turn().next().is_none());
        assert!(pool.all()[0].note(true) && pool.all()[2].note(true));
        assert!(!pool.all()[2].note(true), "no news");
        let firsts: Vec<_> = (0..3).filter_map(|_| pool.in_turn().next().map(|provider| provider.address)).collect();
        assert!(firsts.contains(&addresses[0]) && firsts.contains(&addresses[2]) && !firsts.contains(&addresses[1]));
    }
}
