//! Active Directory, at Samba's domain controller. One test: making a domain takes most of its time.

use crate::common::{Page, ask, hostile_names, is, is_outage, is_wrong};
use kmsgate_core::reason::Reason;
use kmsgate_system_tests::samba::Samba;
use kmsgate_system_tests::{need, need_root};

#[test]
fn right_wrong_unknown_disabled_groups_rate_hostile_f19_at_a_domain_controller() {
    need_root!();
    need!("iproute2", "/usr/sbin/ip", "iproute2");
    let Some(samba) = Samba::start().unwrap() else { return };
    samba.host.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(all_of_it(&samba));
    });
}

async fn all_of_it(samba: &Samba) {
    let page = Page::nth("ldap", 2)
        .with("dc1.ad.example.edu", "localhost")
        .with("dc2.ad.example.edu", "127.0.0.1")
        .with("/etc/kmsgate/campus-ca.pem", &samba.ca().display().to_string());
    let accounts = page.accounts();
    let alice = ask(&accounts, "Alice", "secret").await.unwrap();
    assert_eq!(alice.person, "ad/alice");
    for group in ["staff", "everyone", "CN=everyone,CN=Users,DC=ad,DC=example,DC=edu"] {
        assert!(alice.groups.iter().any(|own| own == group), "{group}: {alice:?}");
    }
    for (name, password) in [("alice", "wrong"), ("mallory", "secret")] {
        is_wrong(ask(&accounts, name, password).await);
    }
    // What state an account is in is told after the right password alone.
    for (name, why) in [("carol", "data 533"), ("dave", "data 701"), ("erin", "data 773")] {
        is_wrong(ask(&accounts, name, "wrong").await);
        let by = ask(&accounts, name, "secret").await.expect_err("let in");
        assert_eq!(by.reason, Reason::AccountUnusable, "{}", by.log);
        assert!(by.log.contains(why), "{}", by.log);
    }
    for name in hostile_names() {
        is_wrong(ask(&accounts, &name, "secret").await);
    }
    // Its own count locks, and the right password is no wrong one then.
    for _ in 0..3 {
        is_wrong(ask(&accounts, "frank", "wrong").await);
    }
    is_outage(ask(&accounts, "frank", "secret").await, "data 775");

    // With an account of our own, by any of somebody's names, over StartTLS.
    let found = page
        .with("ldaps://", "ldap://")
        .with(
            "bind_template = \"{user}@ad.example.edu\"",
            "bind_dn = \"alice@ad.example.edu\"\nbind_password = \"secret\"",
        )
        .with(
            "(sAMAccountName={user})",
            "(|(sAMAccountName={user})(userPrincipalName={user}@ad.example.edu)(cn={user}))",
        )
        .with("nested_groups = true", "groups = \"memberOf\"");
    let accounts = found.accounts();
    let alice = ask(&accounts, "alice", "secret").await.unwrap();
    assert_eq!(alice.groups, ["CN=staff,CN=Users,DC=ad,DC=example,DC=edu", "staff"]);
    is_wrong(ask(&accounts, "mallory", "secret").await);
    let seen = accounts.probe().await.remove(0).1.unwrap();
    assert!(seen.contains("sees where accounts are"), "{seen}");
    // Without TLS it takes no password.
    let clear = found.with("ca = ", "tls = \"none\" #").accounts();
    is_outage(ask(&clear, "alice", "secret").await, "strongerAuthRequired");
    is(ask(&accounts, "alice", "secret").await, "ad/alice");
}
