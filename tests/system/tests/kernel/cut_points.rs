//! The table of cut points, row by row: serve, the enforcer or both are killed before and after each step of open, claim,
//! give-back and close, and the next start finds what the table says (P1, P2, P3, P5, P9).

use kmsgate_orders::order::{News, Order};
use kmsgate_system_tests::gateway::PASSWORD;
use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::ledger::{Grant, number};
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::middle::Trap;
use kmsgate_system_tests::net::{Outcome, echo};
use kmsgate_system_tests::pair::{Pair, Victim};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::net::IpAddr;

const ONE_A_WEEK: &str = "[[rule]]\nname = \"one\"\nusers = [\"*\"]\nquota = { week = 1 }\n";

/// Each row is shown with IPv4; what differs between the families is the enforcer's, and tested there.
fn person() -> IpAddr {
    Family::V4.person(1)
}

fn is_open(order: &Order) -> bool {
    matches!(order, Order::Open(_))
}

fn is_close(order: &Order) -> bool {
    matches!(order, Order::Close { .. })
}

fn gives_back(order: &Order) -> bool {
    matches!(order, Order::GiveBack { .. })
}

fn started(rules: &str) -> Pair {
    Pair::start(|setup| setup.rules(rules))
}

/// Signs in, and is let in.
#[track_caller]
fn granted(pair: &Pair, who: &str) -> kmsgate_system_tests::http::Answer {
    pair.site.person.within(|| pair.gateway.granted(person(), who))
}

/// Exactly so many connections pass.
#[track_caller]
fn passes(pair: &Pair, count: usize) {
    for number in 0..count {
        let outcome = pair.site.connect(person());
        assert!(outcome.is_through(), "{number} of {count}: {outcome:?}\n{}", pair.gateway.log.text());
    }
    let outcome = pair.site.connect(person());
    assert!(!outcome.is_through(), "more than {count}: {outcome:?}");
}

/// Waits until the only grant is so.
#[track_caller]
fn until(pair: &Pair, what: &str, so: impl Fn(&Grant) -> bool) -> Grant {
    pair.gateway.until(what, |grants| grants.len() == 1 && grants.first().is_some_and(&so)).remove(0)
}

/// Cut while a grant is opened: nobody was told that it is open, so it is closed, uncounted, and out of the kernel.
#[track_caller]
fn cut_in_open(trap: Trap) {
    for (victim, who) in Victim::ALL {
        let mut pair = started(ONE_A_WEEK);
        let _providers = pair.site.echoing();
        pair.middle.set(trap);
        let asked = std::thread::scope(|scope| {
            let pair = &pair;
            let sign_in = || pair.gateway.try_sign_in(person(), who, PASSWORD);
            let asked = scope.spawn(move || pair.site.person.within(sign_in));
            pair.middle.until_sprung();
            pair.kill(victim);
            asked.join().unwrap()
        });
        // P9: nobody is told of a door that nobody confirmed.
        let told = asked.map(|answer| (answer.status, answer.text("reason")));
        let away = (503, "forwarder_unavailable".to_owned());
        assert_eq!(told, (victim == Victim::Enforcer).then_some(away), "{victim:?}");
        pair.start_again(victim);
        let grant = until(&pair, "its close", |grant| grant.state == "closed");
        let cause = if victim == Victim::Enforcer { "failed" } else { "swept" };
        assert_eq!((grant.cause.as_deref(), grant.claims), (Some(cause), 0), "{victim:?}");
        assert_eq!(pair.standing(person()), None, "{victim:?}");
        assert!(!pair.site.connect(person()).is_through(), "{victim:?}");
        granted(&pair, who);
        passes(&pair, 1);
    }
}

#[test]
fn cut_before_the_element_is_added() {
    kernel_needs!();
    cut_in_open(Trap::Order(is_open));
}

#[test]
fn cut_after_the_element_is_added() {
    kernel_needs!();
    cut_in_open(Trap::Answer(is_open));
}

#[test]
fn cut_after_the_answer_it_is_adopted() {
    kernel_needs!();
    for (victim, who) in Victim::ALL {
        let mut pair = started(ONE_A_WEEK);
        let _providers = pair.site.echoing();
        granted(&pair, who);
        let before = until(&pair, "its state", |grant| grant.state == "open");
        let remaining = pair.standing(person()).expect("it is there").remaining;
        pair.kill(victim);
        pair.start_again(victim);
        let now = pair.standing(person()).expect("it is still there");
        assert!(now.remaining <= remaining, "{victim:?}: it was prolonged: {now:?}");
        assert_eq!(until(&pair, "its state", |grant| grant.state == "open"), before, "{victim:?}");
        passes(&pair, 1);
    }
}

/// Cut around the word of a claim: it is spent and recorded, and the connection goes on.
#[track_caller]
fn cut_at_a_claim(trap: Option<Trap>) {
    for (victim, who) in Victim::ALL {
        let mut pair = started(ONE_A_WEEK);
        let _providers = pair.site.echoing();
        granted(&pair, who);
        if let Some(trap) = trap {
            pair.middle.set(trap);
        }
        let running = pair.site.connect(person()).through();
        match trap {
            Some(_) => pair.middle.until_sprung(),
            None => drop(until(&pair, "the claim", |grant| grant.claims == 1)),
        }
        pair.kill(victim);
        let Outcome::Echoed(running) = echo(running) else { panic!("{victim:?}: the kernel carries it alone") };
        pair.start_again(victim);
        until(&pair, "the claim", |grant| (grant.state, grant.claims, grant.alive) == ("open", 1, 1));
        let Outcome::Echoed(running) = echo(running) else { panic!("{victim:?}: it goes on") };
        passes(&pair, 0);
        drop(running);
        let grant = until(&pair, "its end", |grant| grant.state == "closed");
        assert_eq!((grant.cause.as_deref(), grant.claims), (Some("used"), 1), "{victim:?}");
    }
}

#[test]
fn cut_before_a_claim_is_told() {
    kernel_needs!();
    cut_at_a_claim(Some(Trap::News(|news| matches!(news, News::Claimed(..)))));
}

#[test]
fn cut_after_a_claim_is_written() {
    kernel_needs!();
    cut_at_a_claim(None);
}

#[test]
fn cut_before_the_end_of_a_connection_is_told() {
    kernel_needs!();
    for (victim, who) in Victim::ALL {
        let mut pair = started(ONE_A_WEEK);
        let _providers = pair.site.echoing();
        granted(&pair, who);
        let running = pair.site.connect(person()).through();
        until(&pair, "the claim", |grant| grant.alive == 1);
        pair.middle.set(Trap::News(|news| matches!(news, News::Ended(..))));
        drop(running);
        pair.middle.until_sprung();
        pair.kill(victim);
        pair.start_again(victim);
        let grant = until(&pair, "its end", |grant| grant.state == "closed");
        assert_eq!((grant.cause.as_deref(), grant.claims, grant.alive), (Some("used"), 1, 0), "{victim:?}");
        assert_eq!(pair.standing(person()), None, "{victim:?}");
    }
}

/// Providers that echo where these were.
fn instead_of(providers: [Provider; 2], pair: &Pair) -> [Provider; 2] {
    drop(providers);
    [0, 1].map(|number| {
        let address = Family::V4.provider(number);
        // The thread that listened there has to let go of it first.
        Log::default().until("the port", || {
            let free = || std::net::TcpListener::bind(address).is_ok();
            pair.site.hosts.get(number)?.within(free).then_some(())
        });
        pair.site.provider(number, Family::V4, Manner::Echo)
    })
}

/// Cut while a claim is given back: it is given back once, whoever did it.
#[track_caller]
fn cut_in_give_back(trap: Trap) {
    for (victim, who) in Victim::ALL {
        let mut pair = started(ONE_A_WEEK);
        let resetting = [0, 1].map(|number| pair.site.provider(number, Family::V4, Manner::Reset));
        granted(&pair, who);
        pair.middle.set(trap);
        assert!(!pair.site.connect(person()).is_through());
        pair.middle.until_sprung();
        pair.kill(victim);
        let _providers = instead_of(resetting, &pair);
        pair.start_again(victim);
        until(&pair, "the claim given back", |grant| (grant.claims, grant.given_back) == (0, 1));
        let first = Log::default().until("the way to be open again", || match pair.site.connect(person()) {
            Outcome::Echoed(stream) => Some(stream),
            _ => None,
        });
        passes(&pair, 0);
        drop(first);
        let grant = until(&pair, "its end", |grant| grant.state == "closed");
        assert_eq!((grant.cause.as_deref(), grant.claims, grant.given_back), (Some("used"), 1, 1), "{victim:?}");
    }
}

#[test]
fn cut_before_a_claim_is_given_back_in_the_kernel() {
    kernel_needs!();
    cut_in_give_back(Trap::Order(gives_back));
}

#[test]
fn cut_after_a_claim_is_given_back_in_the_kernel() {
    kernel_needs!();
    cut_in_give_back(Trap::Answer(gives_back));
}

#[test]
fn p1_what_is_owed_to_a_ruleset_that_is_gone_is_not_paid_to_the_next() {
    kernel_needs!();
    let pair = started(ONE_A_WEEK);
    let resetting = [0, 1].map(|number| pair.site.provider(number, Family::V4, Manner::Reset));
    granted(&pair, "alice");
    pair.middle.set(Trap::Order(gives_back));
    assert!(!pair.site.connect(person()).is_through());
    pair.middle.until_sprung();
    let _providers = instead_of(resetting, &pair);
    let _nothing = pair.site.gateway.output("nft", &["delete", "table", "inet", "kmsgate"]);
    pair.middle.cut();
    // It is there again with what the ledger says is left: that it was given back is in that.
    Log::default().until("the way to be open again", || pair.standing(person()).filter(|it| it.left == 1));
    pair.middle.set(Trap::Order(gives_back));
    let running = pair.site.connect(person()).through();
    until(&pair, "its claim", |grant| grant.claims == 1);
    passes(&pair, 0);
    drop(running);
    let grant = until(&pair, "its end", |grant| grant.state == "closed");
    assert_eq!((grant.cause.as_deref(), grant.claims, grant.given_back), (Some("used"), 1, 1));
    assert!(!pair.middle.is_sprung(), "it was given back twice");
}

/// Cut while a grant is closed: it is closed with its cause, its connection with it.
#[track_caller]
fn cut_in_close(trap: Trap) {
    for (victim, who) in Victim::ALL {
        let mut pair = started(ONE_A_WEEK);
        let _providers = pair.site.echoing();
        let id = granted(&pair, who).text("id");
        let running = pair.site.connect(person()).through();
        until(&pair, "the claim", |grant| grant.alive == 1);
        pair.middle.set(trap);
        let said = std::thread::scope(|scope| {
            let pair = &pair;
            let said = scope.spawn(move || pair.gateway.command(&["grants", "revoke", &id], ""));
            pair.middle.until_sprung();
            pair.kill(victim);
            pair.enforcer_again();
            said.join().unwrap()
        });
        assert_eq!(said.code == Some(0), victim == Victim::Enforcer, "{victim:?}: {said:?}");
        pair.start_again(victim);
        let grant = until(&pair, "its end", |grant| grant.state == "closed");
        assert_eq!((grant.cause.as_deref(), grant.claims, grant.alive), (Some("revoked"), 1, 0), "{victim:?}");
        assert_eq!(pair.standing(person()), None, "{victim:?}");
        assert!(matches!(echo(running), Outcome::Reset), "{victim:?}");
        passes(&pair, 0);
    }
}

#[test]
fn cut_before_the_element_is_removed() {
    kernel_needs!();
    cut_in_close(Trap::Order(is_close));
}

#[test]
fn cut_after_the_element_is_removed() {
    kernel_needs!();
    cut_in_close(Trap::Answer(is_close));
}

#[test]
fn cut_and_its_own_end_passes_while_we_are_dead() {
    kernel_needs!();
    for (victim, who) in Victim::ALL {
        let mut pair = Pair::start(|setup| setup.service("window", "\"3s\""));
        let _providers = pair.site.echoing();
        granted(&pair, who);
        let running = pair.site.connect(person()).through();
        until(&pair, "the claim", |grant| grant.alive == 1);
        pair.kill(victim);
        // The kernel ends it alone.
        let mut running = Some(running);
        Log::default().until("the cut", || match running.take().map(echo) {
            Some(Outcome::Echoed(stream)) => {
                running = Some(stream);
                None
            }
            _ => Some(()),
        });
        pair.start_again(victim);
        let grant = until(&pair, "its end", |grant| grant.state == "closed");
        assert_eq!((grant.cause.as_deref(), grant.claims, grant.alive), (Some("expired"), 1, 0), "{victim:?}");
        if victim.is_serve() {
            assert_eq!(number(&pair.gateway.ledger(), "SELECT closed_at - ends_at FROM grants"), 0);
        }
        assert_eq!(pair.standing(person()), None, "{victim:?}");
    }
}

#[test]
fn cut_and_the_element_is_missing_when_we_are_back() {
    kernel_needs!();
    for (victim, who) in Victim::ALL {
        let mut pair = Pair::start(|setup| setup.service("connections", "3"));
        let _providers = pair.site.echoing();
        granted(&pair, who);
        drop(pair.site.connect(person()).through());
        let before = until(&pair, "the first claim and its end", |grant| (grant.claims, grant.alive) == (1, 0));
        let remaining = pair.standing(person()).expect("it is there").remaining;
        pair.kill(victim);
        let _flushed = pair.site.gateway.output("nft", &["flush", "ruleset"]);
        pair.start_again(victim);
        let restored = Log::default().until("the element", || pair.standing(person()));
        assert!(restored.remaining <= remaining, "{victim:?}: {restored:?}");
        assert_eq!((restored.claimed, restored.left), (1, 2), "{victim:?}");
        passes(&pair, 2);
        let grant = until(&pair, "all claims", |grant| grant.claims == 3);
        assert_eq!(grant.ends_at, before.ends_at, "{victim:?}");
    }
}
