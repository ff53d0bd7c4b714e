//! An event as an RFC 5424 message. What must never happen here: a header that a value from outside can change.

use super::line::{kind, message};
use jiff::Timestamp;
use kmsgate_ledger::records::{Event, What};

/// Facility local0 (RFC 5424 table 1).
const LOCAL0: u8 = 16;
/// UTF-8's mark before the message (RFC 5424 section 6.4).
const BOM: &str = "\u{feff}";
/// Longest HOSTNAME, in bytes (RFC 5424 section 6).
const LONGEST_HOST: usize = 255;

/// What every message of this process has in its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    host: String,
    process: u32,
}

impl Header {
    /// A node's name and a process's number. Bytes that a HOSTNAME may not have (RFC 5424 section 6: PRINTUSASCII) become
    /// hyphens.
    #[must_use]
    pub fn new(node: &str, process: u32) -> Self {
        let printable = |c: char| if c.is_ascii_graphic() { c } else { '-' };
        let host: String = node.chars().take(LONGEST_HOST).map(printable).collect();
        Self { host: if host.is_empty() { "-".to_owned() } else { host }, process }
    }

    /// `<PRI>1 TIMESTAMP HOSTNAME kmsgate PROCID MSGID - BOM MSG`: no structured data, the line's kind as MSGID.
    #[must_use]
    pub fn message(&self, event: &Event) -> String {
        let priority = LOCAL0 * 8 + severity(&event.what);
        let (at, host, process, id) = (moment(event.at), &self.host, self.process, kind(&event.what));
        format!("<{priority}>1 {at} {host} kmsgate {process} {id} - {BOM}{}", message(event))
    }
}

/// RFC 3339 in UTC with milliseconds, as RFC 5424 section 6.2.3 narrows it.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// RFC 5424 table 2: what an operator looks for is a warning, what happens to a grant a notice, the rest is information.
fn severity(what: &What) -> u8 {
    match what {
        What::Refused(_) => 4,
        What::Granted(_) | What::Closed(_) | What::QuotaReset { .. } => 5,
        What::Renewed(_) | What::Claimed(..) | What::Ended(..) => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kmsgate_core::address::Source;
    use kmsgate_core::name::{Domain, Name, Person, RuleName, ServiceName};
    use kmsgate_core::reason::Reason;
    use kmsgate_ledger::records::Refused;

    #[test]
    fn a_message_is_rfc_5424s_to_the_byte() {
        let person = Person { domain: Domain::new("campus"), name: Name::canonical("alice").unwrap() };
        let refused = Refused {
            person: person.clone(),
            server: None,
            source: Source::new([198, 51, 100, 7].into()),
            service: ServiceName::new("kms"),
            reason: Reason::QuotaExhausted,
            rule: Some(RuleName::new("students and guests")),
        };
        let at: Timestamp = "2026-08-13T12:00:00.25Z".parse().unwrap();
        let header = Header::new("gw1", 4711);
        assert_eq!(
            header.message(&Event { number: 1, at, what: What::Refused(refused) }),
            "<132>1 2026-08-13T12:00:00.250Z gw1 kmsgate 4711 refused - \u{feff}refused user=campus/alice \
             source=198.51.100.7 service=kms reason=quota_exhausted rule=\"students and guests\""
        );
        let what = What::QuotaReset { person, operator: "root".to_owned() };
        assert_eq!(
            header.message(&Event { number: 2, at, what }),
            "<133>1 2026-08-13T12:00:00.250Z gw1 kmsgate 4711 quota_reset - \u{feff}quota_reset user=campus/alice \
             operator=root"
        );
    }

    #[test]
    fn f11_a_nodes_name_cannot_change_the_header() {
        assert_eq!(Header::new("a b\n愛", 1).host, "a-b--");
        assert_eq!(Header::new("", 1).host, "-");
        assert_eq!(Header::new(&"x".repeat(1000), 1).host.len(), LONGEST_HOST);
    }
}
