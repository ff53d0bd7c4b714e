//! At the end of a window both ends of its connections are reset, as soon as one speaks (F09).

use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::scene::{acquaint, both_ends, close, listener, one_provider, speak, until_closed};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Who speaks, and whose way was closed in good order before.
const WAYS: [Way; 5] = [
    Way { person: true, provider: false, closed: Closed::None },
    Way { person: false, provider: true, closed: Closed::None },
    Way { person: true, provider: true, closed: Closed::None },
    Way { person: false, provider: true, closed: Closed::Persons },
    Way { person: true, provider: false, closed: Closed::Providers },
];

#[derive(Debug, Clone, Copy)]
struct Way {
    person: bool,
    provider: bool,
    closed: Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    None,
    Persons,
    Providers,
}

impl Way {
    fn half_close(self, person: &TcpStream, provider: &TcpStream) {
        let (closing, other) = match self.closed {
            Closed::None => return,
            Closed::Persons => (person, provider),
            Closed::Providers => (provider, person),
        };
        closing.shutdown(Shutdown::Write).unwrap();
        assert_eq!(std::io::Read::read(&mut &*other, &mut [0; 1]).unwrap(), 0);
    }

    fn ends(self, person: &TcpStream, provider: &TcpStream) {
        let speakers: &[_] = match (self.person, self.provider) {
            (true, false) => &[person],
            (false, true) => &[provider],
            _ => &[person, provider],
        };
        speak(speakers, [person, provider]);
    }
}

#[test]
fn f09_at_the_end_both_ends_are_reset_within_a_second_when_one_speaks() {
    kernel_needs!();
    for family in Family::BOTH {
        let site = one_provider();
        let mut enforcer = site.enforcer();
        let listens = listener(&site, family);
        acquaint(&site, &mut enforcer, &listens, family);
        let mut connections = vec![];
        for (number, way) in (0..).zip(WAYS) {
            let address = family.person(number);
            enforcer.open(1, address, 2, 1);
            let (person, provider) = both_ends(&site, &listens, address);
            way.half_close(&person, &provider);
            connections.push((way, address, person, provider));
        }
        std::thread::scope(|scope| {
            for (way, address, person, provider) in &connections {
                let end = until_closed(&mut enforcer, *address);
                scope.spawn(move || {
                    way.ends(person, provider);
                    assert!(end.elapsed() < Duration::from_secs(1), "{way:?} {:?}", end.elapsed());
                });
            }
        });
    }
}

#[test]
fn f09_at_a_close_both_ends_are_reset_at_once_when_one_speaks() {
    kernel_needs!();
    for family in Family::BOTH {
        let site = one_provider();
        let mut enforcer = site.enforcer();
        let listens = listener(&site, family);
        acquaint(&site, &mut enforcer, &listens, family);
        for (number, way) in (0..).zip(WAYS) {
            let address = family.person(number);
            enforcer.open(1, address, 60, 1);
            let (person, provider) = both_ends(&site, &listens, address);
            way.half_close(&person, &provider);
            close(&mut enforcer, 1, address);
            let end = Instant::now();
            way.ends(&person, &provider);
            assert!(end.elapsed() < Duration::from_secs(1), "{way:?} {:?}", end.elapsed());
        }
    }
}
