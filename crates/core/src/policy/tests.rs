//! Policy, one line a case.

use super::*;
use crate::name::{Domain, Name, Person, ServerName};
use crate::time::BootTime;
use jiff::tz::TimeZone;

const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// Thursday, 13 August 2026, noon in UTC, 14:00 in Berlin.
const NOON: &str = "2026-08-13T12:00:00Z";

fn at(text: &str) -> Now {
    Now { utc: text.parse().expect("a moment"), boot: BootTime(0) }
}

fn identity(person: &str, groups: &[&str]) -> Identity {
    let (domain, name) = person.split_once('/').expect("domain/name");
    let person = Person { domain: Domain::new(domain), name: Name::canonical(name).expect("a name") };
    Identity::accepted(person, groups.iter().map(|group| Group::new(group)).collect(), ServerName::new("mail"))
}

fn source(text: &str) -> Source {
    Source::new(text.parse().expect("an address"))
}

fn terms(service: &str) -> Arc<Terms> {
    Arc::new(Terms {
        service: ServiceName::new(service),
        window: Duration::from_secs(200),
        connections: 1,
        close_when_used: true,
        ipv6_prefix: 128,
    })
}

fn networks(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|text| text.parse().expect("a network")).collect()
}

fn users(list: &[&str]) -> Vec<UserPattern> {
    list.iter().map(|text| text.parse().expect("a pattern")).collect()
}

fn hours(list: &[&str]) -> Hours {
    Hours::parse(list.iter().copied(), TimeZone::posix(BERLIN).expect("a zone")).expect("hours")
}

fn rule(name: &str) -> Rule {
    Rule {
        name: RuleName::new(name),
        users: Vec::new(),
        groups: Vec::new(),
        services: Vec::new(),
        networks: Vec::new(),
        hours: None,
        quota: Quota::default(),
        window: None,
        connections: None,
    }
}

/// Nothing but two services.
fn bare() -> Policy {
    Policy {
        denials: Vec::new(),
        rules: Vec::new(),
        bypasses: Vec::new(),
        services: vec![terms("kms"), terms("ssh")],
        quota: Quota::default(),
    }
}

/// A site with some of everything.
fn site() -> Policy {
    Policy {
        denials: vec![Denial {
            name: RuleName::new("blocked"),
            users: users(&["campus/mallory"]),
            groups: vec![Group::new("suspended")],
            networks: networks(&["203.0.113.0/24"]),
            message: Some("Please call the service desk.".to_owned()),
        }],
        rules: vec![
            Rule {
                groups: vec![Group::new("staff")],
                services: vec![ServiceName::new("kms")],
                quota: Quota { week: Some(20), ..Quota::default() },
                window: Some(Duration::from_secs(600)),
                ..rule("staff")
            },
            Rule {
                groups: vec![Group::new("it")],
                networks: networks(&["198.51.100.0/24", "2001:db8::/32"]),
                connections: Some(3),
                ..rule("it")
            },
            Rule { users: users(&["guests/*"]), hours: Some(hours(&["mon-fri 08:00-18:00"])), ..rule("guests") },
            Rule { users: users(&["campus/*"]), services: vec![ServiceName::new("kms")], ..rule("everybody") },
        ],
        bypasses: vec![Bypass {
            name: RuleName::new("managed labs"),
            networks: networks(&["192.0.2.0/24"]),
            services: vec![ServiceName::new("kms")],
        }],
        ..bare()
    }
}

/// person, groups, address, service, moment => the rule of the permit, or the reason with rule and seconds to wait.
macro_rules! answers {
    ($($name:ident: $person:literal $groups:expr, $source:literal, $service:literal, $now:expr => $answer:expr;)+) => {
        $(#[test]
        fn $name() {
            let (policy, service) = (site(), ServiceName::new($service));
            let (who, now) = (identity($person, &$groups), at($now));
            let explanation = policy.explain(&who, source($source), &service, now);
            let told = |answer: &Result<Permit, Refusal>| match answer {
                Ok(permit) => Ok(permit.rule().to_string()),
                Err(refusal) => Err((
                    refusal.reason,
                    refusal.rule.as_ref().map(ToString::to_string),
                    refusal.retry_after.map(|wait| wait.as_secs()),
                )),
            };
            let answer = told(&explanation.answer);
            let expected: Result<&str, (Reason, Option<&str>, Option<u64>)> = $answer;
            let expected = expected.map(str::to_owned).map_err(|(reason, rule, wait)| (reason, rule.map(str::to_owned), wait));
            assert_eq!(answer, expected);
            assert_eq!(told(&policy.permit(who, source($source), &service, now)), expected, "explain says what permit does");
        })+
    };
}

answers! {
    the_first_rule_that_matches: "campus/alice" ["staff"], "198.51.100.7", "kms", NOON => Ok("staff");
    a_group_by_its_first_relative_name: "campus/alice" ["CN=staff,DC=example,DC=edu"], "198.51.100.7", "kms", NOON => Ok("staff");
    the_last_rule_takes_the_rest: "campus/alice" [], "198.51.100.7", "kms", NOON => Ok("everybody");
    all_conditions_of_a_rule: "campus/alice" ["it"], "198.51.100.7", "ssh", NOON => Ok("it");
    all_conditions_of_a_rule_in_ipv6: "campus/alice" ["it"], "2001:db8::7", "ssh", NOON => Ok("it");
    one_condition_of_a_rule_is_not_enough: "campus/alice" ["it"], "100.64.0.1", "ssh", NOON => Err((Reason::NotPermitted, None, None));
    a_mapped_address_is_ipv4: "campus/alice" ["it"], "::ffff:198.51.100.7", "ssh", NOON => Ok("it");
    no_rule_matches: "campus/alice" [], "198.51.100.7", "ssh", NOON => Err((Reason::NotPermitted, None, None));
    no_such_service: "campus/alice" [], "198.51.100.7", "smtp", NOON => Err((Reason::BadRequest, None, None));
    denied_by_name: "campus/mallory" ["staff"], "198.51.100.7", "kms", NOON => Err((Reason::NotPermitted, Some("blocked"), None));
    the_name_in_another_domain_is_not_denied: "guests/mallory" [], "198.51.100.7", "kms", NOON => Ok("guests");
    denied_by_group: "campus/alice" ["staff", "suspended"], "198.51.100.7", "kms", NOON => Err((Reason::NotPermitted, Some("blocked"), None));
    denied_by_network: "campus/alice" ["staff"], "203.0.113.9", "kms", NOON => Err((Reason::NotPermitted, Some("blocked"), None));
    a_bypass_needs_no_sign_in: "campus/mallory" [], "192.0.2.7", "kms", NOON => Err((Reason::NotNeeded, Some("managed labs"), None));
    a_bypass_for_its_services_only: "guests/carol" [], "192.0.2.7", "ssh", NOON => Ok("guests");
    within_the_hours: "guests/carol" [], "198.51.100.7", "kms", "2026-08-14T15:59:59Z" => Ok("guests");
    after_hours_says_when: "guests/carol" [], "198.51.100.7", "kms", "2026-08-14T16:00:00Z" => Err((Reason::NotPermitted, Some("guests"), Some((2 * 24 + 14) * 3600)));
}

#[test]
fn no_rule_at_all_is_one_rule_default_over_all_services() {
    let policy = bare();
    let permit = policy
        .permit(identity("campus/alice", &[]), source("198.51.100.7"), &ServiceName::new("kms"), at(NOON))
        .expect("a permit");
    assert_eq!(permit.rule().as_str(), "default");
    assert_eq!((permit.quota().week, permit.quota().month), (Some(2), Some(4)));
    assert_eq!(permit.counted().as_ref(), [ServiceName::new("kms"), ServiceName::new("ssh")]);
}

#[test]
fn a_permit_carries_the_terms_of_its_rule() {
    let policy = site();
    let permit = |groups: &[&str], service| {
        policy
            .permit(identity("campus/alice", groups), source("198.51.100.7"), &ServiceName::new(service), at(NOON))
            .expect("a permit")
    };
    let staff = permit(&["staff"], "kms");
    assert_eq!((staff.terms().window, staff.terms().connections), (Duration::from_secs(600), 1));
    assert_eq!(staff.quota().week, Some(20));
    assert_eq!(staff.counted().as_ref(), [ServiceName::new("kms")]);
    let it = permit(&["it"], "kms");
    assert_eq!((it.terms().window, it.terms().connections), (Duration::from_secs(200), 3));
    assert_eq!(it.counted().len(), 2, "a rule for every service counts them together");
    let everybody = permit(&[], "kms");
    assert!(Arc::ptr_eq(everybody.terms(), &policy.services[0]));
}

#[test]
fn a_denial_brings_its_own_words() {
    let refusal = site()
        .permit(identity("campus/mallory", &[]), source("198.51.100.7"), &ServiceName::new("kms"), at(NOON))
        .expect_err("denied");
    assert_eq!(refusal.message.as_deref(), Some("Please call the service desk."));
}

#[test]
fn an_explanation_names_every_step() {
    let (policy, service) = (site(), ServiceName::new("ssh"));
    let steps = |policy: &Policy, who: &Identity, at_source| {
        let explanation = policy.explain(who, source(at_source), &service, at("2026-08-16T12:00:00Z"));
        explanation.steps.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        steps(&policy, &identity("guests/carol", &["it"]), "100.64.0.1"),
        [
            "bypass managed labs: does not cover the address and service",
            "deny blocked: does not apply",
            "rule staff: services not met",
            "rule it: networks not met",
            "rule guests: hours not met",
            "rule everybody: services not met",
            "no rule matches",
        ]
    );
    assert_eq!(
        steps(&policy, &identity("campus/mallory", &[]), "100.64.0.1"),
        ["bypass managed labs: does not cover the address and service", "deny blocked: denied by users"]
    );
    assert_eq!(steps(&bare(), &identity("campus/alice", &[]), "100.64.0.1"), ["rule default: there is no other"]);
}

#[test]
fn a_bypass_is_known_without_an_identity() {
    let policy = site();
    let bypassed = |address, service: &str| policy.bypassed(source(address), &ServiceName::new(service)).is_some();
    assert!(bypassed("192.0.2.7", "kms"));
    assert!(!bypassed("192.0.2.7", "ssh"));
    assert!(!bypassed("198.51.100.7", "kms"));
}
