//! What goes over the wire, as values (RFC 4511). What must never happen here: an answer believed that is not whole, more kept of
//! one than was asked for.

use super::ber::{ENUMERATED, INTEGER, Malformed, OCTETS, Reader, SEQUENCE, SET, Writer};
use super::filter::{Filter, Places};

/// `startTLS` (RFC 4511 section 4.14).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// Password policy for LDAP directories (draft-behera-ldap-password-policy-10 section 6): asked with, and in the answer.
const POLICY: &[u8] = b"1.3.6.1.4.1.42.2.27.8.5.1";
/// Longest diagnostic message that is kept, in characters.
const LONGEST_WORDS: usize = 200;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// Who are you, with this password (simple bind, section 4.2).
    Bind {
        /// A distinguished name, or what else the server takes for one.
        name: &'a str,
        /// Never empty: that would be an anonymous bind (section 5.1.2 of RFC 4513).
        password: &'a str,
        /// Whether to be told about the state of the account.
        policy: bool,
    },
    /// Shall we talk TLS?
    StartTls,
    /// Which entries match (section 4.5).
    Search(&'a Search<'a>),
    /// Goodbye (section 4.3).
    Unbind,
}

/// A search.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Below which entry, or this one alone.
    pub base: &'a str,
    /// Whether the whole subtree, or the one entry.
    pub subtree: bool,
    /// What matches.
    pub filter: &'a Filter,
    /// What stands at its places.
    pub places: Places<'a>,
    /// What is to be told of each entry; nothing if empty.
    pub attributes: &'a [&'a str],
    /// Most entries; 0 for as many as the server tells.
    pub most: u32,
}

/// What is said to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The answer to a bind.
    Bound(Outcome),
    /// The answer to StartTLS, or a notice that nobody asked for.
    Extended(Outcome),
    /// An entry that matches.
    Entry(Entry),
    /// Others might know more. Not asked.
    Reference,
    /// All matching entries have been told.
    Done(Outcome),
    /// Something that we did not ask for.
    Other,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `resultCode` (RFC 4511 appendix A).
    pub code: u32,
    /// `diagnosticMessage`, for the log: no control characters, not longer than 200.
    pub words: String,
    /// The error of the password policy's control, if there is one.
    pub policy: Option<u32>,
}

/// An entry, as far as was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its distinguished name.
    pub dn: String,
    /// What was asked of it: descriptions and values. Values that are no text are left out.
    pub attributes: Vec<(String, Vec<String>)>,
}

impl Request<'_> {
    /// Writes it whole.
    #[must_use]
    pub fn written(&self, number: u32) -> Writer {
        let secret = if let Self::Bind { password, .. } = self { password.len() } else { 0 };
        let mut out = Writer::with_room(1024 + secret);
        out.nested(SEQUENCE, |out| {
            out.number(INTEGER, number);
            match self {
                Self::Bind { name, password, policy } => {
                    out.nested(0x60, |out| {
                        out.number(INTEGER, 3);
                        out.octets(name.as_bytes());
                        out.value(0x80, password.as_bytes());
                    });
                    if *policy {
                        // Not critical: whoever does not know it ignores it.
                        out.nested(0xa0, |out| out.nested(SEQUENCE, |out| out.octets(POLICY)));
                    }
                }
                Self::StartTls => out.nested(0x77, |out| out.value(0x80, START_TLS)),
                Self::Search(search) => search.write(out),
                Self::Unbind => out.value(0x42, &[]),
            }
        });
        out
    }
}

impl Search<'_> {
    fn write(&self, out: &mut Writer) {
        out.nested(0x63, |out| {
            out.octets(self.base.as_bytes());
            out.number(ENUMERATED, if self.subtree { 2 } else { 0 });
            // Aliases are not followed: what stands there may be anybody's to write.
            out.number(ENUMERATED, 0);
            out.number(INTEGER, self.most);
            out.number(INTEGER, 0);
            out.value(super::ber::BOOLEAN, &[0]);
            self.filter.write(self.places, out);
            // `1.1` is no attribute (section 4.5.1.8): none at all would mean every one.
            let attributes: &[&str] = if self.attributes.is_empty() { &["1.1"] } else { self.attributes };
            out.nested(SEQUENCE, |out| attributes.iter().for_each(|attribute| out.octets(attribute.as_bytes())));
        });
    }
}

impl Said {
    /// Reads a whole message: to which request it belongs, and what it says.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(bytes: &[u8]) -> Result<(u32, Self), Malformed> {
        let mut message = Reader::new(bytes).expect(SEQUENCE)?;
        let number = message.number(INTEGER)?;
        let (tag, mut body) = message.take()?;
        let said = match tag {
            0x61 => Self::Bound(Outcome { policy: policy(message)?, ..outcome(&mut body)? }),
            0x64 => Self::Entry(entry(&mut body)?),
            0x65 => Self::Done(outcome(&mut body)?),
            0x73 => Self::Reference,
            0x78 => Self::Extended(outcome(&mut body)?),
            _ => Self::Other,
        };
        Ok((number, said))
    }
}

fn outcome(body: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    let code = body.number(ENUMERATED)?;
    let _matched = body.expect(OCTETS)?;
    let words = String::from_utf8_lossy(body.expect(OCTETS)?.bytes()).into_owned();
    let shown = words.chars().take(LONGEST_WORDS).map(|c| if c.is_control() { ' ' } else { c });
    Ok(Outcome { code, words: shown.collect::<String>().trim().to_owned(), policy: None })
}

/// The error in the password policy's control among those behind an answer.
fn policy(mut behind: Reader<'_>) -> Result<Option<u32>, Malformed> {
    if behind.is_empty() {
        return Ok(None);
    }
    let mut controls = behind.expect(0xa0)?;
    while !controls.is_empty() {
        let mut control = controls.expect(SEQUENCE)?;
        if control.expect(OCTETS)?.bytes() != POLICY {
            continue;
        }
        while !control.is_empty() {
            // Its criticality may stand before its value.
            let (OCTETS, value) = control.take()? else { continue };
            let mut value = Reader::new(value.bytes()).expect(SEQUENCE)?;
            while !value.is_empty() {
                let (tag, content) = value.take()?;
                if let (0x81, [error]) = (tag, content.bytes()) {
                    return Ok(Some(u32::from(*error)));
                }
            }
        }
    }
    Ok(None)
}

fn entry(body: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Malformed);
    let dn = text(body.expect(OCTETS)?.bytes())?;
    let mut list = body.expect(SEQUENCE)?;
    let mut attributes = vec![];
    while !list.is_empty() {
        let mut one = list.expect(SEQUENCE)?;
        let name = text(one.expect(OCTETS)?.bytes())?;
        let mut set = one.expect(SET)?;
        let mut values = vec![];
        while !set.is_empty() {
            values.extend(text(set.expect(OCTETS)?.bytes()));
        }
        attributes.push((name, values));
    }
    Ok(Entry { dn, attributes })
}

impl Entry {
    /// The values of an attribute, whatever its case and options.
    pub fn values<'a>(&'a self, attribute: &'a str) -> impl Iterator<Item = &'a str> {
        let of = |name: &str| name.split(';').next().is_some_and(|name| name.eq_ignore_ascii_case(attribute));
        let all = self.attributes.iter().filter(move |(name, _)| of(name));
        all.flat_map(|(_, values)| values.iter().map(String::as_str))
    }

    /// Whether the server told a part of an attribute's values only (MS-ADTS section 3.1.1.3.1.3.3).
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.attributes.iter().any(|(name, _)| name.to_ascii_lowercase().contains(";range="))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_policys_control_is_read() {
        let mut out = Writer::with_room(0);
        out.nested(SEQUENCE, |out| {
            out.number(INTEGER, 7);
            out.nested(0x61, |out| {
                out.number(ENUMERATED, 49);
                out.octets(b"");
                out.octets(b"no\r\nway");
            });
            out.nested(0xa0, |out| {
                out.nested(SEQUENCE, |out| out.octets(b"1.2.3"));
                out.nested(SEQUENCE, |out| {
                    out.octets(POLICY);
                    out.octets(&[0x30, 3, 0x81, 1, 1]);
                });
            });
        });
        let outcome = Outcome { code: 49, words: "no  way".to_owned(), policy: Some(1) };
        assert_eq!(Said::read(out.bytes()), Ok((7, Said::Bound(outcome))));
    }

    #[test]
    fn an_entry_is_read_and_its_attributes_are_found_in_any_case() {
        let mut out = Writer::with_room(0);
        out.nested(SEQUENCE, |out| {
            out.number(INTEGER, 2);
            out.nested(0x64, |out| {
                out.octets("uid=josé,dc=example".as_bytes());
                out.nested(SEQUENCE, |out| {
                    for (name, values) in [("memberOf", &["a", "b"][..]), ("member;range=0-1", &["c"])] {
                        out.nested(SEQUENCE, |out| {
                            out.octets(name.as_bytes());
                            out.nested(SET, |out| values.iter().for_each(|value| out.octets(value.as_bytes())));
                        });
                    }
                });
            });
        });
        let Ok((2, Said::Entry(entry))) = Said::read(out.bytes()) else { panic!("no entry") };
        assert_eq!(entry.dn, "uid=josé,dc=example");
        assert_eq!(entry.values("MEMBEROF").collect::<Vec<_>>(), ["a", "b"]);
        assert!(entry.is_cut_short());
    }

    /// The bytes of RFC 4511 section 4.14.1's request, in our longer lengths.
    #[test]
    fn requests_are_as_the_grammar_says() {
        let bytes = Request::StartTls.written(1);
        let mut message = Reader::new(bytes.bytes()).expect(SEQUENCE).unwrap();
        assert_eq!(message.number(INTEGER), Ok(1));
        let mut request = message.expect(0x77).unwrap();
        assert_eq!(request.expect(0x80).unwrap().bytes(), START_TLS);
        assert!(request.is_empty() && message.is_empty());

        let bind = Request::Bind { name: "cn=a", password: "secret", policy: true }.written(2);
        let mut message = Reader::new(bind.bytes()).expect(SEQUENCE).unwrap();
        message.number(INTEGER).unwrap();
        let mut request = message.expect(0x60).unwrap();
        assert_eq!(request.number(INTEGER), Ok(3));
        assert_eq!(request.expect(OCTETS).unwrap().bytes(), b"cn=a");
        assert_eq!(request.expect(0x80).unwrap().bytes(), b"secret");
        assert_eq!(message.take().unwrap().0, 0xa0);
    }
}
