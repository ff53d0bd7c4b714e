//! What people and scripts see. What must never happen here: a decision about a sign-in, a password kept or printed, a
//! page that says more than the forwarder confirmed (P9).
//!
//! In the order in which a request passes:
//!
//! * [`accept`]: connections, within limits; [`tls`]: the certificate; [`unread`]: far ends that do not read.
//! * [`visitor`]: who is there, by [`source`] address, host and origin.
//! * [`ask`]: what they sent, read once; [`session`]: cookies and form tokens.
//! * [`desk`]: what may be asked of the gate.
//! * [`api`] and [`pages`]: the answers; [`fault`]: the other ones; [`events`]: live ones; [`view`]: a grant as it is told.
//! * [`dress`]: the headers that every answer wears; [`assets`]: style, script, icon.

pub mod accept;
mod api;
mod ask;
mod assets;
pub mod desk;
mod dress;
mod events;
pub mod fault;
mod pages;
mod scripts;
pub mod session;
pub mod source;
pub mod tls;
mod unread;
mod validity;
pub(crate) mod view;
pub mod visitor;

#[cfg(test)]
mod tests;

use crate::config::PortalLimits;
use crate::portal::desk::Desk;
use crate::portal::fault::{Fault, Wrong};
use crate::portal::visitor::{Ends, Visitor};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::response::{IntoResponse, Response};
use kmsgate_core::reason::Reason;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

/// What one portal may use at most.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one IPv4 address or IPv6 /64; trusted proxies and loopback aside.
    pub connections_per_address: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a request's head, and for the pause between two requests.
    pub head: Duration,
    /// For a request's body.
    pub body: Duration,
    /// For a write that makes no progress.
    pub write: Duration,
    /// For a connection in all.
    pub connection: Duration,
    /// For what is under way when the portal is told to stop.
    pub stop: Duration,
    /// Live views (server-sent events) at once.
    pub views: usize,
}

impl From<PortalLimits> for Limits {
    fn from(limits: PortalLimits) -> Self {
        Self {
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            handshake: limits.header_timeout,
            head: limits.header_timeout,
            body: limits.request_timeout,
            write: limits.request_timeout,
            connection: Duration::from_secs(3600),
            stop: Duration::from_secs(10),
            views: 1024,
        }
    }
}

/// What every request shares.
pub(crate) struct Portal {
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) limits: Limits,
    pub(crate) views: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

/// What a handler answers.
pub(crate) type Reply = Result<Response, Fault>;

/// Answers one request, whatever happens: the one place where a fault gets its words and every answer its headers.
pub(crate) async fn answer(portal: Arc<Portal>, router: Router, ends: Ends, mut request: Request) -> Response {
    let visitor = Arc::new(Visitor::new(ends, request.uri(), request.headers(), portal.desk.site()));
    let path = request.uri().path().to_owned();
    let hands_over_password = request.method() == "POST" && (path == "/" || path == api::GRANTS);
    let mut response = match visitor.may_ask(request.headers()) {
        Err(wrong) => Fault::from(wrong).into_response(),
        Ok(()) => {
            request.extensions_mut().insert(Arc::clone(&visitor));
            // A task of its own, so that a panic ends this answer alone; dropped with the connection, it ends.
            let work = AbortOnDropHandle::new(tokio::spawn(router.oneshot(request)));
            match work.await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => Fault::from(Wrong::Refused(Reason::Internal)).into_response(),
            }
        }
    };
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        let allow = response.headers_mut().remove(ALLOW);
        portal.turned_away(&visitor, &fault);
        response =
            if path.starts_with("/api/") { api::problem(&visitor, &fault) } else { pages::refused(&visitor, &fault) };
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
    }
    dress::dress(&visitor, hands_over_password, &mut response);
    response
}

/// Every path of the portal.
pub(crate) fn router(portal: Arc<Portal>) -> Router {
    Router::new()
        .merge(pages::routes())
        .merge(api::routes())
        .merge(assets::routes())
        .merge(scripts::routes())
        .fallback(async || Fault::from(Wrong::NotFound))
        .method_not_allowed_fallback(async || Fault::from(Wrong::Method))
        .with_state(portal)
}

impl Portal {
    /// Tells the gate of what never became a sign-in. What the pipeline refused, it has counted itself.
    pub(crate) fn turned_away(&self, visitor: &Visitor, fault: &Fault) {
        if fault.reason() == Reason::BadRequest {
            let from = visitor.source.as_ref().map_or(visitor.ends.peer.ip(), |source| source.ip());
            self.desk.turned_away(from, fault);
        }
    }
}

/// Carried to [`answer`], which knows the language and whether a page or a problem is wanted.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

/// The keys of every text of faults and phases, for the test of the texts.
#[cfg(test)]
pub(crate) fn fault_keys() -> Vec<String> {
    let faults = Fault::one_of_each();
    let faults =
        faults.iter().flat_map(|fault| ["title", "detail"].map(|part| format!("fault-{}-{part}", fault.key())));
    let phases = view::Phase::all();
    let phases = phases
        .iter()
        .flat_map(|phase| ["title", "detail", "short"].map(|part| format!("phase-{}-{part}", phase.key())));
    faults.chain(phases).collect()
}
