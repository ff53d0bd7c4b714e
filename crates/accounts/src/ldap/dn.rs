//! Distinguished names as texts (RFC 4514): a name put into one, the value of the first part taken out of one. What must never
//! happen here: a name that adds a part.

/// A name as an attribute's value within a distinguished name: every character that could mean something is escaped as
/// bytes (RFC 4514 section 2.4).
#[must_use]
pub fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_alphanumeric() || matches!(character, '.' | '-' | '_' | '@') {
            text.push(character);
        } else {
            for byte in character.to_string().bytes() {
                text.push_str(&format!("\\{byte:02x}"));
            }
        }
    }
    text
}

/// The value of the first part: `staff` of `cn=staff,ou=groups,dc=example`. None if it is a number or several values, or if
/// the text is no distinguished name.
#[must_use]
pub fn first_value(dn: &str) -> Option<String> {
    let (attribute, rest) = dn.split_once('=')?;
    if !super::filter::is_attribute(attribute.trim()) || rest.starts_with('#') {
        return None;
    }
    let mut bytes = vec![];
    let mut left = rest.trim_start();
    loop {
        let mut characters = left.chars();
        match characters.next() {
            None | Some(',' | ';') => break,
            Some('+') => return None,
            Some('\\') => {
                let digits = left.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let (byte, length) = match (digits, characters.next()) {
                    (Some(byte), _) => (vec![byte], 3),
                    (None, Some(character)) => (character.to_string().into_bytes(), 1 + character.len_utf8()),
                    (None, None) => return None,
                };
                bytes.extend(byte);
                left = left.get(length..)?;
            }
            Some(character) => {
                bytes.extend(character.to_string().bytes());
                left = characters.as_str();
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|value| !value.is_empty())
}

/// The attribute whose value in this template is the whole name: `uid` of `uid={user},ou=people,dc=example`.
#[must_use]
pub fn user_attribute(template: &str) -> Option<&str> {
    let before = template.split_once("={user}")?.0;
    let attribute = before.rsplit([',', '+']).next()?.trim();
    super::filter::is_attribute(attribute).then_some(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_one_value() {
        for name in [
            "alice",
            "a,ou=admins",
            "a+b",
            "a=b",
            "#1",
            " a ",
            "a\"b\\c",
            "\0",
            "\u{202e}x",
            "é",
            "*)(uid=*",
            "a;b<c>d",
        ] {
            let dn = format!("uid={},dc=example", escaped(name));
            assert_eq!(dn.matches(',').count(), 1, "{dn}");
            assert_eq!(first_value(&dn).as_deref(), Some(name), "{dn}");
        }
    }

    #[test]
    fn the_first_part_of_a_groups_name() {
        for (dn, value) in [
            ("cn=staff,ou=groups,dc=example", Some("staff")),
            ("CN=Domain Users,CN=Users,DC=ad,DC=example", Some("Domain Users")),
            ("cn=a\\, b,dc=example", Some("a, b")),
            ("cn=a\\2cb,dc=example", Some("a,b")),
            ("cn=one", Some("one")),
            ("cn=a+uid=b,dc=example", None),
            ("cn=#04024869,dc=example", None),
            ("no name", None),
            ("cn=,dc=example", None),
        ] {
            assert_eq!(first_value(dn).as_deref(), value, "{dn}");
        }
        assert_eq!(user_attribute("uid={user},ou=people,dc=example"), Some("uid"));
        assert_eq!(user_attribute("ou=x,cn={user},dc=example"), Some("cn"));
        assert_eq!(user_attribute("{user}@ad.example.edu"), None);
    }
}
