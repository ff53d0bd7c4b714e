//! What an identity may have: bypasses and denials, then the first rule that matches. What must never happen here: a second
//! reading of the rules. [`Policy::permit`] and [`Policy::explain`] are the same walk; one of them writes it down.

mod hours;
mod who;

pub use hours::{Hours, NotHours};
pub use who::{NotAUserPattern, UserPattern, group_is};

use crate::address::Source;
use crate::decide::Refusal;
use crate::identity::Identity;
use crate::name::{Group, RuleName, ServiceName};
use crate::permit::{Permit, Terms};
use crate::quota::Quota;
use crate::reason::Reason;
use crate::time::Now;
use ipnet::IpNet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The rules of a site, as its configuration says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `[[deny]]`, looked at before any rule.
    pub denials: Vec<Denial>,
    /// `[[rule]]`; the first that matches decides. None at all: one rule `default` for everybody, with [`Self::quota`].
    pub rules: Vec<Rule>,
    /// `[[bypass]]`.
    pub bypasses: Vec<Bypass>,
    /// `[[service]]`.
    pub services: Vec<Arc<Terms>>,
    /// The quota where no rule is written: [`Quota::default`] with the site's period, way of counting and time zone.
    pub quota: Quota,
}

/// Who is never let in. Any one of its conditions is enough: a user, or a group, or a network. Without a condition it
/// denies nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Its name.
    pub name: RuleName,
    /// These users,
    pub users: Vec<UserPattern>,
    /// or anybody in one of these groups (see [`group_is`]),
    pub groups: Vec<Group>,
    /// or anybody at an address in one of these networks.
    pub networks: Vec<IpNet>,
    /// The site's own words for the person.
    pub message: Option<String>,
}

/// Who is let in, to what, and how often. All of its conditions must be met; an empty one is met by everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// One of these users,
    pub users: Vec<UserPattern>,
    /// and in one of these groups (see [`group_is`]),
    pub groups: Vec<Group>,
    /// and asking for one of these services; the quota counts grants for them together,
    pub services: Vec<ServiceName>,
    /// and at an address in one of these networks,
    pub networks: Vec<IpNet>,
    /// and at these hours.
    pub hours: Option<Hours>,
    /// How often.
    pub quota: Quota,
    /// In place of the service's window: 1 s to 12 h.
    pub window: Option<Duration>,
    /// In place of the service's number of connections: 1 to 1000.
    pub connections: Option<u16>,
}

/// Networks that need no sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypass {
    /// Its name.
    pub name: RuleName,
    /// From these networks,
    pub networks: Vec<IpNet>,
    /// for these services; empty: for all.
    pub services: Vec<ServiceName>,
}

/// One thing that the walk looked at. Prints as a line of `kmsgate explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// There is no such service.
    NoService(&'a ServiceName),
    /// A bypass, and whether it makes a sign-in needless.
    Bypass(&'a Bypass, bool),
    /// A denial, and by which of its conditions it denies, if by any.
    Denial(&'a Denial, Option<Condition>),
    /// A rule, and the first of its conditions that is not met, if any.
    Rule(&'a Rule, Option<Condition>),
    /// There are no rules: the rule `default`.
    Default(&'a Quota),
    /// There are rules and none matched.
    NoRule,
}

/// A kind of condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `users`.
    User,
    /// `groups`.
    Group,
    /// `services`.
    Service,
    /// `networks`.
    Network,
    /// `hours`.
    Hours,
}

/// What [`Policy::explain`] found.
#[derive(Debug, Clone)]
pub struct Explanation<'a> {
    /// All that was looked at, in order; the last one decided.
    pub steps: Vec<Step<'a>>,
    /// What [`Policy::permit`] answers.
    pub answer: Result<Permit, Refusal>,
}

/// The rule that holds where none is written.
const DEFAULT: &str = "default";

impl Policy {
    /// The permit of this identity for this service from this address now.
    ///
    /// # Errors
    /// `bad_request` for a service that there is not; `not_needed` with the name of the bypass; `not_permitted` with the
    /// name and words of the denial; `not_permitted` if no rule matches. Where the only thing amiss is the hour, that
    /// refusal names the rule and after how long its hours begin.
    pub fn permit(
        &self,
        identity: Identity,
        source: Source,
        service: &ServiceName,
        now: Now,
    ) -> Result<Permit, Refusal> {
        let found = self.walk(&identity, source, service, now, &mut |_| {})?;
        Ok(found.permit(identity, source))
    }

    /// The bypass that makes a sign-in from this address needless (`not_needed`), if there is one.
    #[must_use]
    pub fn bypassed(&self, source: Source, service: &ServiceName) -> Option<&Bypass> {
        self.bypasses.iter().find(|bypass| bypass.covers(source, service))
    }

    /// The terms of a service.
    #[must_use]
    pub fn service(&self, service: &ServiceName) -> Option<&Arc<Terms>> {
        self.services.iter().find(|terms| terms.service == *service)
    }

    /// What [`Self::permit`] answers, and why.
    #[must_use]
    pub fn explain<'a>(
        &'a self,
        identity: &Identity,
        source: Source,
        service: &'a ServiceName,
        now: Now,
    ) -> Explanation<'a> {
        let mut steps = Vec::new();
        let found = self.walk(identity, source, service, now, &mut |step| steps.push(step));
        Explanation { steps, answer: found.map(|found| found.permit(identity.clone(), source)) }
    }

    /// The one reading of the policy. `look` is told every step.
    fn walk<'a>(
        &'a self,
        identity: &Identity,
        source: Source,
        service: &'a ServiceName,
        now: Now,
        look: &mut impl FnMut(Step<'a>),
    ) -> Result<Found<'a>, Refusal> {
        let Some(terms) = self.service(service) else {
            look(Step::NoService(service));
            return Err(Refusal::plain(Reason::BadRequest));
        };
        for bypass in &self.bypasses {
            let covers = bypass.covers(source, service);
            look(Step::Bypass(bypass, covers));
            if covers {
                return Err(Refusal { rule: Some(bypass.name.clone()), ..Refusal::plain(Reason::NotNeeded) });
            }
        }
        for denial in &self.denials {
            let denied_by = denial.denied_by(identity, source);
            look(Step::Denial(denial, denied_by));
            if denied_by.is_some() {
                return Err(Refusal {
                    rule: Some(denial.name.clone()),
                    message: denial.message.clone(),
                    ..Refusal::plain(Reason::NotPermitted)
                });
            }
        }
        if self.rules.is_empty() {
            look(Step::Default(&self.quota));
            return Ok(Found { policy: self, terms, rule: None });
        }
        let mut closed: Option<(&Rule, Duration)> = None;
        for rule in &self.rules {
            let missed = rule.missed_by(identity, source, service, now);
            look(Step::Rule(rule, missed));
            match missed {
                None => return Ok(Found { policy: self, terms, rule: Some(rule) }),
                // The hours are looked at last, so all else is met.
                Some(Condition::Hours) => {
                    let wait = rule.hours.as_ref().and_then(|hours| hours.begin_in(now.utc));
                    let sooner = |wait: &Duration| closed.is_none_or(|(_, other)| *wait < other);
                    if let Some(wait) = wait.filter(sooner) {
                        closed = Some((rule, wait));
                    }
                }
                Some(_) => {}
            }
        }
        look(Step::NoRule);
        Err(Refusal {
            rule: closed.map(|(rule, _)| rule.name.clone()),
            retry_after: closed.map(|(_, wait)| wait),
            ..Refusal::plain(Reason::NotPermitted)
        })
    }
}

/// What a walk that ends well has found: the rule, or none for `default`.
struct Found<'a> {
    policy: &'a Policy,
    terms: &'a Arc<Terms>,
    rule: Option<&'a Rule>,
}

impl Found<'_> {
    fn permit(&self, identity: Identity, source: Source) -> Permit {
        let Some(rule) = self.rule else {
            let quota = self.policy.quota.clone();
            let terms = Arc::clone(self.terms);
            return Permit::new(identity, source, terms, RuleName::new(DEFAULT), quota, self.policy.all_services());
        };
        let counted =
            if rule.services.is_empty() { self.policy.all_services() } else { rule.services.as_slice().into() };
        Permit::new(identity, source, rule.terms(self.terms), rule.name.clone(), rule.quota.clone(), counted)
    }
}

impl Policy {
    fn all_services(&self) -> Arc<[ServiceName]> {
        self.services.iter().map(|terms| terms.service.clone()).collect()
    }
}

impl Bypass {
    fn covers(&self, source: Source, service: &ServiceName) -> bool {
        within(&self.networks, source) && (self.services.is_empty() || self.services.contains(service))
    }
}

impl Denial {
    /// By which condition it denies.
    fn denied_by(&self, identity: &Identity, source: Source) -> Option<Condition> {
        if self.users.iter().any(|pattern| pattern.means(identity.person())) {
            Some(Condition::User)
        } else if member(&self.groups, identity) {
            Some(Condition::Group)
        } else if within(&self.networks, source) {
            Some(Condition::Network)
        } else {
            None
        }
    }
}

impl Rule {
    /// The first condition that is not met. The hours come last, see [`Policy::walk`].
    fn missed_by(&self, identity: &Identity, source: Source, service: &ServiceName, now: Now) -> Option<Condition> {
        if !self.services.is_empty() && !self.services.contains(service) {
            Some(Condition::Service)
        } else if !self.users.is_empty() && !self.users.iter().any(|pattern| pattern.means(identity.person())) {
            Some(Condition::User)
        } else if !self.groups.is_empty() && !member(&self.groups, identity) {
            Some(Condition::Group)
        } else if !self.networks.is_empty() && !within(&self.networks, source) {
            Some(Condition::Network)
        } else if self.hours.as_ref().is_some_and(|hours| !hours.hold(now.utc)) {
            Some(Condition::Hours)
        } else {
            None
        }
    }

    /// The service's terms with the rule's own in their place.
    fn terms(&self, terms: &Arc<Terms>) -> Arc<Terms> {
        if self.window.is_none() && self.connections.is_none() {
            return Arc::clone(terms);
        }
        let mut own = Terms::clone(terms);
        own.window = self.window.unwrap_or(own.window);
        own.connections = self.connections.unwrap_or(own.connections);
        Arc::new(own)
    }
}

fn member(groups: &[Group], identity: &Identity) -> bool {
    groups.iter().any(|wanted| identity.groups().iter().any(|group| group_is(group, wanted)))
}

fn within(networks: &[IpNet], source: Source) -> bool {
    networks.iter().any(|network| network.contains(&source.ip()))
}

impl Condition {
    /// The key of the configuration that holds it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Group => "groups",
            Self::Service => "services",
            Self::Network => "networks",
            Self::Hours => "hours",
        }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService(service) => write!(f, "there is no service {service}"),
            Self::Bypass(bypass, true) => write!(f, "bypass {}: the address needs no sign-in", bypass.name),
            Self::Bypass(bypass, false) => write!(f, "bypass {}: does not cover the address and service", bypass.name),
            Self::Denial(denial, Some(by)) => write!(f, "deny {}: denied by {}", denial.name, by.as_str()),
            Self::Denial(denial, None) => write!(f, "deny {}: does not apply", denial.name),
            Self::Rule(rule, None) => write!(f, "rule {}: matches", rule.name),
            Self::Rule(rule, Some(missed)) => write!(f, "rule {}: {} not met", rule.name, missed.as_str()),
            Self::Default(_) => f.write_str("rule default: there is no other"),
            Self::NoRule => f.write_str("no rule matches"),
        }
    }
}

#[cfg(test)]
mod tests;
