//! The providers of one service. What must never happen here: a connection kept from a provider that is up.

use crate::config;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Providers in turn, each as often as its weight says, those that are down left out.
#[derive(Debug)]
pub struct Pool {
    providers: Vec<Provider>,
    /// With whom one connection after the other begins, before it begins anew.
    round: Vec<usize>,
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
    pub fn new(providers: &[config::Provider]) -> Self {
        let provider = |provider: &config::Provider| Provider {
            address: provider.address,
            healthy: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            doubt: Notify::new(),
        };
        let weights: Vec<i64> = providers.iter().map(|provider| provider.weight.into()).collect();
        Self { providers: providers.iter().map(provider).collect(), round: round(&weights), turn: AtomicUsize::new(0) }
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
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.round.len().max(1);
        let first = self.round.get(turn).copied().unwrap_or(0);
        let (before, from) = self.providers.split_at(first);
        from.iter().chain(before).filter(|provider| provider.up())
    }
}

/// Each place as often as its weight, spread as evenly as they go: who is furthest behind its share is next.
fn round(weights: &[i64]) -> Vec<usize> {
    let all: i64 = weights.iter().sum();
    let mut behind = vec![0; weights.len()];
    let mut next = || {
        behind.iter_mut().zip(weights).for_each(|(behind, weight)| *behind += weight);
        let (place, furthest) = behind.iter_mut().enumerate().rev().max_by_key(|(_, behind)| **behind)?;
        *furthest -= all;
        Some(place)
    };
    (0..all).filter_map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(weights: &[u8]) -> (Vec<SocketAddr>, Pool) {
        let provider = |(n, weight): (u8, &u8)| config::Provider {
            address: SocketAddr::from(([10, 0, 0, n], 1688)),
            weight: *weight,
        };
        let providers: Vec<config::Provider> = (1..).zip(weights).map(provider).collect();
        (providers.iter().map(|provider| provider.address).collect(), Pool::new(&providers))
    }

    #[test]
    fn each_begins_as_many_connections_as_its_weight_says_evenly_spread() {
        let (addresses, pool) = pool(&[1, 4]);
        assert!(pool.all().iter().all(|provider| provider.note(true)));
        let firsts: Vec<_> = (0..10).filter_map(|_| pool.in_turn().next().map(|provider| provider.address)).collect();
        assert_eq!(firsts.iter().filter(|first| **first == addresses[0]).count(), 2);
        assert!(!firsts.windows(2).any(|two| two == [addresses[0]; 2]), "{firsts:?}");
        assert_eq!(pool.in_turn().count(), 2, "the other is there if the first does not answer");
        assert_eq!(round(&[1, 1, 1]), [0, 1, 2]);
    }

    #[test]
    fn connections_take_turns_among_providers_that_are_up() {
        let (addresses, pool) = pool(&[1; 3]);
        assert!(!pool.any_up() && pool.in_turn().next().is_none());
        assert!(pool.all()[0].note(true) && pool.all()[2].note(true));
        assert!(!pool.all()[2].note(true), "no news");
        let firsts: Vec<_> = (0..3).filter_map(|_| pool.in_turn().next().map(|provider| provider.address)).collect();
        assert!(firsts.contains(&addresses[0]) && firsts.contains(&addresses[2]) && !firsts.contains(&addresses[1]));
    }
}
