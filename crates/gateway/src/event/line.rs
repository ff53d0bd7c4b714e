//! The contract's lines: an event as `kind key=value ...`. What must never happen here: a value that ends the line, or
//! that turns the reader's terminal round.

use kmsgate_core::grant::State;
use kmsgate_ledger::records::{Event, GrantRecord, What};
use std::fmt;

/// Longest value, in bytes, before quoting.
pub const LONGEST: usize = 256;

/// A line under construction. Values are escaped when it is written, so no line can be malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    kind: &'static str,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    /// A line of this kind.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self { kind, fields: Vec::new() }
    }

    /// One more `key=value`.
    #[must_use]
    pub fn field(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.fields.push((key, value.to_string()));
        self
    }

    /// The same if there is a value.
    #[must_use]
    pub fn maybe(self, key: &'static str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    /// The same line as one JSON object: the moment as `time`, the kind as `event`, then every field as a string.
    #[must_use]
    pub fn json(&self, at: jiff::Timestamp) -> String {
        let mut text = format!("{{\"time\":\"{at:.3}\",\"event\":\"{}\"", self.kind);
        for (key, value) in &self.fields {
            text.push_str(&format!(",\"{key}\":"));
            quote(&mut text, cut(value));
        }
        text.push('}');
        text
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        self.fields.iter().try_for_each(|(key, value)| {
            let mut text = String::with_capacity(value.len() + 2);
            escape(&mut text, cut(value));
            write!(f, " {key}={text}")
        })
    }
}

/// The message part of an event's line.
#[must_use]
pub fn message(event: &Event) -> String {
    line(&event.what).to_string()
}

/// What kind of event it is: RFC 5424's MSGID, and `event` in JSON.
#[must_use]
pub fn kind(what: &What) -> &'static str {
    match what {
        What::Granted(_) => "granted",
        What::Renewed(_) => "renewed",
        What::Claimed(..) => "claimed",
        What::Ended(..) => "ended",
        What::Closed(_) => "closed",
        What::Refused(_) => "refused",
        What::QuotaReset { .. } => "quota_reset",
    }
}

/// An event as a line.
#[must_use]
pub fn line(what: &What) -> Line {
    let line = Line::new(kind(what));
    match what {
        What::Granted(grant) | What::Renewed(grant) => {
            let line = of(line, grant).field("window", seconds(grant)).field("rule", &grant.rule);
            let line = line.maybe("shared", grant.shared.then_some("yes"));
            let voucher = grant.note.as_ref().map(|_| &grant.voucher);
            line.maybe("voucher", voucher).maybe("note", grant.note.as_ref())
        }
        What::Claimed(grant, claim) => of(line, grant)
            .field("connection", claim.number)
            .field("client", claim.client)
            .field("provider", claim.provider),
        What::Ended(grant, end) => of(line, grant)
            .field("connection", end.number)
            .field("answered", yes(end.answered))
            .field("given_back", yes(end.given_back))
            .field("bytes_in", end.bytes_in)
            .field("bytes_out", end.bytes_out)
            .field("seconds", tenths(u64::try_from(end.lasted.as_millis()).unwrap_or(u64::MAX))),
        What::Closed(grant) => closed(line, grant),
        What::Refused(refused) => line
            .field("user", &refused.person)
            .field("source", refused.source)
            .field("service", &refused.service)
            .field("reason", refused.reason)
            .maybe("rule", refused.rule.as_ref()),
        What::QuotaReset { person, operator } => line.field("user", person).field("operator", operator),
    }
}

fn of(line: Line, grant: &GrantRecord) -> Line {
    line.field("user", &grant.person)
        .field("source", grant.source)
        .field("service", &grant.service)
        .field("grant", grant.id)
}

fn closed(line: Line, grant: &GrantRecord) -> Line {
    let line = of(line, grant);
    let State::Closed(cause, totals) = grant.state else { return line };
    line.field("cause", cause)
        .field("claims", totals.claims)
        .maybe("given_back", (totals.given_back > 0).then_some(totals.given_back))
        .field("bytes_in", totals.bytes_in)
        .field("bytes_out", totals.bytes_out)
        .field("seconds", tenths(totals.milliseconds))
        .maybe("provider", grant.provider)
}

fn seconds(grant: &GrantRecord) -> String {
    format!("{}s", grant.window.ends_at.duration_since(grant.window.opened_at).as_secs())
}

fn tenths(milliseconds: u64) -> String {
    format!("{}.{}", milliseconds / 1000, milliseconds % 1000 / 100)
}

fn yes(whether: bool) -> &'static str {
    if whether { "yes" } else { "no" }
}

/// Bare if every character is in `[A-Za-z0-9._:@/+-]`, else a JSON string (RFC 8259 section 7) with control and bidi
/// characters escaped.
fn escape(line: &mut String, value: &str) {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@/+-".contains(&byte)) {
        line.push_str(value);
        return;
    }
    quote(line, value);
}

/// At most [`LONGEST`] bytes of the value.
fn cut(value: &str) -> &str {
    value.get(..value.floor_char_boundary(LONGEST)).unwrap_or_default()
}

fn quote(line: &mut String, value: &str) {
    line.push('"');
    value.chars().for_each(|character| escape_character(line, character));
    line.push('"');
}

fn escape_character(line: &mut String, character: char) {
    match character {
        '"' | '\\' => {
            line.push('\\');
            line.push(character);
        }
        _ if character.is_control() || turns_text(character) => {
            character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
        }
        _ => line.push(character),
    }
}

/// Characters that reorder or hide text: bidi controls (Unicode UAX 9 section 2), line and paragraph separators, zero
/// widths, the byte order mark.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn f11_a_value_never_leaves_its_place() {
        for (value, written) in [
            ("campus/alice", "campus/alice"),
            ("2001:db8::1", "2001:db8::1"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("a\r\ngranted user=root", r#""a\u000d\u000agranted user=root""#),
            ("say \"no\" \\", r#""say \"no\" \\""#),
            ("\u{202e}evil", "\"\\u202eevil\""),
            ("愛麗絲", "\"愛麗絲\""),
        ] {
            assert_eq!(Line::new("x").field("k", value).to_string(), format!("x k={written}"), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn f11_every_value_comes_back_whole(value in any::<String>()) {
            let line = Line::new("x").field("k", &value).to_string();
            prop_assert!(!line.chars().any(|c| c.is_control() || turns_text(c)));
            let written = line.strip_prefix("x k=").unwrap();
            let quoted = written.starts_with('"');
            let back: String = if quoted { serde_json::from_str(written).unwrap() } else { written.to_owned() };
            prop_assert!(value.starts_with(&back));
            prop_assert!(back.len() > LONGEST - 4 || back == value);
            let json = Line::new("x").field("k", &value).json(jiff::Timestamp::UNIX_EPOCH);
            prop_assert!(!json.chars().any(|c| c.is_control() || turns_text(c)));
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(json["k"].as_str(), Some(back.as_str()));
        }
    }
}
