//! A thousand browsers that go away at any point leave nothing half open.

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at, throttle};
use kmsgate_system_tests::http::{Request, credentials};
use kmsgate_system_tests::mail::{Habit, Mail};
use kmsgate_system_tests::net::{connect_from, reset};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::io::{Read, Write};

#[test]
fn a_thousand_clients_that_vanish_leave_no_grant_opening() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let headers = [("Content-Type", "application/json")];
    let body = credentials("alice", PASSWORD);
    let request = Request { method: "POST", path: "/api/v1/grants", headers: &headers, body: body.as_bytes() };
    let bytes = request.bytes(gateway.portal());
    std::thread::scope(|scope| {
        for worker in 0..20_u8 {
            let (gateway, bytes) = (&gateway, &bytes);
            scope.spawn(move || {
                for round in 1..=50_u8 {
                    let point = usize::from(worker) * 50 + usize::from(round);
                    let mut stream = connect_from(at(worker, round), gateway.portal()).unwrap();
                    // A third of them in the middle of the request, the others at its end or in the answer.
                    let sent = if point % 3 == 0 { point % bytes.len() } else { bytes.len() };
                    stream.write_all(&bytes[..sent]).unwrap();
                    if point % 3 == 2 {
                        stream.read_exact(&mut vec![0; 1 + point % 40]).unwrap();
                    }
                    if point % 2 == 0 { reset(stream) } else { drop(stream) }
                }
            });
        }
    });
    gateway.granted(at(200, 1), "bob");
    let open = gateway.until("no grant that is neither open nor closed", |grants| {
        grants.iter().all(|grant| matches!(grant.state, "open" | "closed"))
    });
    // Everybody who began to read the answer has a grant.
    assert!(open.len() > 300, "{}", open.len());
    let held = gateway.sign_in(at(200, 2), "carol", PASSWORD);
    assert_eq!(held.verdict(), "201 granted", "the gateway serves as before");
    assert!(gateway.connect(at(200, 2)).is_through());
}

/// A server that delays a wrong password tells by its silence: who hangs up then has learnt as much as from an answer.
#[test]
fn f15_hanging_up_is_no_way_to_guess_for_free() {
    let provider = Provider::start(Manner::Echo);
    let mail = Mail::start(Habit::SilentAtPassword);
    let gateway =
        Setup::new(provider.address).only_server("mail", &mail.keys()).section("throttle", &throttle(1000, 2)).start();
    let headers = [("Content-Type", "application/json")];
    for guess in 1..=2_u8 {
        let body = credentials("alice", "a guess");
        let request = Request { method: "POST", path: "/api/v1/grants", headers: &headers, body: body.as_bytes() };
        let mut stream = connect_from(at(1, guess), gateway.portal()).unwrap();
        stream.write_all(&request.bytes(gateway.portal())).unwrap();
        gateway
            .log
            .until("the guess is with the mail server", || (mail.passwords() == usize::from(guess)).then_some(()));
        drop(stream);
        gateway.log.until("it is settled", || {
            let said = gateway.command(&["report", "--by", "reason", "--format", "csv"], "").out;
            said.contains(&format!("abandoned,0,0,0,{guess},")).then_some(())
        });
    }
    let refused = gateway.sign_in(at(1, 9), "alice", "another guess");
    assert_eq!(refused.verdict(), "429 too_many_attempts", "from elsewhere: it is the name's budget");
}

#[test]
fn p9_a_cancel_whose_client_vanishes_is_carried_out() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    for round in 1..=60_u8 {
        let granted = gateway.granted(at(3, round), "alice");
        let bearer = format!("Bearer {}", granted.text("token"));
        let path = format!("/api/v1/grants/{}", granted.text("id"));
        let headers = [("Authorization", bearer.as_str())];
        let request = Request { method: "DELETE", path: &path, headers: &headers, body: b"" };
        let mut stream = connect_from(at(3, round), gateway.portal()).unwrap();
        stream.write_all(&request.bytes(gateway.portal())).unwrap();
        // Some at once, some while the close is being written.
        std::iter::repeat_n((), usize::from(round) * 40).for_each(|()| std::thread::yield_now());
        reset(stream);
    }
    // Whether the request was heard at all is the network's affair; begun and not ended is not.
    gateway.granted(at(4, 1), "bob");
    gateway
        .until("no close that was begun and not ended", |grants| grants.iter().all(|grant| grant.state != "closing"));
    for grant in gateway.grants().iter().filter(|grant| grant.state == "closed") {
        assert_eq!(grant.cause.as_deref(), Some("cancelled"));
    }
}
