//! RADIUS packets, both ways (RFC 2865, 2869 section 5.14, 2548). Pure: bytes in, values out. What must never happen here: an
//! answer believed before its authenticators were checked (CVE-2024-3596), a length that is not, a panic.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Longest packet, in bytes (RFC 2865 section 3).
pub const LONGEST: usize = 4096;
/// Code, identifier, length, authenticator.
pub const HEADER: usize = 20;
/// Longest value of an attribute.
pub const LONGEST_VALUE: usize = 253;
/// Longest password of User-Password (RFC 2865 section 5.2).
pub const LONGEST_PASSWORD: usize = 128;
/// Microsoft's number (RFC 2548 section 2).
pub const MICROSOFT: u32 = 311;

/// Attributes that are sent or read.
pub mod attribute {
    /// User-Name.
    pub const USER_NAME: u8 = 1;
    /// User-Password.
    pub const USER_PASSWORD: u8 = 2;
    /// Service-Type.
    pub const SERVICE_TYPE: u8 = 6;
    /// Filter-Id.
    pub const FILTER_ID: u8 = 11;
    /// Reply-Message.
    pub const REPLY_MESSAGE: u8 = 18;
    /// State.
    pub const STATE: u8 = 24;
    /// Class.
    pub const CLASS: u8 = 25;
    /// Vendor-Specific.
    pub const VENDOR_SPECIFIC: u8 = 26;
    /// Calling-Station-Id.
    pub const CALLING_STATION_ID: u8 = 31;
    /// NAS-Identifier.
    pub const NAS_IDENTIFIER: u8 = 32;
    /// NAS-Port-Type.
    pub const NAS_PORT_TYPE: u8 = 61;
    /// Prompt (RFC 2869 section 5.10).
    pub const PROMPT: u8 = 76;
    /// Message-Authenticator (RFC 2869 section 5.14).
    pub const MESSAGE_AUTHENTICATOR: u8 = 80;
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Access-Accept.
    Accept,
    /// Access-Reject.
    Reject,
    /// Access-Challenge.
    Challenge,
}

/// Why bytes are no answer to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonsense {
    /// Not a packet of RFC 2865 section 3, or its attributes do not fill it.
    Malformed,
    /// Another identifier, or a code that answers no Access-Request: passed over.
    NotOurs,
    /// Response Authenticator or Message-Authenticator do not fit the shared secret.
    Forged,
    /// No Message-Authenticator, though it is required.
    Unauthenticated,
}

/// A value that no attribute can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CannotSay;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Access-Request.
    Access,
    /// Status-Server (RFC 5997): whether the server is there.
    Status,
}

/// A request; the Message-Authenticator is its first attribute.
#[derive(Debug)]
pub struct Request {
    bytes: Zeroizing<Vec<u8>>,
    authenticator: [u8; 16],
}

impl Request {
    /// An empty one. Identifier and authenticator are random, and of this question alone.
    #[must_use]
    pub fn new(ask: Ask, identifier: u8, authenticator: [u8; 16]) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
        let code = match ask {
            Ask::Access => 1,
            Ask::Status => 12,
        };
        bytes.extend_from_slice(&[code, identifier, 0, 0]);
        bytes.extend_from_slice(&authenticator);
        bytes.extend_from_slice(&[attribute::MESSAGE_AUTHENTICATOR, 18]);
        bytes.extend_from_slice(&[0; 16]);
        Self { bytes, authenticator }
    }

    /// Adds an attribute.
    ///
    /// # Errors
    /// [`CannotSay`]: empty, longer than 253 bytes, or no room.
    pub fn add(&mut self, kind: u8, value: &[u8]) -> Result<(), CannotSay> {
        let length = value.len() + 2;
        if value.is_empty() || value.len() > LONGEST_VALUE || self.bytes.len() + length > LONGEST {
            return Err(CannotSay);
        }
        self.bytes.extend_from_slice(&[kind, u8::try_from(length).map_err(|_| CannotSay)?]);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Adds an attribute of Microsoft's (RFC 2548 section 2).
    ///
    /// # Errors
    /// [`CannotSay`].
    pub fn add_microsoft(&mut self, kind: u8, value: &[u8]) -> Result<(), CannotSay> {
        let length = u8::try_from(value.len() + 2).map_err(|_| CannotSay)?;
        let mut inner = Zeroizing::new(MICROSOFT.to_be_bytes().to_vec());
        inner.extend_from_slice(&[kind, length]);
        inner.extend_from_slice(value);
        self.add(attribute::VENDOR_SPECIFIC, &inner)
    }

    /// Adds User-Password, hidden as RFC 2865 section 5.2 has it.
    ///
    /// # Errors
    /// [`CannotSay`] for an empty one, or one of more than 128 bytes.
    pub fn add_password(&mut self, password: &str, secret: &[u8]) -> Result<(), CannotSay> {
        if password.is_empty() || password.len() > LONGEST_PASSWORD {
            return Err(CannotSay);
        }
        let mut hidden = Zeroizing::new(Vec::with_capacity(LONGEST_PASSWORD));
        let mut before = self.authenticator;
        for part in password.as_bytes().chunks(16) {
            let mut block: [u8; 16] = Md5::new().chain_update(secret).chain_update(before).finalize().into();
            for (byte, of) in block.iter_mut().zip(part) {
                *byte ^= of;
            }
            hidden.extend_from_slice(&block);
            before = block;
        }
        self.add(attribute::USER_PASSWORD, &hidden)
    }

    /// The whole packet: its length is written and its Message-Authenticator made.
    #[must_use]
    pub fn seal(mut self, secret: &[u8]) -> Sealed {
        let length = u16::try_from(self.bytes.len()).unwrap_or(0).to_be_bytes();
        if let Some(place) = self.bytes.get_mut(2..4) {
            place.copy_from_slice(&length);
        }
        let mac = hmac(secret, &[&self.bytes]);
        if let Some(place) = self.bytes.get_mut(HEADER + 2..HEADER + 18) {
            place.copy_from_slice(&mac);
        }
        Sealed { bytes: self.bytes, authenticator: self.authenticator }
    }
}

/// A packet as it is sent, each time the same.
#[derive(Debug)]
pub struct Sealed {
    /// The packet.
    pub bytes: Zeroizing<Vec<u8>>,
    authenticator: [u8; 16],
}

/// An answer whose authenticators were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the server says.
    pub code: Code,
    /// Whether it has a Message-Authenticator, which was checked then.
    pub authenticated: bool,
    attributes: Vec<(u8, Vec<u8>)>,
}

impl Sealed {
    /// Reads an answer to this request.
    ///
    /// # Errors
    /// [`Nonsense`].
    pub fn read(&self, bytes: &[u8], secret: &[u8], required: bool) -> Result<Answer, Nonsense> {
        let (code, rest) = bytes.split_first().ok_or(Nonsense::Malformed)?;
        let (identifier, rest) = rest.split_first().ok_or(Nonsense::Malformed)?;
        let (length, _) = rest.split_first_chunk::<2>().ok_or(Nonsense::Malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if !(HEADER..=LONGEST).contains(&length) {
            return Err(Nonsense::Malformed);
        }
        // What is behind the length is padding (RFC 2865 section 3).
        let packet = bytes.get(..length).ok_or(Nonsense::Malformed)?;
        let code = match code {
            2 => Code::Accept,
            3 => Code::Reject,
            11 => Code::Challenge,
            _ => return Err(Nonsense::NotOurs),
        };
        if self.bytes.get(1) != Some(identifier) {
            return Err(Nonsense::NotOurs);
        }
        let (head, rest) = packet.split_first_chunk::<4>().ok_or(Nonsense::Malformed)?;
        let (said, attributes) = rest.split_first_chunk::<16>().ok_or(Nonsense::Malformed)?;
        let made: [u8; 16] = Md5::new()
            .chain_update(head)
            .chain_update(self.authenticator)
            .chain_update(attributes)
            .chain_update(secret)
            .finalize()
            .into();
        if !bool::from(made.ct_eq(said)) {
            return Err(Nonsense::Forged);
        }
        let (found, mac) = split(attributes)?;
        if let Some((place, mac)) = mac {
            let before = attributes.get(..place).ok_or(Nonsense::Malformed)?;
            let after = attributes.get(place + 16..).ok_or(Nonsense::Malformed)?;
            let made = hmac(secret, &[head, &self.authenticator, before, &[0; 16], after]);
            if !bool::from(made.ct_eq(&mac)) {
                return Err(Nonsense::Forged);
            }
        } else if required {
            return Err(Nonsense::Unauthenticated);
        }
        Ok(Answer { code, authenticated: mac.is_some(), attributes: found })
    }
}

impl Answer {
    /// Every value of this attribute.
    pub fn all(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        self.attributes.iter().filter(move |(found, _)| *found == kind).map(|(_, value)| value.as_slice())
    }

    /// The value of an attribute of Microsoft's.
    #[must_use]
    pub fn microsoft(&self, kind: u8) -> Option<&[u8]> {
        self.all(attribute::VENDOR_SPECIFIC).find_map(|value| {
            let mut rest = value.strip_prefix(&MICROSOFT.to_be_bytes())?;
            while let [found, length, more @ ..] = rest {
                let inner = more.get(..usize::from(*length).checked_sub(2)?)?;
                if *found == kind {
                    return Some(inner);
                }
                rest = more.get(inner.len()..)?;
            }
            None
        })
    }

    /// Reply-Message, for people: printable, at most 500 characters.
    #[must_use]
    pub fn message(&self) -> String {
        let text: Vec<String> =
            self.all(attribute::REPLY_MESSAGE).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        text.join(" ").chars().filter(|c| !c.is_control()).take(500).collect()
    }
}

/// Attributes by their type and value.
type Attributes = Vec<(u8, Vec<u8>)>;
/// The place of the Message-Authenticator's value, and the value.
type Signature = (usize, [u8; 16]);

fn split(mut rest: &[u8]) -> Result<(Attributes, Option<Signature>), Nonsense> {
    let whole = rest.len();
    let (mut found, mut mac) = (vec![], None);
    while let [kind, length, more @ ..] = rest {
        let length = usize::from(*length).checked_sub(2).ok_or(Nonsense::Malformed)?;
        let value = more.get(..length).ok_or(Nonsense::Malformed)?;
        if *kind == attribute::MESSAGE_AUTHENTICATOR {
            let value = <[u8; 16]>::try_from(value).map_err(|_| Nonsense::Malformed)?;
            if mac.replace((whole - more.len(), value)).is_some() {
                return Err(Nonsense::Malformed);
            }
        }
        found.push((*kind, value.to_vec()));
        rest = more.get(length..).ok_or(Nonsense::Malformed)?;
    }
    if rest.is_empty() { Ok((found, mac)) } else { Err(Nonsense::Malformed) }
}

fn hmac(secret: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    // HMAC takes a key of any length; the type alone says that it may refuse one.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(secret) else { return [0; 16] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Everything above over any bytes: what the fuzz target `radius_answer` calls. Authenticators are made to fit, so that what
/// is behind them is reached.
pub fn exercise(bytes: &[u8]) {
    let secret = b"secret";
    let sealed = Request::new(Ask::Access, 7, [9; 16]).seal(secret);
    assert!(sealed.read(bytes, secret, true).is_err() || bytes.len() >= HEADER + 18, "only what is whole is taken");
    let mut packet = vec![2, 7];
    packet.extend_from_slice(&u16::try_from(HEADER + bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    let authenticator =
        Md5::new().chain_update(&packet).chain_update([9; 16]).chain_update(bytes).chain_update(secret).finalize();
    packet.extend_from_slice(&authenticator);
    packet.extend_from_slice(bytes);
    if let Ok(answer) = sealed.read(&packet, secret, false) {
        assert!(answer.message().chars().count() <= 500, "a message is bounded");
        for kind in 0..=u8::MAX {
            assert!(answer.all(kind).all(|value| value.len() <= LONGEST_VALUE), "a value is bounded");
            assert!(answer.microsoft(kind).is_none_or(|value| value.len() <= LONGEST_VALUE), "an inner value too");
        }
    }
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "something that is no RADIUS packet",
            Self::NotOurs => "an answer to another question",
            Self::Forged => "an answer whose authenticator is wrong: the shared secret differs, or it is forged",
            Self::Unauthenticated => {
                "an answer without Message-Authenticator, which anybody on the way can forge (CVE-2024-3596): update the \
                 server, or say message_authenticator = \"if-present\""
            }
        })
    }
}

impl std::error::Error for Nonsense {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_2865_section_7_1_hides_the_password_as_shown() {
        let authenticator =
            [0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a];
        let mut request = Request::new(Ask::Access, 0, authenticator);
        request.add_password("arctangent", b"xyzzy5461").unwrap();
        let hidden = &request.bytes[HEADER + 20..];
        assert_eq!(
            hidden,
            [0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a, 0x0a, 0xee]
        );
    }

    /// The example's Access-Accept of the same section, which is of before Message-Authenticator.
    #[test]
    fn rfc_2865_section_7_1_answer_is_taken_only_where_none_is_required() {
        let authenticator =
            [0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a];
        let sealed = Request::new(Ask::Access, 0, authenticator).seal(b"xyzzy5461");
        let mut answer = vec![
            0x02, 0x00, 0x00, 0x26, 0x86, 0xfe, 0x22, 0x0e, 0x76, 0x24, 0xba, 0x2a, 0x10, 0x05, 0xf6, 0xbf, 0x9b, 0x55,
            0xe0, 0xb2, 0x06, 0x06, 0x00, 0x00, 0x00, 0x01, 0x0f, 0x06, 0x00, 0x00, 0x00, 0x00, 0x0e, 0x06, 0xc0, 0xa8,
            0x01, 0x03,
        ];
        assert_eq!(
            sealed.read(&answer, b"xyzzy5461", false).map(|a| (a.code, a.authenticated)),
            Ok((Code::Accept, false))
        );
        assert_eq!(sealed.read(&answer, b"xyzzy5461", true), Err(Nonsense::Unauthenticated));
        assert_eq!(sealed.read(&answer, b"xyzzy5462", false), Err(Nonsense::Forged));
        answer[37] ^= 1;
        assert_eq!(sealed.read(&answer, b"xyzzy5461", false), Err(Nonsense::Forged));
    }

    #[test]
    fn what_cannot_be_said_is_not() {
        let mut request = Request::new(Ask::Access, 0, [0; 16]);
        assert_eq!(request.add(1, &[b'x'; 254]), Err(CannotSay));
        assert_eq!(request.add(1, b""), Err(CannotSay));
        assert_eq!(request.add_password(&"x".repeat(129), b"s"), Err(CannotSay));
        assert!(request.add_password(&"x".repeat(128), b"s").is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            exercise(&bytes);
        }
    }
}
