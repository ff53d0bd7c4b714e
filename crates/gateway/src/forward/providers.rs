//! Every provider of every service, and whether it is up; both forwarders ask here. What must never happen here: one slow
//! check that holds up another.

use super::pool::{Pool, Provider};
use super::{ProviderState, health};
use crate::config::{Forward, Health, Service};
use crate::event::notice::{Notice, Notices};
use kmsgate_core::name::ServiceName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A provider to which a connect failed is checked out of turn, but no more often than this.
const DOUBTED_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The providers, service by service in the order of the configuration.
#[derive(Debug)]
pub struct Providers {
    services: Vec<OfService>,
    every: Duration,
    patience: Duration,
    notices: Notices,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct OfService {
    service: ServiceName,
    health: Health,
    pool: Pool,
}

impl Providers {
    /// Providers of which none is known to be up.
    #[must_use]
    pub fn new(services: &[Service], settings: &Forward, notices: Notices) -> Arc<Self> {
        let of = |service: &Service| OfService {
            service: service.terms.service.clone(),
            health: service.health,
            pool: Pool::new(&service.providers),
        };
        Arc::new(Self {
            services: services.iter().map(of).collect(),
            every: settings.health_every,
            patience: settings.connect_timeout,
            notices,
            changes: watch::Sender::new(0),
        })
    }

    /// Asks every provider once, and then again and again until `stop`, each on its own.
    pub async fn watch(self: &Arc<Self>, stop: &CancellationToken, tasks: &TaskTracker) {
        let mut first = tokio::task::JoinSet::new();
        for (index, of_service) in self.services.iter().enumerate() {
            for number in 0..of_service.pool.all().len() {
                let (this, stop, tasks) = (Arc::clone(self), stop.clone(), tasks.clone());
                first.spawn(async move {
                    this.ask(index, number, First::Yes).await;
                    tasks.spawn(async move { this.keep_asking(index, number, stop).await });
                });
            }
        }
        while first.join_next().await.is_some() {}
    }

    /// The pool of a service.
    #[must_use]
    pub fn pool(&self, index: usize) -> Option<&Pool> {
        self.services.get(index).map(|of_service| &of_service.pool)
    }

    /// Every pool, in the order of the services.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.services.iter().map(|of_service| &of_service.pool)
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes a provider out of service for new connections, or back; whether there is such a provider.
    pub fn drain(&self, service: &ServiceName, address: SocketAddr, drained: bool) -> bool {
        let of_service = self.services.iter().filter(|of_service| of_service.service == *service);
        let mut found = false;
        for provider in of_service.flat_map(|of_service| of_service.pool.all()) {
            if provider.address == address {
                found = true;
                provider.drain(drained);
            }
        }
        if found {
            self.changes.send_modify(|count| *count += 1);
        }
        found
    }

    /// How each stands.
    #[must_use]
    pub fn states(&self) -> Vec<ProviderState> {
        let of = |of_service: &OfService| {
            let service = of_service.service.clone();
            let state = move |provider: &Provider| ProviderState {
                service: service.clone(),
                address: provider.address,
                up: provider.healthy(),
                drained: provider.drained(),
            };
            of_service.pool.all().iter().map(state).collect::<Vec<_>>()
        };
        self.services.iter().flat_map(of).collect()
    }

    async fn keep_asking(&self, index: usize, number: usize, stop: CancellationToken) {
        let Some(provider) = self.pool(index).and_then(|pool| pool.all().get(number)) else { return };
        loop {
            let doubted = async {
                tokio::time::sleep(DOUBTED_AT_MOST_EVERY).await;
                provider.doubted().await;
            };
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = doubted => {}
                () = stop.cancelled() => return,
            }
            self.ask(index, number, First::No).await;
        }
    }

    async fn ask(&self, index: usize, number: usize, first: First) {
        let Some(of_service) = self.services.get(index) else { return };
        let Some(provider) = of_service.pool.all().get(number) else { return };
        let seen = health::check(provider.address, of_service.health, self.patience).await;
        let up = seen.is_ok();
        let changed = provider.note(up);
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        // One that is down from the start has not changed, and is to be said all the same.
        if changed || !up && first == First::Yes {
            let (Ok(detail) | Err(detail)) = seen;
            let service = of_service.service.clone();
            self.notices.say(Notice::Provider { service, provider: provider.address, up, detail });
        }
    }
}

/// Whether a check is a provider's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Yes,
    No,
}
