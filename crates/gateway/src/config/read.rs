//! The one way in which a table of the file is read: every key that is asked for is known from then on, every other key
//! is an error, and every value knows its place. A section is always finished; there is no way to forget it.

use super::error::{ConfigError, ConfigErrors};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Which keys a parser asked for, by section: `portal` has `listen`, `rule.quota` has `week`.
pub(crate) type Known = BTreeMap<String, BTreeSet<String>>;

/// A file being read. Collects everything that is wrong with it.
pub(crate) struct Reader<'i> {
    file: &'i Path,
    text: &'i str,
    errors: RefCell<Vec<(usize, ConfigError)>>,
    known: RefCell<Known>,
}

impl<'i> Reader<'i> {
    /// Reads the whole of a text by `read` and gives what it made, or everything that is wrong.
    pub(crate) fn whole<T>(
        file: &'i Path,
        text: &'i str,
        read: impl FnOnce(&Section<'_, 'i>) -> T,
    ) -> (Result<T, ConfigErrors>, Known) {
        let reader = Self { file, text, errors: RefCell::default(), known: RefCell::default() };
        let (table, faults) = DeTable::parse_recoverable(text);
        if !faults.is_empty() {
            for fault in faults {
                let span = fault.span().unwrap_or(0..0);
                reader.fail(&span, fault.message().to_owned());
            }
            return (Err(reader.into_errors()), Known::new());
        }
        let root = Section::new(&reader, String::new(), Some(table.get_ref()), 0..0);
        let made = read(&root);
        root.finish();
        drop(root);
        let known = reader.known.take();
        let errors = reader.into_errors();
        (if errors.0.is_empty() { Ok(made) } else { Err(errors) }, known)
    }

    fn fail(&self, span: &Range<usize>, text: String) {
        let error = ConfigError::at(self.file, self.text, span, text);
        self.errors.borrow_mut().push((span.start, error));
    }

    fn into_errors(self) -> ConfigErrors {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|(start, _)| *start);
        ConfigErrors(errors.into_iter().map(|(_, error)| error).collect())
    }
}

/// A stretch of the file.
pub(crate) type Span = Range<usize>;

/// A value with its place, for checks that need more than one key.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Its place.
    pub(crate) span: Span,
}

/// A table of the file: one section, one inline table, or the file itself. May be absent, then it has no key.
pub(crate) struct Section<'r, 'i> {
    reader: &'r Reader<'i>,
    /// `portal`, `rule.quota`; empty for the file itself.
    path: String,
    table: Option<&'r DeTable<'i>>,
    span: Span,
    known: RefCell<BTreeSet<&'static str>>,
    /// Keys of the agreed shape that this version refuses: no unknown keys, and no suggestions either.
    refused: RefCell<BTreeSet<&'static str>>,
    list: bool,
    left: Cell<bool>,
}

impl<'r, 'i> Section<'r, 'i> {
    fn new(reader: &'r Reader<'i>, path: String, table: Option<&'r DeTable<'i>>, span: Span) -> Self {
        Self {
            reader,
            path,
            table,
            span,
            known: RefCell::default(),
            refused: RefCell::default(),
            list: false,
            left: Cell::new(false),
        }
    }

    /// Where the section begins.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Records a fault.
    pub(crate) fn fail(&self, span: &Span, text: impl Into<String>) {
        self.reader.fail(span, text.into());
    }

    /// The value of a key, as `of` reads it. None if it is absent or wrong; what is wrong is recorded.
    pub(crate) fn take<T>(&self, key: &'static str, of: impl FnOnce(Value<'r, 'i>) -> Option<T>) -> Option<T> {
        self.known.borrow_mut().insert(key);
        self.find(key).and_then(of)
    }

    /// As [`Section::take`]; an absent key is a fault.
    pub(crate) fn need<T>(&self, key: &'static str, of: impl FnOnce(Value<'r, 'i>) -> Option<T>) -> Option<T> {
        self.known.borrow_mut().insert(key);
        match self.find(key) {
            Some(value) => of(value),
            None => {
                self.fail(&self.span, format!("{} has no {key:?}; it is needed", self.title()));
                None
            }
        }
    }

    /// Whether the key stands in the file.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// A key of the agreed shape of which this version carries out no value.
    pub(crate) fn not_yet(&self, key: &'static str) {
        self.refused.borrow_mut().insert(key);
        if let Some(key_span) = self.key_span(key) {
            let what = if self.path.is_empty() { format!("[{key}]") } else { format!("{key:?} in {}", self.title()) };
            self.fail(&key_span, format!("{what} is not carried out by this version"));
        }
    }

    /// Nothing more is said of this section's keys: what it is for is not carried out at all, and that was said.
    pub(crate) fn leave(&self) {
        self.left.set(true);
    }

    /// A key of the agreed shape of which this version carries out `false` alone.
    pub(crate) fn only_false(&self, key: &'static str) {
        self.take(key, |value| {
            if value.boolean()? {
                value.fail(format!("{key} = true is not carried out by this version; leave it false"));
            }
            Some(())
        });
    }

    /// A section `[key]`; read as an empty one if it is absent.
    pub(crate) fn section<T>(&self, key: &'static str, read: impl FnOnce(&Section<'r, 'i>) -> T) -> T {
        self.known.borrow_mut().insert(key);
        let found = self.find(key);
        let (table, span) = match found {
            Some(value) => {
                if value.value.as_table().is_none() {
                    value.fail(format!("must be a section, written [{key}], and there can be only one"));
                }
                (value.value.as_table(), value.span)
            }
            None => (None, 0..0),
        };
        let section = Section::new(self.reader, key.to_owned(), table, span);
        let made = read(&section);
        section.finish();
        made
    }

    /// All sections `[[key]]`.
    pub(crate) fn sections<T>(&self, key: &'static str, mut read: impl FnMut(&Section<'r, 'i>) -> Option<T>) -> Vec<T> {
        self.known.borrow_mut().insert(key);
        let Some(value) = self.find(key) else { return Vec::new() };
        let Some(array) = value.value.as_array() else {
            value.fail(format!("must be written [[{key}]], with two brackets: there may be several"));
            return Vec::new();
        };
        let mut made = Vec::new();
        for entry in array.iter() {
            let Some(table) = entry.get_ref().as_table() else {
                self.fail(&entry.span(), format!("must be written as a section [[{key}]]"));
                continue;
            };
            let mut section = Section::new(self.reader, key.to_owned(), Some(table), entry.span());
            section.list = true;
            made.extend(read(&section));
            section.finish();
        }
        made
    }

    /// Every key that nobody asked for is a fault.
    fn finish(&self) {
        let known = self.known.borrow();
        let refused = self.refused.borrow();
        self.reader
            .known
            .borrow_mut()
            .entry(self.path.clone())
            .or_default()
            .extend(known.iter().map(|key| (*key).to_owned()));
        if self.left.get() {
            return;
        }
        for (key, value) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if known.contains(name) || refused.contains(name) {
                continue;
            }
            let hint = nearest(name, known.iter().copied());
            let text = if self.path.is_empty() && (value.get_ref().is_table() || value.get_ref().is_array()) {
                let hint = hint.map_or(String::new(), |near| format!("; did you mean [{near}]?"));
                format!("unknown section [{name}]{hint}")
            } else {
                let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                format!("unknown key {name:?} in {}{hint}", self.title())
            };
            self.fail(&key.span(), text);
        }
    }

    /// As the file writes it.
    pub(crate) fn title(&self) -> String {
        match (self.path.as_str(), self.path.split_once('.')) {
            ("", _) => "the file".to_owned(),
            (path, None) if self.list => format!("[[{path}]]"),
            (path, None) => format!("[{path}]"),
            (_, Some((_, inner))) => inner.to_owned(),
        }
    }

    fn find(&self, key: &str) -> Option<Value<'r, 'i>> {
        let value = self.table?.get(key)?;
        Some(Value {
            reader: self.reader,
            path: if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) },
            key: key.to_owned(),
            value: value.get_ref(),
            span: value.span(),
        })
    }

    /// The place of a key's name.
    pub(crate) fn key_span(&self, key: &str) -> Option<Span> {
        self.table?.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(name, _)| name.span())
    }
}

/// A value of the file with its place.
#[derive(Clone)]
pub(crate) struct Value<'r, 'i> {
    reader: &'r Reader<'i>,
    path: String,
    key: String,
    value: &'r DeValue<'i>,
    span: Span,
}

impl<'r, 'i> Value<'r, 'i> {
    /// Records a fault of this value.
    pub(crate) fn fail(&self, text: impl std::fmt::Display) {
        self.reader.fail(&self.span, format!("{}: {text}", self.key));
    }

    /// Its place.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The directory from which relative paths count: the file's own.
    pub(crate) fn directory(&self) -> PathBuf {
        self.reader.file.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// A text.
    pub(crate) fn text(&self) -> Option<&'r str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong("a text in quotes");
        }
        text
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        let boolean = self.value.as_bool();
        if boolean.is_none() {
            self.wrong("true or false, without quotes");
        }
        boolean
    }

    /// A whole number that is not negative.
    pub(crate) fn integer(&self) -> Option<u64> {
        let Some(integer) = self.value.as_integer() else {
            self.wrong("a whole number, without quotes");
            return None;
        };
        let number = u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok();
        if number.is_none() {
            self.fail(format!("{integer} is out of range"));
        }
        number
    }

    /// Whether it is a text, without a fault if it is not.
    pub(crate) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// The values of a list.
    pub(crate) fn list(&self) -> Option<Vec<Value<'r, 'i>>> {
        let Some(array) = self.value.as_array() else {
            self.wrong("a list, such as [\"...\", \"...\"]");
            return None;
        };
        Some(array.iter().map(|entry| Value { value: entry.get_ref(), span: entry.span(), ..self.clone() }).collect())
    }

    /// A table with keys that we know.
    pub(crate) fn table<T>(&self, read: impl FnOnce(&Section<'r, 'i>) -> T) -> Option<T> {
        let Some(table) = self.value.as_table() else {
            self.wrong("a table, such as { key = ... }");
            return None;
        };
        let section = Section::new(self.reader, self.path.clone(), Some(table), self.span.clone());
        let made = read(&section);
        section.finish();
        Some(made)
    }

    /// A table whose keys are the site's own.
    pub(crate) fn entries(&self) -> Option<Vec<(At<String>, Value<'r, 'i>)>> {
        let Some(table) = self.value.as_table() else {
            self.wrong("a table, such as { \"name\" = ... }");
            return None;
        };
        let entry = |(key, value): (&'r toml::Spanned<std::borrow::Cow<'i, str>>, &'r toml::Spanned<DeValue<'i>>)| {
            let name = At { value: key.get_ref().to_string(), span: key.span() };
            (name, Value { value: value.get_ref(), span: value.span(), ..self.clone() })
        };
        Some(table.iter().map(entry).collect())
    }

    fn wrong(&self, wanted: &str) {
        let is = match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fail(format!("must be {wanted}; it is {is}"));
    }
}

/// The known name that is meant, if one is near enough that a slip of the hand explains it.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|near| {
            let other = near.to_lowercase().replace('-', "_");
            let begins = other.len().min(lower.len()) >= 4 && (lower.starts_with(&other) || other.starts_with(&lower));
            (if begins { 1 } else { strsim::damerau_levenshtein(&lower, &other) }, near)
        })
        .filter(|(distance, near)| *distance <= (near.chars().count().max(3)) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_a_slip_explains() {
        let known = ["connections", "port", "window", "url"];
        assert_eq!(nearest("conections", known), Some("connections"));
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("Window", known), Some("window"));
        assert_eq!(nearest("colour", known), None);
    }
}
