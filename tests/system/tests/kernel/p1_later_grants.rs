//! A connection belongs to one grant (P1, K04): it does not come back under a later grant of its address, and behind the
//! last claim nothing more goes to a provider.

use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::raw::{SYN, Wire};
use kmsgate_system_tests::scene::{
    all_has_arrived, attacker, both_ends, caller, claims, close, in_a_second, listener, nobody, one_provider, speaks,
    until_closed,
};

#[test]
fn p1_k04_a_connection_left_idle_over_the_end_of_its_grant_is_reset_under_the_next() {
    kernel_needs!();
    for family in Family::BOTH {
        let site = one_provider();
        let mut enforcer = site.enforcer();
        let (listens, address) = (listener(&site, family), family.person(1));
        let (person, provider) = in_a_second(&site, &mut enforcer, &listens, address);
        until_closed(&mut enforcer, address);
        enforcer.open(2, address, 60, 1);
        speaks(&person, &provider);
        assert_eq!(claims(&mut enforcer, address), 0, "the old connection spends nothing");
        both_ends(&site, &listens, address);
    }
}

#[test]
fn k04_a_connection_of_a_revoked_grant_does_not_come_back_under_the_next() {
    kernel_needs!();
    for family in Family::BOTH {
        let site = one_provider();
        let mut enforcer = site.enforcer();
        let (listens, address) = (listener(&site, family), family.person(1));
        // Of the first connection the person speaks first, of the second the provider.
        enforcer.open(1, address, 60, 2);
        let (first, second) = (both_ends(&site, &listens, address), both_ends(&site, &listens, address));
        close(&mut enforcer, 1, address);
        enforcer.open(2, address, 60, 1);
        speaks(&first.0, &first.1);
        speaks(&second.1, &second.0);
        assert_eq!(claims(&mut enforcer, address), 0, "old connections spend nothing");
        both_ends(&site, &listens, address);
    }
}

#[test]
fn p1_behind_the_last_claim_no_syn_reaches_the_provider() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, kmsgate_system_tests::provider::Manner::Echo));
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    let tap = Wire::on(&site.hosts[0]);
    for family in Family::BOTH {
        for connections in [1, 3] {
            let number = connections;
            enforcer.open(1, nobody(family, number), 60, connections);
            for port in 0..connections {
                let mut caller = caller(&wire, family, number, 2000 + port);
                caller.connect();
                caller.echo(b"hello");
            }
            tap.forget();
            for port in 3000..3100 {
                caller(&wire, family, number, port).send(SYN, b"");
            }
            all_has_arrived(&site, &mut enforcer, family);
            let syns = tap.of(|heard| heard.is(SYN) && heard.source.ip() == nobody(family, number));
            assert_eq!(syns, vec![], "{family:?} {connections}");
        }
    }
}
