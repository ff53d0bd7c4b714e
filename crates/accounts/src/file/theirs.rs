//! Files of other programs as values: htpasswd's, and those like passwd(5) and shadow(5). What must never happen here: an account
//! without a password that lets somebody in.

use crate::hashes::{Allowed, Held, NotAHash, Stored};
use crate::verdict::{Account, Outage, Verdict};
use kmsgate_core::name::Name;
use std::collections::HashMap;

/// Every account of such a file.
#[derive(Debug, Default)]
pub struct TheirFile {
    /// Each with its line.
    records: HashMap<Name, (usize, Held)>,
    /// One of its hashes, for names that it does not have: time must not tell which it has.
    sample: Option<Stored>,
}

impl TheirFile {
    /// Reads `name:hash`, and whatever fields come behind. Lines that are empty or begin with `#`, and those whose name can be
    /// nobody's here, are passed over.
    ///
    /// # Errors
    /// The first line without a colon, or whose name stands on another line already.
    pub fn parse(text: &str, allowed: &Allowed) -> Result<Self, String> {
        let mut file = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, rest) = line.split_once(':').ok_or_else(|| format!("line {number}: no colon"))?;
            let hash = rest.split(':').next().unwrap_or_default().trim();
            let Ok(name) = Name::canonical(name) else { continue };
            let held = Held::parse(hash, allowed);
            if let (None, Held::Hash(stored)) = (&file.sample, &held) {
                file.sample = Some(stored.clone());
            }
            if file.records.insert(name, (number, held)).is_some() {
                return Err(format!("line {number}: the name stands on a line before it already"));
            }
        }
        Ok(file)
    }

    /// Is this password right for this name? Takes the time that the hash asks for.
    pub fn verify(&self, name: &str, password: &[u8]) -> Verdict {
        let record = Name::canonical(name).ok().and_then(|name| self.records.get_key_value(&name));
        let Some((name, (number, held))) = record else {
            if let Some(sample) = &self.sample {
                let _right = sample.verify(password);
            }
            return Verdict::NotMine;
        };
        match held.verify(password) {
            Ok(None) => Verdict::Accepted(Account { name: Some(name.to_string()), groups: Vec::new() }),
            Ok(Some(why)) => Verdict::Rejected(why),
            Err(why) => Verdict::Unavailable(Outage::account(format!("line {number}: {why}"))),
        }
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

    /// The first line whose hash is not taken, and why.
    #[must_use]
    pub fn not_taken(&self) -> Option<(usize, NotAHash)> {
        let not = self.records.values().filter_map(|held| match held {
            (number, Held::NotTaken(why)) => Some((*number, *why)),
            _ => None,
        });
        not.min_by_key(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashes::Form;
    use crate::verdict::Rejection;

    const SHA: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";

    fn says(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Accepted(_) => "accepted",
            Verdict::Rejected(Rejection::Credentials) => "wrong",
            Verdict::Rejected(Rejection::Unusable(_)) => "unusable",
            Verdict::NotMine => "unknown",
            Verdict::Unavailable(_) => "outage",
            Verdict::Challenge(_) => "challenge",
        }
    }

    #[test]
    fn each_line_is_what_its_second_field_says() {
        let text = format!(
            "# ours\n\nalice:{SHA}:1000:1000:Alice:/home/alice:/bin/sh\nbob:!{SHA}:19000::\nroot:*:\ndaemon:x:1:1\nopen::2:2\n\
             old:$1$saltsalt$9xy1btjgzLYfb7hivXtC//\nmad:plain text\n"
        );
        let file = TheirFile::parse(&text, &Allowed::default()).unwrap();
        assert_eq!(file.len(), 7);
        for (name, password, answer) in [
            ("alice", "secret", "accepted"),
            ("ALICE", "secret", "accepted"),
            ("alice", "Secret", "wrong"),
            ("bob", "secret", "unusable"),
            ("bob", "Secret", "wrong"),
            ("root", "*", "wrong"),
            ("daemon", "x", "wrong"),
            ("open", "", "wrong"),
            ("open", "secret", "wrong"),
            ("old", "secret", "outage"),
            ("mad", "plain text", "outage"),
            ("mallory", "secret", "unknown"),
        ] {
            assert_eq!(says(file.verify(name, password.as_bytes())), answer, "{name} {password}");
        }
        assert_eq!(file.not_taken(), Some((8, NotAHash::NotAllowed(Form::Md5Crypt))));
        let named = TheirFile::parse(&text, &Allowed(vec![Form::Md5Crypt])).unwrap();
        assert_eq!(says(named.verify("old", b"secret")), "accepted");
        assert_eq!(says(named.verify("alice", b"secret")), "outage", "what is not named is not taken");
    }

    #[test]
    fn a_line_without_a_colon_and_a_name_twice_are_told() {
        let bad = |text: &str| TheirFile::parse(text, &Allowed::default()).unwrap_err();
        assert_eq!(bad("alice:x\nbob\n"), "line 2: no colon");
        assert!(bad("alice:x\nAlice:y\n").starts_with("line 2: the name stands"));
    }
}
