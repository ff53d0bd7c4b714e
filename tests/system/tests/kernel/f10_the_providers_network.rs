//! Nothing from outside reaches a provider but by a grant (F10), before, while and after one is open.

use kmsgate_system_tests::kernel::{Enforcer, Family, Site};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::provider::Manner;
use kmsgate_system_tests::raw::{ACK, Caller, FIN, PSH, RST, SYN, Wire};
use kmsgate_system_tests::scene::{all_has_arrived, attacker, caller, close, nobody, one_provider};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

/// Whatever an address of the outside sends to a provider's own address.
fn nothing_arrives(site: &Site, enforcer: &mut Enforcer, wire: &Wire, tap: &Wire, family: Family) {
    let provider = family.provider(0);
    let listens = site.hosts[0].within(|| UdpSocket::bind(SocketAddr::new(provider.ip(), 5000)).unwrap());
    tap.forget();
    for port in [provider.port(), 22] {
        for (from, flags) in (3000..).zip([SYN, ACK, PSH | ACK, FIN | ACK, SYN | ACK, RST, RST | ACK, FIN, 0]) {
            let to = SocketAddr::new(provider.ip(), port);
            let direct = Caller { to, ..caller(wire, family, 10, from) };
            direct.send(flags, b"");
            direct.send(flags, b"a request");
        }
    }
    site.person.within(|| {
        let socket = UdpSocket::bind(SocketAddr::new(family.person(1), 0)).unwrap();
        socket.send_to(b"a datagram", SocketAddr::new(provider.ip(), 5000)).unwrap();
    });
    all_has_arrived(site, enforcer, family);
    assert_eq!(
        tap.of(|heard| heard.source.ip() == nobody(family, 10) && heard.source.port() < 4000),
        vec![],
        "{family:?}"
    );
    listens.set_nonblocking(true).unwrap();
    assert_eq!(listens.recv(&mut [0; 64]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "{family:?}");
}

#[test]
fn f10_nothing_reaches_a_provider_without_a_mark_before_while_and_after_a_grant_is_open() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let (wire, tap) = (attacker(&site), Wire::on(&site.hosts[0]));
    for family in Family::BOTH {
        nothing_arrives(&site, &mut enforcer, &wire, &tap, family);
        enforcer.open(1, nobody(family, 10), 60, 2);
        let mut admitted = caller(&wire, family, 10, 5000);
        admitted.connect();
        admitted.echo(b"hello");
        nothing_arrives(&site, &mut enforcer, &wire, &tap, family);
        close(&mut enforcer, 1, nobody(family, 10));
        nothing_arrives(&site, &mut enforcer, &wire, &tap, family);
    }
}
