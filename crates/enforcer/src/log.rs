//! The enforcer's own log: a line an order. What must never happen here: a line that serve could prevent.

use kmsgate_orders::order::{Answer, Order, Place};
use kmsgate_orders::table::Table;
use std::io::Write;

/// Writes lines to the standard error, which systemd or whoever started us keeps.
#[derive(Debug, Default)]
pub struct Line {
    waiting: Vec<u8>,
    /// When [`Line::seldom`] last said something.
    said: u64,
}

impl Line {
    /// A line in words.
    pub fn say(&mut self, text: &str) {
        self.waiting.extend_from_slice(b"kmsgate-enforcer: ");
        self.waiting.extend_from_slice(text.as_bytes());
        self.waiting.push(b'\n');
    }

    /// A line that anybody can cause: one a second at most, at `now` in nanoseconds since the boot.
    pub fn seldom(&mut self, text: &str, now: u64) {
        if now.saturating_sub(self.said) >= 1_000_000_000 {
            self.said = now;
            self.say(text);
        }
    }

    /// What was ordered, and what came of it. Readings are not written down.
    pub fn order(&mut self, table: &Table, order: &Order, answer: &Answer) {
        let place = |place: &Place| {
            let name = table.services.get(usize::from(place.service)).map_or("?", |service| service.name.as_str());
            format!("service={name} address={}", place.address)
        };
        let what = match order {
            // It stands as it was: that was a reading, and after a start there may be a million.
            Order::Adopt(_) if matches!(answer, Answer::Standing(_)) => return,
            Order::Open(opening) | Order::Adopt(opening) => format!(
                "{} grant={} {} carrier={:?} connections={} claimed={} deadline={}ns",
                if matches!(order, Order::Open(_)) { "open" } else { "adopt" },
                Name(&opening.grant),
                place(&opening.place),
                opening.carrier,
                opening.connections,
                opening.claimed,
                opening.deadline
            ),
            Order::Close { grant, place: at } => format!("close grant={} {}", Name(grant), place(at)),
            Order::GiveBack { grant, place: at, count } => {
                format!("give_back grant={} {} count={count}", Name(grant), place(at))
            }
            Order::Cut(ends) => format!("cut client={} gateway={}", ends.client, ends.gateway),
            Order::Provider { service, provider, up } => {
                format!("provider service={service} provider={provider} up={up}")
            }
            Order::Hello { .. }
            | Order::State { .. }
            | Order::Connection(_)
            | Order::Watch
            | Order::List
            | Order::Connections => return,
        };
        self.say(&format!("{what} answer={answer:?}"));
    }

    /// Hands over what was said. A log that cannot be written must not stop windows from closing: it is tried again with the
    /// next line, and what exceeds 1 MiB is dropped.
    pub fn flush(&mut self) {
        if std::io::stderr().write_all(&self.waiting).is_ok() || self.waiting.len() > 1 << 20 {
            self.waiting.clear();
        }
    }
}

struct Name<'a>(&'a [u8; 16]);

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&crate::elements::text_of(self.0)).unwrap_or("?"))
    }
}
