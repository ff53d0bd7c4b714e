//! A thousand browsers that go away at any point leave nothing half open.

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::http::{Request, credentials};
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
    let bytes = request.bytes(gateway.portal);
    std::thread::scope(|scope| {
        for worker in 0..20_u8 {
            let (gateway, bytes) = (&gateway, &bytes);
            scope.spawn(move || {
                for round in 1..=50_u8 {
                    let point = usize::from(worker) * 50 + usize::from(round);
                    let mut stream = connect_from(at(worker, round), gateway.portal).unwrap();
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
