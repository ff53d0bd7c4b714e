//! What is asked of ypserv, what it answers, and the lines of its maps. Pure. What must never happen here: a record taken for
//! somebody whose name it does not have, an account without a password that lets somebody in.

use super::rpc::{self, Procedure};
use super::xdr::{Malformed, Reader, Writer};
use kmsgate_core::name::Group;
use std::fmt;

/// Longest name of a domain or a map, in bytes (YPMAXDOMAIN, YPMAXMAP).
pub const LONGEST_NAME: usize = 64;
/// Longest key or value taken, in bytes. The protocol's own bound is 1024, but ypserv serves groups beyond it.
pub const LONGEST_VALUE: usize = 64 << 10;
/// Most groups of one account.
pub const MOST_GROUPS: usize = 1024;

/// Whether a server serves a domain.
pub const DOMAIN: Procedure = Procedure { program: 100_004, version: 2, number: 1 };
/// The value of one key.
pub const MATCH: Procedure = Procedure { number: 3, ..DOMAIN };
/// Every key with its value.
pub const ALL: Procedure = Procedure { number: 8, ..DOMAIN };

/// Passwords, or `x` for them, by name.
pub const PASSWD: &str = "passwd.byname";
/// Groups by name.
pub const GROUP: &str = "group.byname";

/// Where the hash is, if not in [`PASSWD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hidden {
    /// `shadow.byname`.
    Shadow,
    /// `passwd.adjunct.byname`, of SunOS and its heirs.
    Adjunct,
}

impl Hidden {
    /// The map's name.
    #[must_use]
    pub fn map(self) -> &'static str {
        match self {
            Self::Shadow => "shadow.byname",
            Self::Adjunct => "passwd.adjunct.byname",
        }
    }
}

/// Arguments of [`DOMAIN`].
#[must_use]
pub fn serves(domain: &str) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.opaque(domain.as_bytes());
    writer.into_bytes()
}

/// Arguments of [`MATCH`].
#[must_use]
pub fn key(domain: &str, map: &str, key: &str) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.opaque(domain.as_bytes()).opaque(map.as_bytes()).opaque(key.as_bytes());
    writer.into_bytes()
}

/// Arguments of [`ALL`].
#[must_use]
pub fn every(domain: &str, map: &str) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.opaque(domain.as_bytes()).opaque(map.as_bytes());
    writer.into_bytes()
}

/// Why a server that answers does not give what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// YP_NOMAP: no such map, or not for us.
    Map,
    /// YP_NODOM.
    Domain,
    /// Any other status.
    Status(i32),
    /// Not an answer at all.
    Malformed,
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// YP_TRUE.
const TRUE: i32 = 1;
/// YP_NOMORE.
const NO_MORE: i32 = 2;
/// YP_NOKEY.
const NO_KEY: i32 = -3;

fn refusal(status: i32) -> Refusal {
    match status {
        -1 => Refusal::Map,
        -2 => Refusal::Domain,
        other => Refusal::Status(other),
    }
}

/// What [`DOMAIN`] answers.
///
/// # Errors
/// [`Refusal::Malformed`].
pub fn served(results: &[u8]) -> Result<bool, Refusal> {
    Ok(Reader::new(results).boolean()?)
}

/// What [`MATCH`] answers: none if the map does not have the key.
///
/// # Errors
/// [`Refusal`].
pub fn value(results: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let mut reader = Reader::new(results);
    match reader.signed()? {
        TRUE => Ok(Some(reader.opaque(LONGEST_VALUE)?)),
        NO_KEY => Ok(None),
        other => Err(refusal(other)),
    }
}

/// What [`ALL`] answers: gives each value to `each`.
///
/// # Errors
/// [`Refusal`]; what came before it has been given then.
pub fn values<'a>(results: &'a [u8], mut each: impl FnMut(&'a [u8])) -> Result<(), Refusal> {
    let mut reader = Reader::new(results);
    while reader.boolean()? {
        let status = reader.signed()?;
        let value = reader.opaque(LONGEST_VALUE)?;
        reader.opaque(LONGEST_VALUE)?;
        match status {
            TRUE => each(value),
            NO_MORE => {}
            other => return Err(refusal(other)),
        }
    }
    Ok(())
}

/// A line of passwd(5), as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passwd<'a> {
    /// A hash, or what stands for it.
    pub password: &'a str,
    /// The primary group's number.
    pub gid: &'a str,
}

/// Reads the line of this name; none if it is no such line, or somebody else's.
#[must_use]
pub fn passwd<'a>(line: &'a [u8], name: &str) -> Option<Passwd<'a>> {
    let mut fields = std::str::from_utf8(line).ok()?.split(':');
    let (own, password, _uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    (own == name).then_some(Passwd { password, gid })
}

impl Passwd<'_> {
    /// The map that has the hash, if this line has not.
    #[must_use]
    pub fn hidden(&self) -> Option<Hidden> {
        match self.password {
            "x" => Some(Hidden::Shadow),
            adjunct if adjunct.starts_with("##") => Some(Hidden::Adjunct),
            _ => None,
        }
    }
}

/// A line of shadow(5), as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow<'a> {
    /// A hash, or what stands for it.
    pub password: &'a str,
    /// Day of the last change, most days between changes, days of grace after them, day of the account's end: days since
    /// 1970, none if empty.
    days: [Option<i64>; 4],
}

/// Reads the line of this name; none if it is no such line, or somebody else's.
#[must_use]
pub fn shadow<'a>(line: &'a [u8], name: &str) -> Option<Shadow<'a>> {
    let mut fields = std::str::from_utf8(line).ok()?.trim_end().split(':');
    let (own, password) = (fields.next()?, fields.next()?);
    let mut day = |skipped: usize| fields.nth(skipped).and_then(|text| text.parse().ok());
    let days = [day(0), day(1), day(1), day(0)];
    (own == name).then_some(Shadow { password, days })
}

impl Shadow<'_> {
    /// Why the account cannot be used on this day since 1970, if it cannot (shadow(5)).
    #[must_use]
    pub fn unusable(&self, today: i64) -> Option<&'static str> {
        let [changed, most, grace, end] = self.days;
        // 0 as the account's end is not used by anybody in earnest (shadow(5) calls it ambiguous).
        if end.is_some_and(|end| end > 0 && today >= end) {
            return Some("the account has expired (shadow, field 8)");
        }
        match (changed, most) {
            (Some(0), _) => Some("the password must be changed first (shadow, field 3)"),
            (Some(changed), Some(most)) if most >= 0 && today > changed.saturating_add(most) => match grace {
                Some(grace) if grace >= 0 && today > changed.saturating_add(most).saturating_add(grace) => {
                    Some("the password expired, and its days of grace too (shadow, fields 5 and 7)")
                }
                _ => Some("the password has expired and must be changed first (shadow, field 5)"),
            },
            _ => None,
        }
    }
}

/// The groups of somebody among the lines of group(5): those that name them, and the one of their primary number.
#[derive(Debug)]
pub struct Membership<'a> {
    name: &'a str,
    gid: &'a str,
    found: Vec<Group>,
}

impl<'a> Membership<'a> {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(name: &'a str, gid: &'a str) -> Self {
        Self { name, gid, found: vec![] }
    }

    /// Looks at a line. What is no line of a group names nobody.
    pub fn look(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else { return };
        let mut fields = line.trim_end().split(':');
        let (Some(group), Some(_), Some(gid), members) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        let named = members.unwrap_or_default().split(',').any(|member| member.trim() == self.name);
        if (named || gid == self.gid) && !group.is_empty() && self.found.len() < MOST_GROUPS {
            self.found.push(Group::new(group));
        }
    }

    /// The groups.
    #[must_use]
    pub fn groups(self) -> Vec<Group> {
        self.found
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map => f.write_str("has no such map, or not for us (YP_NOMAP): its ypserv.conf and securenets say who is told what"),
            Self::Domain => f.write_str("does not serve this domain, or not to us (YP_NODOM): the path of `url` names it, `securenets` whom it serves"),
            Self::Status(status) => write!(f, "answers with the status {status}"),
            Self::Malformed => f.write_str("answered with something that is no answer of ypserv's"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Everything above over any bytes: what the fuzz target `nis_reply` calls.
pub fn exercise(bytes: &[u8]) {
    let own = bytes.first_chunk::<4>().map_or(0, |xid| u32::from_be_bytes(*xid));
    if let Ok(results) = rpc::results(own, bytes) {
        assert!(results.len() + 24 <= bytes.len(), "results are behind a header");
        look(results);
    }
    assert!(bytes.len() < 4 || rpc::results(!own, bytes).is_err(), "another call's reply is not ours");
    look(bytes);
}

fn look(results: &[u8]) {
    if let Ok(Some(port)) = rpc::port(results) {
        assert!(port > 0, "0 is no port");
    }
    assert!(served(results).is_err() || results.len() >= 4, "a boolean has four bytes");
    if let Ok(Some(value)) = value(results) {
        assert!(value.len() <= LONGEST_VALUE.min(results.len()), "a value is bounded");
        lines(value);
    }
    let mut member = Membership::new("alice", "1000");
    values(results, |value| {
        assert!(value.len() <= LONGEST_VALUE, "a value is bounded");
        member.look(value);
    })
    .ok();
    assert!(member.groups().len() <= MOST_GROUPS, "groups are bounded");
    lines(results);
}

fn lines(line: &[u8]) {
    if let Some(passwd) = passwd(line, "alice") {
        assert!(line.starts_with(b"alice:") && passwd.password.len() < line.len(), "nobody else's");
    }
    if let Some(shadow) = shadow(line, "alice") {
        assert!(line.starts_with(b"alice:"), "nobody else's");
        assert!(shadow.unusable(20_000).is_none_or(|why| !why.is_empty()), "a reason is given");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status(status: i32, value: &str) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(status.cast_unsigned()).opaque(value.as_bytes());
        writer.into_bytes()
    }

    #[test]
    fn a_question_is_three_strings() {
        assert_eq!(key("campus", PASSWD, "bob"), b"\0\0\0\x06campus\0\0\0\0\0\x0dpasswd.byname\0\0\0\0\0\0\x03bob\0");
    }

    #[test]
    fn each_status_is_told_apart() {
        assert_eq!(value(&status(1, "alice:x")), Ok(Some(&b"alice:x"[..])));
        assert_eq!(value(&status(-3, "")), Ok(None));
        assert_eq!(value(&status(-1, "")), Err(Refusal::Map));
        assert_eq!(value(&status(-2, "")), Err(Refusal::Domain));
        assert_eq!(value(&status(-6, "")), Err(Refusal::Status(-6)));
        assert_eq!(value(&status(0, "")), Err(Refusal::Status(0)));
        assert_eq!(value(&[0, 0, 0, 1, 0, 1, 0, 1, b'x', 0, 0, 0]), Err(Refusal::Malformed));
    }

    #[test]
    fn every_value_comes_until_there_are_no_more() {
        let mut writer = Writer::default();
        for (status, value, key) in [(1, "staff:*:50:bob,alice", "staff"), (1, "none:*:51:", "none"), (2, "", "")] {
            writer.number(1).number(status).opaque(value.as_bytes()).opaque(key.as_bytes());
        }
        writer.number(0);
        let bytes = writer.into_bytes();
        let mut found = vec![];
        assert_eq!(values(&bytes, |value| found.push(value)), Ok(()));
        assert_eq!(found, [&b"staff:*:50:bob,alice"[..], b"none:*:51:"]);
        assert_eq!(values(&bytes[..bytes.len() - 4], |_| ()), Err(Refusal::Malformed), "an end that is cut off");
    }

    #[test]
    fn a_line_is_somebodys() {
        let line = b"alice:$6$a$b:1000:50:Alice:/home/alice:/bin/sh";
        let found = passwd(line, "alice").unwrap();
        assert_eq!((found.password, found.gid, found.hidden()), ("$6$a$b", "50", None));
        assert_eq!(passwd(line, "alic"), None);
        assert_eq!(passwd(b"alice:x:1000", "alice"), None);
        assert_eq!(passwd(b"alice:x:1:2", "alice").and_then(|found| found.hidden()), Some(Hidden::Shadow));
        assert_eq!(passwd(b"alice:##alice:1:2", "alice").and_then(|found| found.hidden()), Some(Hidden::Adjunct));
        assert_eq!(shadow(b"alice:h", "alice").map(|found| found.unusable(20_000)), Some(None));
        assert_eq!(shadow(b"alice:h", "bob"), None);
    }

    #[test]
    fn shadow_5_says_who_cannot_be_used() {
        for (fields, word) in [
            ("19000:0:99999:7:::", None),
            (":::::20001:", None),
            (":::::20000:", Some("the account has expired")),
            ("0:0:99999:7:::", Some("must be changed")),
            ("19000:0:1000:7:::", None),
            ("19000:0:999:7:::", Some("must be changed first (shadow, field 5)")),
            ("19000:0:900:7:30::", Some("days of grace")),
            ("19000:0:-1:7:30::", None),
            ("9223372036854775807:0:9223372036854775807:7:1::", None),
        ] {
            let line = format!("alice:h:{fields}");
            let why = shadow(line.as_bytes(), "alice").unwrap().unusable(20_000);
            assert_eq!(why.is_some(), word.is_some(), "{fields}: {why:?}");
            assert!(why.unwrap_or_default().contains(word.unwrap_or_default()), "{fields}: {why:?}");
        }
    }

    #[test]
    fn groups_are_those_that_name_somebody_and_the_primary_one() {
        let mut member = Membership::new("alice", "50");
        for line in ["staff:*:50:bob", "lab:*:51:bob,alice", "malice:*:52:malice,alice2", "x", "", ":*:50:", "odd:*:53"]
        {
            member.look(line.as_bytes());
        }
        assert_eq!(member.groups(), [Group::new("staff"), Group::new("lab")]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            exercise(&bytes);
        }
    }
}
