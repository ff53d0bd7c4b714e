//! Until when a certificate is good: the one field of it that an operator forgets. What must never happen here: a panic at
//! bytes that are no certificate.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Tags of DER (ITU-T X.690 section 8.1.2) that lead to the field.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The last moment at which a certificate is good (`notAfter`, RFC 5280 section 4.1.2.5). None if these bytes are no
/// certificate.
#[must_use]
pub(super) fn ends(certificate: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = one(certificate, SEQUENCE)?;
    let (fields, _) = one(certificate, SEQUENCE)?;
    let fields = one(fields, VERSION).map_or(fields, |(_, rest)| rest);
    let (_, fields) = one(fields, INTEGER)?;
    let (_, fields) = one(fields, SEQUENCE)?;
    let (_, fields) = one(fields, SEQUENCE)?;
    let (validity, _) = one(fields, SEQUENCE)?;
    let (_, _, after) = any(validity)?;
    let (tag, text, _) = any(after)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// `YYMMDDHHMMSSZ`, of the years 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: i16 = digits.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, digits.get(2..)?)
        }
        GENERALIZED_TIME => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
        _ => return None,
    };
    let pair = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let civil = DateTime::new(year, pair(0)?, pair(2)?, pair(4)?, pair(6)?, pair(8)?, 0).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The value of the first element if it has this tag, and what follows it.
fn one(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, value, rest)| (value, rest))
}

/// Tag and value of the first element, and what follows it. Lengths of up to three bytes, which is 16 MiB.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_moment_are_read() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(time(UTC_TIME, "261123142100Z"), at("2026-11-23T14:21:00Z"));
        assert_eq!(time(UTC_TIME, "500101000000Z"), at("1950-01-01T00:00:00Z"));
        assert_eq!(time(GENERALIZED_TIME, "20500101000000Z"), at("2050-01-01T00:00:00Z"));
        for text in ["", "Z", "261323142100Z", "2611231421Z", "+61123142100Z", "261123142100"] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x84, 0, 0, 0, 1, 0], &[0x30, 0x05, 0x30], &[0xff; 64], &[0x30; 64]] {
            assert_eq!(ends(bytes), None, "{bytes:?}");
        }
    }
}
