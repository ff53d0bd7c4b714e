//! What would be decided for somebody, and why; what somebody has used. What must never happen here: a write.

use super::problem::Problem;
use super::shape::{person, rfc3339, source};
use crate::answer::Secret;
use crate::gate::Gate;
use kmsgate_core::address::Source;
use kmsgate_core::decide::{Decision, Facts, Refusal, Request, decide};
use kmsgate_core::grant::GrantId;
use kmsgate_core::identity::Identity;
use kmsgate_core::name::{Group, ServiceName};
use kmsgate_core::permit::Permit;
use kmsgate_core::quota::{Span, Use};
use kmsgate_core::reason::Reason;
use kmsgate_core::time::Now;
use kmsgate_ledger::Ledger;
use serde::Deserialize;
use serde_json::{Value, json};

/// Whose sign-in, from where, to what. No service: the first one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) user: String,
    pub(super) source: String,
    pub(super) service: Option<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
}

/// The same steps that a sign-in takes after its password was right, up to the decision.
pub(super) async fn explain(gate: &Gate, asked: &Asked, operator: &str) -> Result<Value, Problem> {
    let identity = vouched(gate, &asked.user, &asked.groups, operator, "explain")?;
    let (source, service, now) = (source(&asked.source)?, service(gate, asked.service.as_deref())?, gate.clock.now());
    let policy = gate.policy.load();
    let explanation = policy.explain(&identity, source, &service, now);
    let mut steps: Vec<String> = explanation.steps.iter().map(ToString::to_string).collect();
    let permit = match explanation.answer {
        Ok(permit) => permit,
        Err(refusal) => return Ok(answer(&steps, "refused", Some(&refusal), None)),
    };
    let (request, facts) = facts(gate, permit, now).await?;
    if let Some(standing) = &facts.standing {
        let (id, person) = (standing.id, &standing.person);
        steps.push(format!("address {}: grant {id} of {person} is unfinished", request.key()));
    }
    steps.extend(facts.uses.iter().map(|usage| {
        let (span, used, limit) = (span(usage.since.span), usage.used, usage.since.limit);
        format!("quota a {span}: {used} of {limit} used, {} windows of which nothing came", usage.unused)
    }));
    Ok(match decide(&request, &facts, now) {
        Decision::Open => granted(&steps, "open", &request, None),
        Decision::Same(id) => granted(&steps, "same", &request, Some(id)),
        Decision::Replace(id) => granted(&steps, "replace", &request, Some(id)),
        Decision::Refuse(refusal) => answer(&steps, "refused", Some(&refusal), None),
    })
}

/// How far each limit is used that would hold for this person and service from this address; without one from 0.0.0.0, which
/// no network of a rule holds but one that holds every address.
pub(super) async fn quota(
    gate: &Gate,
    identity: Identity,
    wanted: Option<&str>,
    from: Option<Source>,
) -> Result<Value, Problem> {
    let (user, service, now) = (identity.person().to_string(), service(gate, wanted)?, gate.clock.now());
    let from = from.map_or_else(|| source("0.0.0.0"), Ok)?;
    let policy = gate.policy.load();
    let permit = policy.permit(identity, from, &service, now)?;
    let rule = permit.rule().to_string();
    let (request, facts) = facts(gate, permit, now).await?;
    let quota = request.permit.quota();
    let uses = facts.uses.iter().map(|usage| {
        let wait = quota.retry_after(usage, now.utc).map(|wait| wait.as_secs() + 1);
        shown(usage, wait)
    });
    Ok(json!({ "user": user, "service": service.as_str(), "rule": rule, "uses": uses.collect::<Vec<_>>() }))
}

fn shown(usage: &Use, retry_after: Option<u64>) -> Value {
    json!({
        "span": span(usage.since.span),
        "limit": usage.since.limit,
        "used": usage.used,
        "unused": usage.unused,
        "since": rfc3339(usage.since.from),
        "retry_after": retry_after,
    })
}

/// What the ledger knows. The request is never reserved; its token opens nothing.
async fn facts(gate: &Gate, permit: Permit, now: Now) -> Result<(Request, Facts), Problem> {
    let internal = |_| Problem::from(Refusal::plain(Reason::Internal));
    let entropy = crate::clock::entropy().map_err(internal)?;
    let token = Secret::draw().map_err(internal)?.hash();
    let request = Request { id: GrantId::new(now.utc, entropy), permit, token };
    let facts = gate.ledger.facts(request.clone(), now).await?;
    Ok((request, facts))
}

/// The identity for which an operator answers.
pub(super) fn vouched(
    gate: &Gate,
    user: &str,
    groups: &[String],
    operator: &str,
    reason: &str,
) -> Result<Identity, Problem> {
    let groups = groups.iter().map(|group| Group::new(group)).collect();
    Ok(Identity::vouched(person(gate, user)?, groups, operator.to_owned(), reason.to_owned()))
}

/// A service by name; the first one if none was named.
pub(super) fn service(gate: &Gate, name: Option<&str>) -> Result<ServiceName, Problem> {
    let policy = gate.policy.load();
    let mut services = policy.services.iter().map(|terms| &terms.service);
    let found = match name {
        Some(name) => services.find(|service| service.as_str() == name),
        None => services.next(),
    };
    found.cloned().ok_or_else(|| {
        let known: Vec<&str> = policy.services.iter().map(|terms| terms.service.as_str()).collect();
        Problem::malformed(format!("there is no such service; there are: {}", known.join(", ")))
    })
}

fn granted(steps: &[String], decision: &str, request: &Request, grant: Option<GrantId>) -> Value {
    let mut value = answer(steps, decision, None, grant);
    if let Some(map) = value.as_object_mut() {
        let terms = request.permit.terms();
        map.insert("rule".to_owned(), json!(request.permit.rule().as_str()));
        map.insert("window_seconds".to_owned(), json!(terms.window.as_secs()));
        map.insert("connections".to_owned(), json!(terms.connections));
    }
    value
}

fn answer(steps: &[String], decision: &str, refusal: Option<&Refusal>, grant: Option<GrantId>) -> Value {
    json!({
        "steps": steps,
        "decision": decision,
        "reason": refusal.map(|refusal| refusal.reason.as_str()),
        "rule": refusal.and_then(|refusal| refusal.rule.as_ref()).map(|rule| rule.as_str()),
        "message": refusal.and_then(|refusal| refusal.message.as_ref()),
        "retry_after": refusal.and_then(|refusal| refusal.retry_after).map(|after| after.as_secs() + 1),
        "grant": grant.map(|id| id.to_string()),
    })
}

fn span(span: Span) -> &'static str {
    match span {
        Span::Day => "day",
        Span::Week => "week",
        Span::Month => "month",
    }
}
