//! Search filters of the configuration (RFC 4515), read once. What must never happen here: a name that becomes part of a filter's
//! form: where one stands, its bytes go into an assertion's value as they are, and nothing is ever escaped or parsed again.

use super::ber::Writer;
use std::fmt;

/// Longest filter of a configuration.
const LONGEST: usize = 4096;
/// Deepest nesting.
const DEEPEST: usize = 16;

/// A filter with places for what is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Node);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// `&` (tag 0xa0) or `|` (0xa1).
    Many(u8, Vec<Node>),
    Not(Box<Node>),
    /// `=`, `>=`, `<=`, `~=`: tags 0xa3, 0xa5, 0xa6, 0xa8.
    Compare(u8, String, Value),
    Present(String),
    /// Tag 0x80 for the beginning, 0x81 for the middle, 0x82 for the end.
    Substrings(String, Vec<(u8, Value)>),
    Extensible {
        attribute: Option<String>,
        rule: Option<String>,
        of_dn: bool,
        value: Value,
    },
}

/// An assertion's value, in pieces.
type Value = Vec<Piece>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    User,
    Dn,
}

/// What stands at the places.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// `{user}`: the name that is asked for.
    pub user: &'a str,
    /// `{dn}`: the account's distinguished name.
    pub dn: &'a str,
}

/// Why a text is no filter, in words for the configuration's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFilter(String);

impl Filter {
    /// Reads a filter such as `(uid={user})`.
    ///
    /// # Errors
    /// [`NoFilter`] says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, NoFilter> {
        if text.len() > LONGEST {
            return Err(NoFilter(format!("is longer than {LONGEST} bytes")));
        }
        let mut rest = text;
        let node = node(&mut rest, DEEPEST)?;
        if rest.is_empty() { Ok(Self(node)) } else { Err(NoFilter(format!("has {rest:?} behind its end"))) }
    }

    /// `(objectClass=*)`: whatever is there.
    #[must_use]
    pub fn anything() -> Self {
        Self(Node::Present("objectClass".to_owned()))
    }

    /// `(member:1.2.840.113556.1.4.1941:={dn})`: groups that somebody is in, directly or through others (Active Directory's
    /// LDAP_MATCHING_RULE_IN_CHAIN, MS-ADTS section 3.1.1.3.4.4.3).
    #[must_use]
    pub fn in_chain() -> Self {
        Self(Node::Extensible {
            attribute: Some("member".to_owned()),
            rule: Some("1.2.840.113556.1.4.1941".to_owned()),
            of_dn: false,
            value: vec![Piece::Dn],
        })
    }

    /// The attribute that is first compared with the whole name.
    #[must_use]
    pub fn user_attribute(&self) -> Option<&str> {
        user_attribute(&self.0)
    }

    /// Whether `{user}` or `{dn}` stands anywhere.
    #[must_use]
    pub fn has_a_place(&self) -> bool {
        has_a_place(&self.0)
    }

    /// Writes it (RFC 4511 section 4.5.1.7).
    pub fn write(&self, places: Places<'_>, out: &mut Writer) {
        write(&self.0, places, out);
    }
}

fn user_attribute(node: &Node) -> Option<&str> {
    match node {
        Node::Many(_, nodes) => nodes.iter().find_map(user_attribute),
        Node::Compare(0xa3, attribute, value) if *value == [Piece::User] => Some(attribute),
        _ => None,
    }
}

fn has_a_place(node: &Node) -> bool {
    let placed = |value: &Value| value.iter().any(|piece| !matches!(piece, Piece::Bytes(_)));
    match node {
        Node::Many(_, nodes) => nodes.iter().any(has_a_place),
        Node::Not(node) => has_a_place(node),
        Node::Compare(_, _, value) | Node::Extensible { value, .. } => placed(value),
        Node::Present(_) => false,
        Node::Substrings(_, parts) => parts.iter().any(|(_, value)| placed(value)),
    }
}

fn write(node: &Node, places: Places<'_>, out: &mut Writer) {
    let bytes = |value: &Value| {
        let pieces = value.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.as_slice(),
            Piece::User => places.user.as_bytes(),
            Piece::Dn => places.dn.as_bytes(),
        });
        pieces.collect::<Vec<_>>().concat()
    };
    match node {
        Node::Many(tag, nodes) => out.nested(*tag, |out| nodes.iter().for_each(|node| write(node, places, out))),
        Node::Not(node) => out.nested(0xa2, |out| write(node, places, out)),
        Node::Compare(tag, attribute, value) => out.nested(*tag, |out| {
            out.octets(attribute.as_bytes());
            out.octets(&bytes(value));
        }),
        Node::Present(attribute) => out.value(0x87, attribute.as_bytes()),
        Node::Substrings(attribute, parts) => out.nested(0xa4, |out| {
            out.octets(attribute.as_bytes());
            out.nested(super::ber::SEQUENCE, |out| {
                parts.iter().for_each(|(tag, value)| out.value(*tag, &bytes(value)));
            });
        }),
        Node::Extensible { attribute, rule, of_dn, value } => out.nested(0xa9, |out| {
            if let Some(rule) = rule {
                out.value(0x81, rule.as_bytes());
            }
            if let Some(attribute) = attribute {
                out.value(0x82, attribute.as_bytes());
            }
            out.value(0x83, &bytes(value));
            if *of_dn {
                out.value(0x84, &[0xff]);
            }
        }),
    }
}

/// One filter in parentheses.
fn node(rest: &mut &str, depth: usize) -> Result<Node, NoFilter> {
    if depth == 0 {
        return Err(NoFilter(format!("is nested deeper than {DEEPEST}")));
    }
    take(rest, "(").ok_or_else(|| missing("(", rest))?;
    let node = if let Some(tag) =
        [("&", 0xa0), ("|", 0xa1)].into_iter().find_map(|(sign, tag)| take(rest, sign).map(|()| tag))
    {
        let mut nodes = vec![];
        while rest.starts_with('(') {
            nodes.push(self::node(rest, depth - 1)?);
        }
        Node::Many(tag, nodes)
    } else if take(rest, "!").is_some() {
        Node::Not(Box::new(self::node(rest, depth - 1)?))
    } else {
        item(rest)?
    };
    take(rest, ")").ok_or_else(|| missing(")", rest))?;
    Ok(node)
}

fn item(rest: &mut &str) -> Result<Node, NoFilter> {
    let end = rest.find(['=', '(', ')']).filter(|end| rest[*end..].starts_with('='));
    let Some((left, right)) = end.and_then(|end| Some((rest.get(..end)?, rest.get(end + 1..)?))) else {
        return Err(missing("=", rest));
    };
    let close = right.find(')').ok_or_else(|| missing(")", right))?;
    let (text, behind) = right.split_at(close);
    *rest = behind;
    if let Some(left) = left.strip_suffix(':') {
        return extensible(left, text);
    }
    for (sign, tag) in [('>', 0xa5), ('<', 0xa6), ('~', 0xa8)] {
        if let Some(left) = left.strip_suffix(sign) {
            return Ok(Node::Compare(tag, attribute(left)?, value(text)?));
        }
    }
    let left = attribute(left)?;
    if text == "*" {
        return Ok(Node::Present(left));
    }
    let parts: Vec<&str> = text.split('*').collect();
    let last = parts.len() - 1;
    if last == 0 {
        return Ok(Node::Compare(0xa3, left, value(text)?));
    }
    let mut found = vec![];
    for (place, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        let tag = match place {
            0 => 0x80,
            place if place == last => 0x82,
            _ => 0x81,
        };
        found.push((tag, value(part)?));
    }
    Ok(Node::Substrings(left, found))
}

/// `attribute:dn:rule:=value`; each part but the value may be left out, not attribute and rule together.
fn extensible(left: &str, text: &str) -> Result<Node, NoFilter> {
    let mut parts = left.split(':');
    let name = parts.next().filter(|name| !name.is_empty()).map(attribute).transpose()?;
    let mut parts = parts.peekable();
    let of_dn = parts.next_if(|part| part.eq_ignore_ascii_case("dn")).is_some();
    let rule = parts.next().map(attribute).transpose()?;
    if parts.next().is_some() || name.is_none() && rule.is_none() {
        return Err(NoFilter(format!("has {left:?} before \":=\", which is no attribute with a matching rule")));
    }
    Ok(Node::Extensible { attribute: name, rule, of_dn, value: value(text)? })
}

/// An attribute's description: a name or an OID, with options.
fn attribute(text: &str) -> Result<String, NoFilter> {
    let text = text.trim();
    if is_attribute(text) {
        Ok(text.to_owned())
    } else {
        Err(NoFilter(format!("has {text:?} where an attribute is to stand")))
    }
}

/// Whether this is an attribute's description (RFC 4512 section 2.5).
#[must_use]
pub fn is_attribute(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ';' | '.');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 255 && text.chars().all(good)
}

/// A value with `\XX` for any byte, and the places.
fn value(text: &str) -> Result<Value, NoFilter> {
    let mut pieces = vec![];
    let mut bytes = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let place = [("{user}", Piece::User), ("{dn}", Piece::Dn)];
        if let Some(piece) = place.into_iter().find_map(|(word, piece)| take(&mut rest, word).map(|()| piece)) {
            if !bytes.is_empty() {
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
            }
            pieces.push(piece);
            continue;
        }
        let mut characters = rest.chars();
        match characters.next() {
            Some('\\') => {
                let byte = rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(
                    byte.ok_or_else(|| NoFilter("has \"\\\" without two hexadecimal digits behind it".to_owned()))?,
                );
                rest = rest.get(3..).unwrap_or_default();
            }
            Some('{' | '}') => {
                return Err(NoFilter("has a brace that is neither {user} nor {dn}: write \\7b or \\7d".to_owned()));
            }
            Some('(') => return Err(NoFilter("has \"(\" within a value: write \\28".to_owned())),
            Some(character) => {
                bytes.extend(character.to_string().bytes());
                rest = characters.as_str();
            }
            None => break,
        }
    }
    if !bytes.is_empty() {
        pieces.push(Piece::Bytes(bytes));
    }
    Ok(pieces)
}

fn take(rest: &mut &str, sign: &str) -> Option<()> {
    *rest = rest.strip_prefix(sign)?;
    Some(())
}

fn missing(sign: &str, rest: &str) -> NoFilter {
    NoFilter(if rest.is_empty() {
        format!("lacks {sign:?} at its end")
    } else {
        format!("lacks {sign:?} before {rest:?}")
    })
}

impl fmt::Display for NoFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the filter {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ber::{OCTETS, Reader, SEQUENCE};
    use super::*;

    fn written(text: &str, user: &str) -> Vec<u8> {
        let mut out = Writer::with_room(0);
        Filter::parse(text).unwrap().write(Places { user, dn: "uid=alice,dc=example" }, &mut out);
        out.bytes().to_vec()
    }

    /// The value of a filter that compares.
    fn compared(bytes: &[u8]) -> (u8, String, Vec<u8>) {
        let (tag, mut inner) = Reader::new(bytes).take().unwrap();
        let attribute = String::from_utf8(inner.expect(OCTETS).unwrap().bytes().to_vec()).unwrap();
        (tag, attribute, inner.expect(OCTETS).unwrap().bytes().to_vec())
    }

    #[test]
    fn hostile_names_are_a_value_and_nothing_else() {
        for name in ["*)(uid=*", "alice", "a\\2ab", "*", ")(|(cn=*", "\0", "{dn}", "(&)"] {
            assert_eq!(compared(&written("(uid={user})", name)), (0xa3, "uid".to_owned(), name.as_bytes().to_vec()));
        }
        assert_eq!(compared(&written("(cn=x\\2a{user}y)", "*")).2, b"x**y");
        assert_eq!(compared(&written("(member={dn})", "")).2, b"uid=alice,dc=example");
    }

    #[test]
    fn every_form_of_rfc_4515_is_read() {
        for (text, tag) in [
            ("(&(objectClass=person)(!(cn=Tim Howes)))", 0xa0),
            ("(|(a=1)(b=2))", 0xa1),
            ("(&)", 0xa0),
            ("(!(cn=x))", 0xa2),
            ("(cn=)", 0xa3),
            ("(o=univ*of*mich*)", 0xa4),
            ("(seeAlso=*)", 0x87),
            ("(age>=21)", 0xa5),
            ("(age<=21)", 0xa6),
            ("(sn~=smith)", 0xa8),
            ("(cn:caseExactMatch:=Fred)", 0xa9),
            ("(cn:dn:2.4.6.8.10:=x)", 0xa9),
            ("(:1.2.3:=x)", 0xa9),
            ("(member:1.2.840.113556.1.4.1941:={dn})", 0xa9),
            ("(bin=\\04\\00)", 0xa3),
        ] {
            assert_eq!(written(text, "u").first(), Some(&tag), "{text}");
        }
        assert_eq!(Filter::parse("(member:1.2.840.113556.1.4.1941:={dn})"), Ok(Filter::in_chain()));
        let bytes = written("(o=univ*of*{user})", "mich");
        let mut parts = Reader::new(&bytes).take().unwrap().1;
        parts.expect(OCTETS).unwrap();
        let mut parts = parts.expect(SEQUENCE).unwrap();
        let parts: Vec<_> = std::iter::from_fn(|| parts.take().ok()).map(|(tag, part)| (tag, part.bytes())).collect();
        assert_eq!(parts, [(0x80, &b"univ"[..]), (0x81, b"of"), (0x82, b"mich")]);
    }

    #[test]
    fn what_is_none_is_refused_with_words() {
        let deep = format!("{}(a=b){}", "(!".repeat(20), ")".repeat(20));
        for (text, why) in [
            ("uid={user}", "lacks \"(\""),
            ("(uid={user}", "lacks \")\""),
            ("(uid)", "lacks \"=\""),
            ("(uid={name})", "brace"),
            ("(uid=a(b)", "\\28"),
            ("(uid=\\zz)", "hexadecimal"),
            ("(u id=a)", "attribute"),
            ("(a=b)(c=d)", "behind its end"),
            ("(:=x)", "matching rule"),
            (&deep, "deeper"),
        ] {
            let said = Filter::parse(text).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn the_attribute_of_the_name_is_the_first_that_is_compared_with_all_of_it() {
        for (text, attribute) in [
            ("(uid={user})", Some("uid")),
            ("(&(objectClass=person)(|(mail={user}@example.edu)(sAMAccountName={user})))", Some("sAMAccountName")),
            ("(cn=*{user}*)", None),
            ("(!(uid={user}))", None),
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.user_attribute(), attribute, "{text}");
            assert!(filter.has_a_place());
        }
        assert!(!Filter::anything().has_a_place());
    }
}
