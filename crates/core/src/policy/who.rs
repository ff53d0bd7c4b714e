//! Which people a denial or a rule means. What must never happen here: a name compared before it is canonical.

use crate::name::{Domain, Group, Name, NotAName, Person};
use std::fmt;
use std::str::FromStr;

/// Whom an entry of `users` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserPattern {
    /// `*`: everybody.
    Everybody,
    /// `domain/*`: everybody of a domain.
    Domain(Domain),
    /// `domain/name`: one person.
    Person(Person),
    /// `name`: whoever has this name, in every domain.
    Name(Name),
}

/// A text that is no pattern for users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAUserPattern {
    /// The part before the slash is empty.
    NoDomain,
    /// A `*` beside other characters. Only `*` and `domain/*` stand for many.
    Star,
    /// The name is none.
    Name(NotAName),
}

impl UserPattern {
    /// Whether it means this person.
    #[must_use]
    pub fn means(&self, person: &Person) -> bool {
        match self {
            Self::Everybody => true,
            Self::Domain(domain) => *domain == person.domain,
            Self::Person(one) => one == person,
            Self::Name(name) => *name == person.name,
        }
    }
}

impl FromStr for UserPattern {
    type Err = NotAUserPattern;

    /// A name with a slash in it can only be written with its domain: the first slash ends the domain.
    fn from_str(text: &str) -> Result<Self, NotAUserPattern> {
        let (domain, name) = match text.split_once('/') {
            None => (None, text),
            Some(("", _)) => return Err(NotAUserPattern::NoDomain),
            Some((domain, name)) => (Some(Domain::new(domain)), name),
        };
        if name != "*" && text.contains('*') {
            return Err(NotAUserPattern::Star);
        }
        let canonical = || Name::canonical(name).map_err(NotAUserPattern::Name);
        Ok(match (domain, name) {
            (None, "*") => Self::Everybody,
            (Some(domain), "*") => Self::Domain(domain),
            (None, _) => Self::Name(canonical()?),
            (Some(domain), _) => Self::Person(Person { domain, name: canonical()? }),
        })
    }
}

/// Whether a group, as the account server names it, is the one that a rule means.
///
/// The whole text decides, or for a distinguished name (RFC 4514) the value of its first relative name: `staff` means
/// `CN=staff,OU=Groups,DC=example,DC=edu`. Distinguished names match without regard to case, as their attributes do in
/// directories (caseIgnoreMatch, RFC 4519 section 2); other names must match exactly.
#[must_use]
pub fn group_is(group: &Group, wanted: &Group) -> bool {
    if group == wanted {
        return true;
    }
    let Some(value) = first_value(group.as_str()) else { return false };
    let wanted = wanted.as_str().to_lowercase();
    value.to_lowercase() == wanted || group.as_str().to_lowercase() == wanted
}

/// The value of a distinguished name's first relative name, unescaped; of several joined with `+`, the first.
fn first_value(text: &str) -> Option<String> {
    let (attribute, rest) = text.split_once('=')?;
    let attribute = attribute.trim();
    let attribute_type = attribute.starts_with(|first: char| first.is_ascii_alphanumeric())
        && attribute.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if !attribute_type {
        return None;
    }
    let mut value = Vec::new();
    let mut bytes = rest.trim_start().bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'+' | b';' => break,
            b'\\' => {
                let first = bytes.next()?;
                match hex(first) {
                    // A backslash before two hexadecimal digits is a byte of UTF-8 (RFC 4514 section 2.4).
                    Some(high) => value.push(high << 4 | hex(bytes.next()?)?),
                    None => value.push(first),
                }
            }
            other => value.push(other),
        }
    }
    String::from_utf8(value).ok().map(|value| value.trim_end().to_owned()).filter(|value| !value.is_empty())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl fmt::Display for UserPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            Self::Domain(domain) => write!(f, "{domain}/*"),
            Self::Person(person) => person.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for NotAUserPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDomain => f.write_str("there is no domain before the slash; write domain/name, name, or *"),
            Self::Star => f.write_str("* stands alone or as domain/*; part of a name it cannot be"),
            Self::Name(why) => write!(f, "{why}; write domain/name, name, or *"),
        }
    }
}

impl std::error::Error for NotAUserPattern {}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(domain: &str, name: &str) -> Person {
        Person { domain: Domain::new(domain), name: Name::canonical(name).expect("a name") }
    }

    #[test]
    fn users_are_meant_by_star_domain_person_or_name() {
        for (pattern, who, means) in [
            ("*", person("campus", "alice"), true),
            ("campus/*", person("campus", "alice"), true),
            ("campus/*", person("guests", "alice"), false),
            ("campus/alice", person("campus", "alice"), true),
            ("campus/ALICE", person("campus", "alice"), true),
            ("campus/alice", person("guests", "alice"), false),
            ("Alice", person("guests", "alice"), true),
            ("alice", person("campus", "bob"), false),
            ("campus/a/b", person("campus", "a/b"), true),
        ] {
            let parsed: UserPattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.means(&who), means, "{pattern} {who}");
        }
    }

    #[test]
    fn a_text_that_means_nobody_is_an_error() {
        for (text, why) in [
            ("", NotAUserPattern::Name(NotAName::Empty)),
            ("campus/", NotAUserPattern::Name(NotAName::Empty)),
            ("/alice", NotAUserPattern::NoDomain),
            ("al*", NotAUserPattern::Star),
            ("*/alice", NotAUserPattern::Star),
            ("alice bob", NotAUserPattern::Name(NotAName::Character)),
        ] {
            assert_eq!(text.parse::<UserPattern>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn a_group_is_its_whole_text_or_its_first_relative_name() {
        for (group, wanted, is) in [
            ("staff", "staff", true),
            ("Staff", "staff", false),
            ("CN=Staff,OU=Groups,DC=example,DC=edu", "staff", true),
            ("cn=staff,ou=groups,dc=example,dc=edu", "CN=Staff,OU=Groups,DC=example,DC=edu", true),
            ("CN=Staff,OU=Groups", "Groups", false),
            ("CN=staff\\, all,OU=Groups", "staff, all", true),
            ("CN=jos\\C3\\A9,OU=Groups", "josé", true),
            ("CN=staff+UID=7,OU=Groups", "staff", true),
            ("CN=staffroom,OU=Groups", "staff", false),
            ("CN=,OU=Groups", "", false),
            ("two words=staff", "staff", false),
            ("=staff", "staff", false),
            ("CN=staff\\", "staff", false),
        ] {
            assert_eq!(group_is(&Group::new(group), &Group::new(wanted)), is, "{group} {wanted}");
        }
    }
}
