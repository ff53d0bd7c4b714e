//! Every frame comes back as it was; nothing else is read.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use kmsgate_orders::order::{Answer, Carried, Carrier, Ends, News, Opening, Order, Place, Refused, Standing};
use kmsgate_orders::wire::{LONGEST, Malformed, Reply, frame};
use std::net::{IpAddr, SocketAddr};

fn place(address: &str) -> Place {
    Place { service: 3, address: address.parse::<IpAddr>().expect("an address") }
}

fn ends() -> Ends {
    let socket = |text: &str| text.parse::<SocketAddr>().expect("an address and port");
    Ends { client: socket("[2001:db8::7]:40000"), gateway: socket("192.0.2.1:1688") }
}

fn orders() -> Vec<Order> {
    let opening = Opening {
        grant: [7; 16],
        place: place("198.51.100.7"),
        deadline: u64::MAX,
        connections: 3,
        claimed: 1,
        carrier: Carrier::Kernel,
    };
    let at = place("2001:db8::7");
    vec![
        Order::Hello { version: 1, table: u64::MAX - 1 },
        Order::Open(opening),
        Order::Adopt(Opening { place: at, carrier: Carrier::Relay, ..opening }),
        Order::Close { grant: [9; 16], place: at },
        Order::State { place: at },
        Order::GiveBack { grant: [9; 16], place: at, count: 2 },
        Order::Connection(ends()),
        Order::Provider { service: 1, provider: 2, up: true },
        Order::Watch,
        Order::List,
        Order::Connections,
        Order::Cut(ends()),
    ]
}

fn replies() -> Vec<Reply> {
    let provider = "10.0.0.2:1688".parse().expect("an address and port");
    let carried = Carried {
        grant: Some([7; 16]),
        mark: 0x6b80_0001,
        provider,
        alive: true,
        answered: false,
        asked: true,
        by_provider: false,
        cut: true,
        bytes_in: 268,
        bytes_out: 260,
        lasted: 31,
    };
    let refusals = [
        Refused::Late,
        Refused::TooLong,
        Refused::NotListed,
        Refused::TooFast,
        Refused::Full,
        Refused::NoProvider,
        Refused::NotYet,
        Refused::Occupied,
        Refused::OtherTable,
        Refused::Kernel(28),
    ];
    let standing = Standing { grant: [7; 16], carrier: Carrier::Kernel, remaining: 200_000, claimed: 1, left: 0 };
    let answers = [Answer::Done, Answer::Absent, Answer::Standing(standing), Answer::Connection(carried)];
    let news = [
        News::Claimed(ends(), carried),
        News::Answered(ends(), carried),
        News::Ended(ends(), Carried { grant: None, ..carried }),
        News::Lost,
        News::Reinstalled,
        News::Found(place("198.51.100.7"), [1; 16]),
    ];
    let answers = answers.into_iter().chain(refusals.map(Answer::Refused));
    answers.map(|answer| Reply::Answer(77, answer)).chain(news.map(Reply::News)).collect()
}

/// What `read` makes of a frame, of each part of it, and of it with a byte more.
fn check<T: PartialEq + std::fmt::Debug>(wire: &[u8], value: &T, read: impl Fn(&[u8]) -> Result<T, Malformed>) {
    let (body, length) = frame(wire).expect("a good length").expect("a whole frame");
    assert_eq!(length, wire.len());
    assert!(body.len() <= LONGEST);
    assert_eq!(read(body).as_ref(), Ok(value));
    for cut in 0..wire.len() {
        assert_eq!(frame(&wire[..cut]), Ok(None), "{value:?} cut at {cut}");
    }
    for cut in 0..body.len() {
        assert!(read(&body[..cut]).is_err(), "{value:?} cut at {cut}");
    }
    assert_eq!(read(&[body, &[0]].concat()), Err(Malformed::Length), "{value:?} with a byte more");
}

#[test]
fn every_frame_comes_back_as_it_was_and_no_part_of_one() {
    for order in orders() {
        let mut wire = vec![];
        order.write(5, &mut wire);
        check(&wire, &(5, order), Order::read);
    }
    for reply in replies() {
        let mut wire = vec![];
        reply.write(&mut wire);
        check(&wire, &reply, Reply::read);
    }
}

#[test]
fn a_length_is_not_believed() {
    assert_eq!(frame(&[0, 4, 0, 0, 0, 0]), Err(Malformed::Length), "too short for a number and a kind");
    assert_eq!(frame(&[0, 129]), Err(Malformed::Length), "refused before its bytes are waited for");
    assert_eq!(frame(&[0xff, 0xff]), Err(Malformed::Length));
}

#[test]
fn values_outside_their_range_are_refused() {
    let open = |change: fn(&mut [u8])| {
        let mut wire = vec![];
        orders()[1].write(1, &mut wire);
        change(&mut wire[2..]);
        Order::read(&wire[2..])
    };
    assert!(open(|_| ()).is_ok());
    assert_eq!(open(|body| body[4] = 99), Err(Malformed::Kind(99)));
    assert_eq!(open(|body| body[22] = 5), Err(Malformed::Field), "a family of addresses");
    let no_connection = |body: &mut [u8]| {
        let at = body.len() - 4;
        body[at..].fill(0);
    };
    assert_eq!(open(no_connection), Err(Malformed::Field), "no connection at all");
    let mut mapped = vec![];
    Order::State { place: Place { service: 0, address: "::ffff:192.0.2.1".parse().expect("an address") } }
        .write(1, &mut mapped);
    assert_eq!(Order::read(&mapped[2..]), Err(Malformed::Field), "one address has one spelling");
}
