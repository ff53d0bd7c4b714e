//! Numbers for the operator, in OpenMetrics' words. What must never happen here: a label that names a person or an
//! address.

use kmsgate_core::reason::{Cause, Outcome};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What is counted where it happens. What stands elsewhere (open grants, queues, providers) is read when somebody asks.
#[derive(Debug, Default, Clone)]
pub struct Counters {
    sign_ins: Family<SignInLabels, Counter>,
    closes: Family<CloseLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignInLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CloseLabels {
    cause: &'static str,
}

impl Counters {
    /// A sign-in ended. The only place where sign-ins are counted.
    pub fn record(&self, outcome: Outcome) {
        let labels = match outcome {
            Outcome::Granted => SignInLabels { outcome: "granted", reason: "granted" },
            Outcome::Refused(reason) => SignInLabels { outcome: "refused", reason: reason.as_str() },
        };
        self.sign_ins.get_or_create(&labels).inc();
    }

    /// A grant was closed.
    pub fn closed(&self, cause: Cause) {
        self.closes.get_or_create(&CloseLabels { cause: cause.as_str() }).inc();
    }

    /// A registry with these counters in it, to which a page adds what it reads elsewhere.
    #[must_use]
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("kmsgate");
        registry.register("sign_ins", "Sign-ins by how they ended", self.sign_ins.clone());
        registry.register("closes", "Grants closed, by cause", self.closes.clone());
        registry
    }
}

/// A registry as OpenMetrics text.
///
/// # Errors
/// If a metric cannot be written as text.
pub fn text(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}
