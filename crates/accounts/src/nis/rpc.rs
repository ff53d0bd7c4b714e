//! ONC RPC messages (RFC 5531) and the portmapper's question (RFC 1833 section 3). Pure. What must never happen here: an answer
//! to another question taken for ours.

use super::xdr::{Malformed, Reader, Writer};
use std::fmt;

/// The portmapper's port.
pub const PORTMAPPER: u16 = 111;
/// Longest verifier (RFC 5531 section 8.2).
const LONGEST_VERIFIER: usize = 400;

/// Over what is asked; the number is that of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp = 17,
    /// A stream, with record marking (section 11).
    Tcp = 6,
}

/// A procedure that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Procedure {
    /// Program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure's number.
    pub number: u32,
}

/// PMAPPROC_GETPORT.
pub const GETPORT: Procedure = Procedure { program: 100_000, version: 2, number: 3 };

/// Arguments of [`GETPORT`].
#[must_use]
pub fn where_is(of: Procedure, transport: Transport) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(of.program).number(of.version).number(transport as u32).number(0);
    writer.into_bytes()
}

/// The answer of [`GETPORT`]; none if the program is not registered.
///
/// # Errors
/// [`Malformed`]: not a port.
pub fn port(results: &[u8]) -> Result<Option<u16>, Malformed> {
    let port = u16::try_from(Reader::new(results).number()?).map_err(|_| Malformed)?;
    Ok((port != 0).then_some(port))
}

/// A call, whole: nobody is named in it (AUTH_NONE), as no part of NIS looks at that.
#[must_use]
pub fn call(xid: u32, procedure: Procedure, arguments: &[u8]) -> Vec<u8> {
    let Procedure { program, version, number } = procedure;
    let mut writer = Writer::default();
    for value in [xid, 0, 2, program, version, number, 0, 0, 0, 0] {
        writer.number(value);
    }
    let mut bytes = writer.into_bytes();
    bytes.extend_from_slice(arguments);
    bytes
}

/// Why there are no results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoResults {
    /// Not a reply to this call: passed over where strangers can send.
    NotOurs,
    /// A reply to it, but not one of RFC 5531; or it was cut off.
    Malformed,
    /// PROG_UNAVAIL.
    Program,
    /// PROG_MISMATCH: the versions that there are.
    Version(u32, u32),
    /// PROC_UNAVAIL.
    Procedure,
    /// GARBAGE_ARGS.
    Arguments,
    /// SYSTEM_ERR.
    System,
    /// MSG_DENIED: it does not want to talk to us.
    Denied,
}

impl From<Malformed> for NoResults {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The results in a reply to the call of this number.
///
/// # Errors
/// [`NoResults`].
pub fn results(xid: u32, reply: &[u8]) -> Result<&[u8], NoResults> {
    let mut reader = Reader::new(reply);
    if reader.number() != Ok(xid) || reader.number() != Ok(1) {
        return Err(NoResults::NotOurs);
    }
    match reader.number()? {
        0 => {}
        1 => return Err(NoResults::Denied),
        _ => return Err(NoResults::Malformed),
    }
    reader.number()?;
    reader.opaque(LONGEST_VERIFIER)?;
    match reader.number()? {
        0 => Ok(reader.rest()),
        1 => Err(NoResults::Program),
        2 => Err(NoResults::Version(reader.number()?, reader.number()?)),
        3 => Err(NoResults::Procedure),
        4 => Err(NoResults::Arguments),
        5 => Err(NoResults::System),
        _ => Err(NoResults::Malformed),
    }
}

/// The header of a fragment (RFC 5531 section 11): whether it is the record's last, and its length in bytes.
#[must_use]
pub fn fragment(header: [u8; 4]) -> (bool, usize) {
    let number = u32::from_be_bytes(header);
    (number >> 31 == 1, usize::try_from(number & 0x7fff_ffff).unwrap_or(usize::MAX))
}

/// A message as a record of one fragment.
#[must_use]
pub fn record(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(0x7fff_ffff) | 0x8000_0000;
    [&length.to_be_bytes(), message].concat()
}

impl fmt::Display for NoResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("something that is no answer to the question"),
            Self::Malformed => f.write_str("an answer that is no ONC RPC, or was cut off"),
            Self::Program => f.write_str("this program is not there"),
            Self::Version(low, high) => write!(f, "this version is not there, only {low} to {high}"),
            Self::Procedure => f.write_str("this procedure is not there"),
            Self::Arguments => f.write_str("it does not understand the question"),
            Self::System => f.write_str("it has a fault of its own (SYSTEM_ERR)"),
            Self::Denied => f.write_str("it denies the call (MSG_DENIED)"),
        }
    }
}

impl std::error::Error for NoResults {}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: [u32; 6] = [7, 1, 0, 0, 0, 0];

    fn bytes(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    #[test]
    fn a_call_and_its_results() {
        let asked = call(7, GETPORT, &where_is(Procedure { program: 100_004, version: 2, number: 0 }, Transport::Udp));
        assert_eq!(asked, bytes(&[7, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_004, 2, 17, 0]));
        let answer = bytes(&[&REPLY[..], &[834]].concat());
        assert_eq!(results(7, &answer).map(port), Ok(Ok(Some(834))));
        assert_eq!(port(&bytes(&[0])), Ok(None));
        assert_eq!(port(&bytes(&[65_536])), Err(Malformed));
    }

    #[test]
    fn what_is_no_answer_says_why() {
        for (numbers, why) in [
            (&[8, 1, 0, 0, 0, 0][..], NoResults::NotOurs),
            (&[7, 0, 0, 0, 0, 0], NoResults::NotOurs),
            (&[7], NoResults::NotOurs),
            (&[7, 1, 1, 1, 1], NoResults::Denied),
            (&[7, 1, 2], NoResults::Malformed),
            (&[7, 1, 0, 0, 404, 0], NoResults::Malformed),
            (&[7, 1, 0, 0, 0], NoResults::Malformed),
            (&[7, 1, 0, 0, 0, 1], NoResults::Program),
            (&[7, 1, 0, 0, 0, 2, 1, 1], NoResults::Version(1, 1)),
            (&[7, 1, 0, 0, 0, 3], NoResults::Procedure),
            (&[7, 1, 0, 0, 0, 4], NoResults::Arguments),
            (&[7, 1, 0, 0, 0, 5], NoResults::System),
            (&[7, 1, 0, 0, 0, 6], NoResults::Malformed),
        ] {
            assert_eq!(results(7, &bytes(numbers)), Err(why), "{numbers:?}");
        }
    }

    #[test]
    fn a_record_has_its_mark() {
        assert_eq!(record(b"abcd"), b"\x80\0\0\x04abcd");
        assert_eq!(fragment([0x80, 0, 0, 4]), (true, 4));
        assert_eq!(fragment([0, 1, 0, 0]), (false, 65_536));
    }
}
