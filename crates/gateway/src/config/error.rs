//! What is wrong with a file, and where. What must never happen here: a secret shown because it stood on a bad line.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Everything that is wrong with one file, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named to us.
    pub file: PathBuf,
    /// Where in the file; None if the fault is in no line of it.
    pub at: Option<Place>,
    /// What is wrong and, where we know it, what to write instead.
    pub text: String,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters the fault covers on this line, at least 1.
    pub width: usize,
    /// The line itself, for showing; what may be a secret is cut off.
    pub source: String,
}

impl ConfigError {
    /// A fault of the file as a whole.
    pub(crate) fn whole(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), at: None, text: text.into() }
    }

    /// A fault at a stretch of the file's text.
    pub(crate) fn at(file: &Path, text: &str, span: &Range<usize>, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), at: Some(Place::find(text, span)), text: what.into() }
    }
}

impl Place {
    /// The place of a stretch of bytes in a text.
    fn find(text: &str, span: &Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(start..).unwrap_or_default();
        let whole = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        let covered = text.get(span.clone()).unwrap_or_default().split('\n').next().unwrap_or_default();
        let source = shown(whole);
        let left = source.chars().count().saturating_sub(column - 1);
        let width = covered.chars().count().min(left).max(1);
        Self { line: before.matches('\n').count() + 1, column, width, source }
    }
}

/// A line as it may be shown: the value of a key that sounds like a secret, and a URL with a user in it, are cut off.
fn shown(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else { return line.to_owned() };
    let name = key.trim().to_ascii_lowercase();
    let secret = ["password", "secret"].iter().any(|word| line.to_ascii_lowercase().contains(word)) || name == "key";
    let user_in_url = value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    if secret || user_in_url { format!("{key}= ...") } else { line.to_owned() }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(f, "{}:{}:{}: {}", self.file.display(), at.line, at.column, self.text),
            None => write!(f, "{}: {}", self.file.display(), self.text),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_characters_and_starts_at_one() {
        let text = "a = 1\nü = \"x\"\n";
        let at = Place::find(text, &(11..14));
        assert_eq!((at.line, at.column, at.width, at.source.as_str()), (2, 5, 3, "ü = \"x\""));
        assert_eq!(Place::find("", &(0..0)).line, 1);
    }

    #[test]
    fn p6_a_bad_line_does_not_show_its_secret() {
        for line in
            ["password = \"hunter2\"", "bind_password=\"hunter2\"", "key = \"hunter2\"", "url = \"a://b:hunter2@c\""]
        {
            assert!(!shown(line).contains("hunter2"), "{line}");
        }
        assert_eq!(shown("port = 1688"), "port = 1688");
    }
}
