//! The account file as values: `name:hash` or `name:hash:group,group` a line; lines that are empty or begin with `#` are
//! left alone. What must never happen here: a line that is not understood taken for one that is.

use crate::file::hash::{Hashed, NotAHash};
use kmsgate_core::name::{Group, Name, NotAName};
use std::collections::HashMap;
use std::fmt;

/// Every account of a file, checked.
#[derive(Debug, Default)]
pub struct AccountFile {
    records: HashMap<Name, Record>,
}

/// One account.
#[derive(Debug, Clone)]
pub struct Record {
    /// Canonical, whatever the spelling in the file.
    pub name: Name,
    /// The hash of its password.
    pub hash: Hashed,
    /// Its groups.
    pub groups: Vec<Group>,
}

/// What a line is.
#[derive(Debug, Clone)]
pub enum Line {
    /// Empty or a comment.
    Remark,
    /// An account.
    Account(Record),
}

/// Why a file is no account file, and which line of it (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Which line.
    pub number: usize,
    /// What is wrong with it.
    pub why: BadLineWhy,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadLineWhy {
    /// No colon, or more than two.
    Form,
    /// The name.
    Name(NotAName),
    /// The hash.
    Hash(NotAHash),
    /// A group is empty or has a control character.
    Group,
    /// The same name, made canonical, stands on this line already.
    Twice(usize),
}

impl AccountFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// The first line that is wrong. Nothing of a bad file is taken.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut records = HashMap::new();
        let mut lines: HashMap<Name, usize> = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let bad = |why| BadLine { number, why };
            let Line::Account(record) = Line::parse(line).map_err(bad)? else { continue };
            if let Some(first) = lines.insert(record.name.clone(), number) {
                return Err(bad(BadLineWhy::Twice(first)));
            }
            records.insert(record.name.clone(), record);
        }
        Ok(Self { records })
    }

    /// The account of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Record> {
        self.records.get(&Name::canonical(name).ok()?)
    }

    /// The hash that costs most.
    #[must_use]
    pub fn dearest(&self) -> Option<&Hashed> {
        self.records.values().map(|record| &record.hash).max_by_key(|hash| hash.work())
    }

    /// How many accounts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Line {
    /// Reads one line without its end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, BadLineWhy> {
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(Self::Remark);
        }
        let mut fields = line.split(':');
        let (Some(name), Some(hash), groups, None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(BadLineWhy::Form);
        };
        let name = Name::canonical(name).map_err(BadLineWhy::Name)?;
        let hash = Hashed::parse(hash.trim()).map_err(BadLineWhy::Hash)?;
        let groups = match groups.map(str::trim) {
            None | Some("") => Vec::new(),
            Some(groups) => groups.split(',').map(group).collect::<Result<_, _>>()?,
        };
        Ok(Self::Account(Record { name, hash, groups }))
    }
}

/// A group as the file can hold it.
///
/// # Errors
/// [`BadLineWhy::Group`] if it is empty or has a comma, colon or control character.
pub fn group(text: &str) -> Result<Group, BadLineWhy> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(|c| matches!(c, ',' | ':') || c.is_control()) {
        return Err(BadLineWhy::Group);
    }
    Ok(Group::new(text))
}

impl fmt::Display for Record {
    /// As a line, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.hash)?;
        for (n, group) in self.groups.iter().enumerate() {
            write!(f, "{}{group}", if n == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.why)
    }
}

impl fmt::Display for BadLineWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("not of the form name:hash or name:hash:group,group"),
            Self::Name(why) => why.fmt(f),
            Self::Hash(why) => why.fmt(f),
            Self::Group => f.write_str("a group is empty or has a comma, a colon or a control character"),
            Self::Twice(line) => write!(f, "the same name, in another spelling perhaps, as on line {line}"),
        }
    }
}

impl std::error::Error for BadLine {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::hash::Cost;
    use proptest::prelude::*;

    fn hash() -> String {
        Hashed::new(b"secret", Cost { memory: 8, passes: 1, lanes: 1 }).unwrap().to_string()
    }

    #[test]
    fn a_file_is_names_hashes_groups_and_remarks() {
        let text = format!("# staff\n\nAlice:{0}:staff, it\nbob:{0}\ncarol:{0}:\n", hash());
        let file = AccountFile::parse(&text).unwrap();
        assert_eq!(file.len(), 3);
        assert_eq!(file.find("ALICE").unwrap().groups, [Group::new("staff"), Group::new("it")]);
        assert!(file.find("bob").unwrap().groups.is_empty());
        assert!(file.find("mallory").is_none());
        assert_eq!(file.find("alice").unwrap().to_string(), format!("alice:{}:staff,it", hash_of(&file, "alice")));
    }

    fn hash_of(file: &AccountFile, name: &str) -> String {
        file.find(name).unwrap().hash.to_string()
    }

    #[test]
    fn p4_two_spellings_in_one_file_are_an_error_that_names_both_lines() {
        let text = format!("# two\njosé:{0}\nJOSE\u{301}:{0}\n", hash());
        assert_eq!(AccountFile::parse(&text).unwrap_err(), BadLine { number: 3, why: BadLineWhy::Twice(2) });
    }

    #[test]
    fn a_bad_line_is_named_and_nothing_of_the_file_is_taken() {
        let good = format!("alice:{}", hash());
        for (bad, why) in [
            ("bob", BadLineWhy::Form),
            ("bob:x:y:z", BadLineWhy::Form),
            (":x", BadLineWhy::Name(NotAName::Empty)),
            ("bob:secret", BadLineWhy::Hash(NotAHash::Form)),
        ] {
            let text = format!("{good}\n{bad}\n");
            assert_eq!(AccountFile::parse(&text).unwrap_err(), BadLine { number: 2, why }, "{bad}");
        }
        let text = format!("{good}:a,,b");
        assert_eq!(AccountFile::parse(&text).unwrap_err().why, BadLineWhy::Group);
    }

    proptest! {
        #[test]
        fn any_text_is_a_file_or_an_error(text in any::<String>()) {
            drop(AccountFile::parse(&text));
        }
    }
}
