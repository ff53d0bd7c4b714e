//! Scenes that attacks on the kernel forwarder share. What must never happen here: an absence that is looked for before
//! what could disprove it has arrived.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use crate::PATIENCE;
use crate::kernel::{Enforcer, Family, Session, Site};
use crate::log::Log;
use crate::raw::{Caller, Wire};
use kmsgate_enforcer::elements::{At, mark};
use kmsgate_enforcer::netlink::{ACK, CONNTRACK, REQUEST, Socket};
use kmsgate_orders::order::{Answer, Carried, News, Order, Place, Standing};
use serde_json::Value;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A site with the first provider of each family only: a test knows then where a packet must come out.
#[must_use]
pub fn one_provider() -> Site {
    Site::new().with("provider 198.19.1.2:1688 weight=1\n", "").with("provider [2001:db8:2:1::2]:1688 weight=1\n", "")
}

/// Plugs in beside the person's own TCP. Addresses of [`nobody`] are routed there, and the person's kernel neither sends
/// nor answers anything in their name.
#[must_use]
pub fn attacker(site: &Site) -> Wire {
    site.gateway.ip("route add 10.8.0.0/16 via 192.0.2.2");
    site.gateway.ip("-6 route add 2001:db8:8::/64 via 2001:db8:0:1::2");
    Wire::on(&site.person)
}

/// An address for which no kernel answers, of 65,536.
#[must_use]
pub fn nobody(family: Family, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => IpAddr::from([10, 8, high, low]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 8, 0, 0, 0, 0, number]),
    }
}

/// A client by hand at such an address.
#[must_use]
pub fn caller(wire: &Wire, family: Family, number: u16, port: u16) -> Caller<'_> {
    Caller::new(wire, SocketAddr::new(nobody(family, number), port), family.service())
}

/// How the place of an address stands; none if nothing is open there.
///
/// # Panics
/// If the enforcer answers otherwise.
#[track_caller]
pub fn standing(enforcer: &mut Enforcer, address: IpAddr) -> Option<Standing> {
    match enforcer.session.order(Order::State { place: Place { service: 0, address } }) {
        Answer::Standing(standing) => Some(standing),
        Answer::Absent => None,
        other => {
            assert_eq!(other, Answer::Absent);
            None
        }
    }
}

/// Claims counted in the kernel for an address.
#[track_caller]
pub fn claims(enforcer: &mut Enforcer, address: IpAddr) -> u16 {
    standing(enforcer, address).map_or(0, |standing| standing.claimed)
}

/// Carries a connection of somebody else there and back, over the same cables: whatever was sent before it and passed has
/// arrived by then.
#[track_caller]
pub fn all_has_arrived(site: &Site, enforcer: &mut Enforcer, family: Family) {
    let witness = family.person(65_000);
    enforcer.open(250, witness, 60, 1);
    let through = site.connect(witness);
    let place = Place { service: 0, address: witness };
    enforcer.session.order(Order::Close { grant: [250; 16], place });
    assert!(through.is_through(), "{through:?}");
}

/// As [`all_has_arrived`], where no provider echoes: a handshake of somebody else.
#[track_caller]
pub fn all_is_behind(enforcer: &mut Enforcer, wire: &Wire, family: Family) {
    enforcer.open(251, nobody(family, 60_000), 60, 1);
    caller(wire, family, 60_000, 999).half_open();
    close(enforcer, 251, nobody(family, 60_000));
}

/// A listener at the first provider's address, for tests that are its other end themselves.
///
/// # Panics
/// If it cannot listen.
#[must_use]
pub fn listener(site: &Site, family: Family) -> TcpListener {
    let [host, _] = &site.hosts;
    host.within(|| TcpListener::bind(family.provider(0)).expect("the address is there"))
}

/// A connection of an address through the gateway, both ends of it; something was said on it each way.
///
/// # Panics
/// If it does not get through.
#[track_caller]
pub fn both_ends(site: &Site, listener: &TcpListener, address: IpAddr) -> (TcpStream, TcpStream) {
    let mut person = site.connect_only(address).expect("it connects");
    person.write_all(b"?").expect("it is there");
    let (mut provider, _) = listener.accept().expect("it arrives");
    for stream in [&person, &provider] {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    }
    provider.write_all(b"!").expect("it is there");
    let mut said = [0; 1];
    for stream in [&mut person, &mut provider] {
        std::io::Read::read_exact(stream, &mut said).expect("it was said");
    }
    (person, provider)
}

/// Carries somebody, so that no host has still to look for its neighbour: a first packet that is lost over that costs a
/// second, and its connection is patient ever after.
#[track_caller]
pub fn acquaint(site: &Site, enforcer: &mut Enforcer, listener: &TcpListener, family: Family) {
    let address = family.person(65_001);
    enforcer.open(252, address, 60, 1);
    both_ends(site, listener, address);
    close(enforcer, 252, address);
}

/// Both ends of a connection under grant 1, whose window ends in a second.
#[track_caller]
pub fn in_a_second(
    site: &Site,
    enforcer: &mut Enforcer,
    listener: &TcpListener,
    address: IpAddr,
) -> (TcpStream, TcpStream) {
    let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
    acquaint(site, enforcer, listener, family);
    enforcer.open(1, address, 1, 1);
    both_ends(site, listener, address)
}

/// Waits until nothing is open for an address any more, as the kernel says.
#[track_caller]
pub fn until_closed(enforcer: &mut Enforcer, address: IpAddr) -> Instant {
    let log = enforcer.log.clone();
    log.until("the end of the window", || standing(enforcer, address).is_none().then(Instant::now))
}

/// Waits until the kernel has told a socket that its connection was reset. A reset of a half-closed connection is no end
/// that a read would show.
///
/// # Panics
/// If it was not.
#[track_caller]
pub fn until_reset(stream: &TcpStream) {
    Log::default().until("a reset", || stream.take_error().expect("it can be asked"));
}

/// One end speaks, and both must learn that it is over.
#[track_caller]
pub fn speaks(speaker: &TcpStream, other: &TcpStream) {
    speak(&[speaker], [speaker, other]);
}

/// These speak, and both ends must learn that it is over. What a speaker said is not acknowledged: its own kernel says it
/// again, and is answered.
#[track_caller]
pub fn speak(speakers: &[&TcpStream], both: [&TcpStream; 2]) {
    let mut told = vec![];
    for mut speaker in speakers.iter().copied() {
        // An error was told already, and is told only once.
        if speaker.write_all(b"still here").is_err() {
            told.push(std::ptr::from_ref(speaker));
        }
    }
    both.into_iter().filter(|end| !told.contains(&std::ptr::from_ref(*end))).for_each(until_reset);
}

/// Ends a grant before its time.
#[track_caller]
pub fn close(enforcer: &mut Enforcer, grant: u8, address: IpAddr) {
    let order = Order::Close { grant: [grant; 16], place: Place { service: 0, address } };
    let answer = enforcer.session.order(order);
    assert!(matches!(answer, Answer::Standing(_)), "{answer:?}");
}

/// The gateway's conntrack forgets every connection, as after an overflow or by an administrator's hand.
///
/// # Panics
/// If it does not.
pub fn forget_connections(site: &Site) {
    const DELETE: u16 = 2;
    site.gateway.within(|| {
        let mut socket = Socket::open(&[]).expect("root may open it");
        let mut request = socket.messages();
        request.message(CONNTRACK, DELETE, REQUEST | ACK, 0, |_| ());
        socket.ask(&request, |_| ()).expect("forgotten");
    });
}

/// Asks the kernel itself, and again, until it has the mark of a grant of this address: the first element of a grant.
///
/// # Panics
/// If it has none in time.
pub fn until_the_kernel_has(site: &Site, address: IpAddr) {
    until_the_kernel_has_within(site, address, crate::PATIENCE);
}

/// The same, for as long as this.
///
/// # Panics
/// If it has none in time.
pub fn until_the_kernel_has_within(site: &Site, address: IpAddr, patience: Duration) {
    let table = site.table();
    let at = At::new(&table, &Place { service: 0, address }).expect("the table has a service");
    let begun = Instant::now();
    site.gateway.within(|| {
        let mut socket = Socket::open(&[]).expect("root may open it");
        while mark(&mut socket, &at).expect("an answer").is_none() {
            assert!(begun.elapsed() < patience, "no grant of {address}");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    });
}

/// The addresses of a set's elements, as nft reads them.
///
/// # Panics
/// If there is no such set.
#[must_use]
pub fn elements(site: &Site, kind: &str, set: &str) -> Vec<IpAddr> {
    let text = site.gateway.output("nft", &["-j", "list", kind, "inet", "kmsgate", set]);
    let listed: Value = serde_json::from_str(&text).expect("JSON");
    let list = listed.get("nftables").and_then(|parts| parts.get(1)?.get(kind)?.get("elem")).cloned();
    let all = list.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|element| address_in(element).expect("an address")).collect()
}

fn address_in(value: &Value) -> Option<IpAddr> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Array(list) => list.iter().find_map(address_in),
        Value::Object(parts) => parts.values().find_map(address_in),
        _ => None,
    }
}

/// Addresses of everything that grants have in the kernel: of each set, sorted.
#[must_use]
pub fn all_elements(site: &Site, family: Family) -> [Vec<IpAddr>; 4] {
    let digit = if family == Family::V4 { 4 } else { 6 };
    let sets = [("set", "kms_open"), ("map", "kms_gen"), ("set", "kms_pass"), ("set", "live")];
    sets.map(|(kind, name)| {
        let mut addresses = elements(site, kind, &format!("{name}{digit}"));
        addresses.sort_unstable();
        addresses
    })
}

/// A site whose providers are played by the test: their addresses are routed to their hosts, and no kernel answers there.
#[must_use]
pub fn played_providers() -> Site {
    let mut site = Site::new();
    for family in Family::BOTH {
        for number in [0, 1] {
            let (real, played) = (family.provider(number), played(family, number));
            site = site.with(&format!("provider {real}"), &format!("provider {played}"));
            let version = if family == Family::V4 { "" } else { "-6 " };
            site.gateway.ip(&format!("{version}route add {} via {}", played.ip(), real.ip()));
        }
    }
    site
}

/// Such a provider's address.
#[must_use]
pub fn played(family: Family, number: usize) -> SocketAddr {
    let address = family.provider(number).to_string().replace(".2:", ".9:").replace("::2]", "::9]");
    address.parse().expect("an address")
}

/// Claims, answers and ends from here on.
#[must_use]
pub fn watch(enforcer: &Enforcer) -> Session {
    let mut session = enforcer.session();
    assert_eq!(session.order(Order::Watch), Answer::Done);
    session
}

/// Waits for the end of a connection from this address; how it stood then.
#[track_caller]
pub fn until_ended(watch: &mut Session, address: IpAddr) -> Carried {
    watch.until(|news| match news {
        News::Ended(ends, carried) if ends.client.ip() == address => Some(carried),
        _ => None,
    })
}
