//! Whatever bytes come, a reader says what they are or that they are nothing.

use kmsgate_orders::exercise;
use kmsgate_orders::order::{Answer, Carried, Carrier, Ends, News, Opening, Order, Place, Refused, Standing};
use kmsgate_orders::table::{Network, ProviderEntry, Refuse, ServiceEntry, Table};
use kmsgate_orders::wire::{Reply, frame};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

fn address() -> impl Strategy<Value = IpAddr> {
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()));
    let plain = v6.prop_filter("one address has one spelling", |v6| v6.to_canonical() == *v6);
    prop_oneof![any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())), plain]
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    (address(), any::<u16>()).prop_map(SocketAddr::from)
}

fn place() -> impl Strategy<Value = Place> {
    (any::<u8>(), address()).prop_map(|(service, address)| Place { service, address })
}

fn carrier() -> impl Strategy<Value = Carrier> {
    prop_oneof![Just(Carrier::Kernel), Just(Carrier::Relay)]
}

fn opening() -> impl Strategy<Value = Opening> {
    let counts = (1_u16..).prop_flat_map(|connections| (Just(connections), 0..=connections));
    let parts = (any::<[u8; 16]>(), place(), any::<u64>(), counts, carrier());
    parts.prop_map(|(grant, place, deadline, (connections, claimed), carrier)| Opening {
        grant,
        place,
        deadline,
        connections,
        claimed,
        carrier,
    })
}

fn ends() -> impl Strategy<Value = Ends> {
    (socket(), socket()).prop_map(|(client, gateway)| Ends { client, gateway })
}

fn carried() -> impl Strategy<Value = Carried> {
    let numbers = (any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>());
    (any::<Option<[u8; 16]>>(), numbers, socket(), any::<[bool; 5]>()).prop_map(
        |(grant, (mark, bytes_in, bytes_out, lasted), provider, [alive, answered, asked, by_provider, cut])| Carried {
            grant,
            asked,
            by_provider,
            cut,
            mark,
            provider,
            alive,
            answered,
            bytes_in,
            bytes_out,
            lasted,
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        (any::<u16>(), any::<u64>()).prop_map(|(version, table)| Order::Hello { version, table }),
        opening().prop_map(Order::Open),
        opening().prop_map(Order::Adopt),
        (any::<[u8; 16]>(), place()).prop_map(|(grant, place)| Order::Close { grant, place }),
        place().prop_map(|place| Order::State { place }),
        (any::<[u8; 16]>(), place(), any::<u16>()).prop_map(|(grant, place, count)| Order::GiveBack {
            grant,
            place,
            count
        }),
        ends().prop_map(Order::Connection),
        (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(service, provider, up)| Order::Provider {
            service,
            provider,
            up
        }),
        ends().prop_map(Order::Cut),
        Just(Order::Watch),
        Just(Order::List),
        Just(Order::Connections),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let standing = (any::<[u8; 16]>(), carrier(), any::<u64>(), any::<u16>(), any::<u16>())
        .prop_map(|(grant, carrier, remaining, claimed, left)| Standing { grant, carrier, remaining, claimed, left });
    let answer = prop_oneof![
        Just(Answer::Done),
        Just(Answer::Absent),
        standing.prop_map(Answer::Standing),
        carried().prop_map(Answer::Connection),
        any::<u16>().prop_map(|errno| Answer::Refused(Refused::Kernel(errno))),
    ];
    let news = prop_oneof![
        (ends(), carried()).prop_map(|(ends, carried)| News::Claimed(ends, carried)),
        (ends(), carried()).prop_map(|(ends, carried)| News::Answered(ends, carried)),
        (ends(), carried()).prop_map(|(ends, carried)| News::Ended(ends, carried)),
        Just(News::Lost),
        Just(News::Reinstalled),
        (place(), any::<[u8; 16]>()).prop_map(|(place, grant)| News::Found(place, grant)),
    ];
    prop_oneof![
        (any::<u32>(), answer).prop_map(|(number, answer)| Reply::Answer(number, answer)),
        news.prop_map(Reply::News),
    ]
}

fn network() -> impl Strategy<Value = Network> {
    prop_oneof![
        (any::<u32>(), 0..=32_u8).prop_map(|(bits, prefix)| {
            let first = bits & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Network { first: IpAddr::V4(first.into()), prefix }
        }),
        (any::<u128>(), 0..=128_u8).prop_map(|(bits, prefix)| {
            let first = bits & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Network { first: IpAddr::V6(first.into()), prefix }
        }),
    ]
}

fn host() -> impl Strategy<Value = SocketAddr> {
    let good = |socket: &SocketAddr| socket.port() != 0 && !socket.ip().is_unspecified() && !socket.ip().is_multicast();
    socket().prop_filter("the address of a host, and a port", good)
}

fn service(number: u16) -> impl Strategy<Value = ServiceEntry> {
    let provider = (host(), 1..=100_u8).prop_map(|(address, weight)| ProviderEntry { address, weight });
    ("[a-zA-Z][a-zA-Z0-9_]{0,20}", any::<u64>(), vec(provider, 0..4), vec(network(), 0..4)).prop_map(
        move |(name, max_bytes_in, providers, bypass)| ServiceEntry {
            name: format!("{name}_{number}"),
            port: number + 1,
            max_bytes_in,
            providers,
            bypass,
        },
    )
}

fn table() -> impl Strategy<Value = Table> {
    let words = (any::<bool>(), any::<bool>(), 24..=32_u32, 0..=8_u32);
    let numbers = (1..=43_200_u32, 1..=1_000_000_u32, 1..=16_000_000_u32);
    let services = (1..4_u16).prop_flat_map(|count| (0..count).map(service).collect::<Vec<_>>());
    let externals = vec("[a-zA-Z0-9_@-][a-zA-Z0-9_.@-]{0,14}", 1..4);
    let addresses = proptest::collection::btree_set(host().prop_map(|host| host.ip()), 0..4);
    ((externals, addresses), words, numbers, services).prop_map(
        |(
            (external, addresses),
            (reset, masquerade, bits, shift),
            (longest_window, opens_per_second, grants),
            services,
        )| Table {
            external,
            addresses: addresses.into_iter().collect(),
            refuse: if reset { Refuse::Reset } else { Refuse::Drop },
            masquerade,
            mark_mask: (u32::MAX >> (32 - bits)) << shift.min(32 - bits),
            longest_window,
            opens_per_second,
            grants,
            services,
        },
    )
}

proptest! {
    #[test]
    fn every_order_and_reply_comes_back(order in order(), number: u32, reply in reply()) {
        let mut bytes = vec![];
        order.write(number, &mut bytes);
        let (body, length) = frame(&bytes).expect("a good length").expect("a whole frame");
        prop_assert_eq!(Order::read(body), Ok((number, order)));
        let rest = &mut bytes.split_off(length);
        prop_assert!(rest.is_empty());
        bytes.clear();
        reply.write(&mut bytes);
        let (body, _) = frame(&bytes).expect("a good length").expect("a whole frame");
        prop_assert_eq!(Reply::read(body), Ok(reply));
    }

    #[test]
    fn every_table_comes_back(table in table()) {
        prop_assert_eq!(Table::parse(&table.write()), Ok(table));
    }

    #[test]
    fn any_bytes_are_an_order_or_nothing(bytes in vec(any::<u8>(), 0..300)) {
        exercise::wire(&bytes);
        exercise::table(&bytes);
    }

    #[test]
    fn a_damaged_order_is_another_or_nothing(order in order(), reply in reply(), at: prop::sample::Index, byte: u8) {
        let mut bytes = vec![];
        order.write(7, &mut bytes);
        reply.write(&mut bytes);
        let at = at.index(bytes.len());
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        exercise::wire(&bytes);
    }

    #[test]
    fn a_damaged_table_is_another_or_nothing(table in table(), at: prop::sample::Index, byte in "[ -~\n]") {
        let mut text = table.write();
        let at = at.index(text.len());
        text.replace_range(at..=at, &byte);
        exercise::table(text.as_bytes());
    }
}
