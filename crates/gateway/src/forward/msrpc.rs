//! DCE/RPC over TCP, as far as a gateway must know it: the common header, a bind and its answer. What must never happen
//! here: a request PDU that we make or answer. Pure: bytes in, values out.
//!
//! Source: The Open Group, C706 (DCE 1.1: RPC), chapter 12 (connection-oriented PDUs) and appendix I (UUIDs).

use std::fmt;

/// The common header's length (C706 section 12.6.3.1).
pub const HEADER: usize = 16;
/// The longest fragment that our bind offers to take.
pub const LONGEST_ANSWER: u16 = 5840;

/// PTYPE of a request (C706 table 12-1).
const REQUEST: u8 = 0;
const BIND: u8 = 11;
const BIND_ACK: u8 = 12;
const BIND_NAK: u8 = 13;
/// First and last fragment: a PDU in one piece.
const WHOLE: u8 = 0x03;
/// The data representation that we write: little-endian, ASCII, IEEE (C706 section 14.1).
const LITTLE_ENDIAN: [u8; 4] = [0x10, 0, 0, 0];

/// An interface or a transfer syntax: UUID as little-endian fields, then version (C706 section 12.6.3.1, `p_syntax_id_t`).
type Syntax = [u8; 20];

/// The KMS interface, 51c82175-844e-4750-b0d8-ec255555bc06 version 1.0 (MS-KMS is not needed to ask whether it is there).
pub const KMS_INTERFACE: Syntax =
    [0x75, 0x21, 0xc8, 0x51, 0x4e, 0x84, 0x50, 0x47, 0xb0, 0xd8, 0xec, 0x25, 0x55, 0x55, 0xbc, 0x06, 1, 0, 0, 0];
/// NDR, 8a885d04-1ceb-11c9-9fe8-08002b104860 version 2 (C706 appendix I).
pub const NDR: Syntax =
    [0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0];

/// The common header of a PDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: u8,
    /// Its length with this header, 16 to 65,535.
    pub length: u16,
    /// Its call.
    pub call: u32,
    /// Whether its integers are little-endian.
    pub little: bool,
}

/// Why bytes are no PDU of connection-oriented RPC, or no answer to our bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRpc {
    /// Fewer bytes than it says or needs.
    Short,
    /// Not version 5.
    Version,
    /// A data representation that C706 does not know.
    Representation,
    /// Shorter than its own header.
    Length,
    /// Not an answer to a bind.
    Kind(u8),
    /// A bind_nak, with its reason.
    Refused(u16),
    /// A bind_ack that does not accept the interface, with result and reason.
    NotAccepted(u16, u16),
}

impl Header {
    /// Reads the header from the first 16 bytes.
    ///
    /// # Errors
    /// [`NotRpc`].
    pub fn read(bytes: &[u8]) -> Result<Self, NotRpc> {
        let Some(&[version, _, kind, _, order, _, _, _, l0, l1, _, _, c0, c1, c2, c3]) = bytes.first_chunk::<HEADER>()
        else {
            return Err(NotRpc::Short);
        };
        if version != 5 {
            return Err(NotRpc::Version);
        }
        let little = match order >> 4 {
            0 => false,
            1 => true,
            _ => return Err(NotRpc::Representation),
        };
        let length = if little { u16::from_le_bytes([l0, l1]) } else { u16::from_be_bytes([l0, l1]) };
        if usize::from(length) < HEADER {
            return Err(NotRpc::Length);
        }
        let call = [c0, c1, c2, c3];
        let call = if little { u32::from_le_bytes(call) } else { u32::from_be_bytes(call) };
        Ok(Self { kind, length, call, little })
    }

    /// Whether this PDU is a bind.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        self.kind == BIND
    }
}

/// A bind to the KMS interface with one context, call 1: the question of a health check.
#[must_use]
pub fn bind() -> [u8; 72] {
    let mut pdu = Vec::with_capacity(72);
    pdu.extend_from_slice(&[5, 0, BIND, WHOLE]);
    pdu.extend_from_slice(&LITTLE_ENDIAN);
    pdu.extend_from_slice(&[72, 0, 0, 0, 1, 0, 0, 0]);
    pdu.extend_from_slice(&LONGEST_ANSWER.to_le_bytes());
    pdu.extend_from_slice(&LONGEST_ANSWER.to_le_bytes());
    pdu.extend_from_slice(&[0; 4]);
    pdu.extend_from_slice(&[1, 0, 0, 0]);
    pdu.extend_from_slice(&[0, 0, 1, 0]);
    pdu.extend_from_slice(&KMS_INTERFACE);
    pdu.extend_from_slice(&NDR);
    let mut whole = [0; 72];
    for (to, from) in whole.iter_mut().zip(pdu) {
        *to = from;
    }
    whole
}

/// Reads the answer to [`bind`]: Ok if the interface is accepted.
///
/// # Errors
/// [`NotRpc`] says what it is instead.
pub fn accepted(answer: &[u8]) -> Result<(), NotRpc> {
    let header = Header::read(answer)?;
    let pdu = answer.get(..usize::from(header.length)).ok_or(NotRpc::Short)?;
    let number = |at: usize| -> Result<u16, NotRpc> {
        let pair = pdu.get(at..).and_then(<[u8]>::first_chunk::<2>).ok_or(NotRpc::Short)?;
        Ok(if header.little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) })
    };
    match header.kind {
        BIND_ACK => {}
        BIND_NAK => return Err(NotRpc::Refused(number(HEADER)?)),
        other => return Err(NotRpc::Kind(other)),
    }
    // Fragment sizes (2 + 2), group (4), secondary address (2 + n), padded to 4, then the results (C706 section 12.6.4.4).
    let results = (HEADER + 10 + usize::from(number(HEADER + 8)?)).next_multiple_of(4);
    let count = *pdu.get(results).ok_or(NotRpc::Short)?;
    if count == 0 {
        return Err(NotRpc::Short);
    }
    match number(results + 4)? {
        0 => Ok(()),
        result => Err(NotRpc::NotAccepted(result, number(results + 6)?)),
    }
}

/// The bind_ack that the stand-in provider gives to any bind: accepts one context with NDR.
#[must_use]
pub fn bind_ack(call: u32) -> Vec<u8> {
    let mut pdu = Vec::with_capacity(60);
    pdu.extend_from_slice(&[5, 0, BIND_ACK, WHOLE]);
    pdu.extend_from_slice(&LITTLE_ENDIAN);
    pdu.extend_from_slice(&[60, 0, 0, 0]);
    pdu.extend_from_slice(&call.to_le_bytes());
    pdu.extend_from_slice(&LONGEST_ANSWER.to_le_bytes());
    pdu.extend_from_slice(&LONGEST_ANSWER.to_le_bytes());
    pdu.extend_from_slice(&1_u32.to_le_bytes());
    // Secondary address "1688" with its NUL, one byte of padding, then one result: accepted, NDR.
    pdu.extend_from_slice(&[5, 0]);
    pdu.extend_from_slice(b"1688\0");
    pdu.extend_from_slice(&[0]);
    pdu.extend_from_slice(&[1, 0, 0, 0]);
    pdu.extend_from_slice(&[0, 0, 0, 0]);
    pdu.extend_from_slice(&NDR);
    pdu
}

/// Counts the requests in what a client sends. Reads headers; the rest passes as it is.
#[derive(Debug, Clone)]
pub struct Calls {
    left: u32,
    body: usize,
}

/// What may pass of the bytes at hand.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// So many bytes; the rest, fewer than a header, waits for more.
    Pass(usize),
    /// So many, and then comes a call beyond the limit.
    TooMany(usize),
    /// So many, and then comes what is no PDU.
    Malformed(usize),
}

impl Calls {
    /// At most `calls` requests.
    #[must_use]
    pub fn at_most(calls: u32) -> Self {
        Self { left: calls, body: 0 }
    }

    /// Looks at the next bytes. What it did not let pass must be handed in again, with more behind it.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        loop {
            let rest = bytes.len().saturating_sub(at);
            let body = self.body.min(rest);
            at += body;
            self.body -= body;
            if rest - body < HEADER {
                return Scan::Pass(at);
            }
            let Ok(header) = Header::read(bytes.get(at..).unwrap_or_default()) else {
                return Scan::Malformed(at);
            };
            if header.kind == REQUEST {
                let Some(left) = self.left.checked_sub(1) else { return Scan::TooMany(at) };
                self.left = left;
            }
            at += HEADER;
            self.body = usize::from(header.length) - HEADER;
        }
    }
}

/// For a fuzzer: every reader of this module on arbitrary bytes, in one piece and in pieces.
pub fn dcerpc_pdu(bytes: &[u8]) {
    let header = Header::read(bytes);
    let answer = accepted(bytes);
    assert!(header.is_ok() || answer.is_err(), "an answer has a header");
    let mut calls = Calls::at_most(2);
    let (Scan::Pass(at) | Scan::TooMany(at) | Scan::Malformed(at)) = calls.scan(bytes);
    assert!(at <= bytes.len(), "no more passes than is there");
}

impl fmt::Display for NotRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the answer is cut short"),
            Self::Version => f.write_str("the answer is not DCE/RPC version 5"),
            Self::Representation => f.write_str("the answer has an unknown data representation"),
            Self::Length => f.write_str("the answer says a length shorter than its header"),
            Self::Kind(kind) => write!(f, "the answer to a bind is a PDU of type {kind}"),
            Self::Refused(reason) => write!(f, "the bind is refused (bind_nak, reason {reason})"),
            Self::NotAccepted(result, reason) => {
                write!(f, "the KMS interface is not accepted (result {result}, reason {reason})")
            }
        }
    }
}

impl std::error::Error for NotRpc {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written out by hand from C706 section 12.6.4.3, so that the encoder is not its own witness.
    const GOLDEN_BIND: &str = "05000b031000000048000000010000 00d016d01600000000 01000000 00000100 \
        7521c8514e845047b0d8ec255555bc06 01000000 045d888aeb1cc9119fe808002b104860 02000000";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn pdu(kind: u8, length: u16, little: bool) -> Vec<u8> {
        let mut pdu = vec![0xAA; usize::from(length)];
        let bytes = if little { length.to_le_bytes() } else { length.to_be_bytes() };
        pdu[..HEADER].copy_from_slice(&[
            5,
            0,
            kind,
            3,
            if little { 0x10 } else { 0 },
            0,
            0,
            0,
            bytes[0],
            bytes[1],
            0,
            0,
            1,
            0,
            0,
            0,
        ]);
        pdu
    }

    #[test]
    fn the_bind_has_its_golden_bytes() {
        assert_eq!(bind().to_vec(), hex(GOLDEN_BIND));
    }

    #[test]
    fn an_accepting_answer_is_accepted_in_both_byte_orders() {
        let little = bind_ack(1);
        assert_eq!(little.len(), 60);
        assert_eq!(accepted(&little), Ok(()));
        let big = hex("05000c0300000000003c000000000001 16d016d000000001 0004313335 00 0000 \
            01000000 00000000 8a885d041ceb11c99fe808002b104860 00000002");
        // "135" with its NUL is four bytes, so that two bytes of padding follow.
        assert_eq!(accepted(&big), Ok(()));
    }

    #[test]
    fn an_answer_that_does_not_accept_says_why() {
        let mut ack = bind_ack(1);
        ack[36] = 2;
        ack[38] = 1;
        assert_eq!(accepted(&ack), Err(NotRpc::NotAccepted(2, 1)));
        assert_eq!(accepted(&hex("05000d0310000000180000000100000004000000")), Err(NotRpc::Short));
        assert_eq!(accepted(&hex("05000d031000000018000000010000000400000000000000")), Err(NotRpc::Refused(4)));
        assert_eq!(accepted(&pdu(3, 32, true)), Err(NotRpc::Kind(3)));
        assert_eq!(accepted(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Err(NotRpc::Version));
        for cut in 0..60 {
            assert!(accepted(&bind_ack(1)[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn calls_are_counted_and_the_one_too_many_does_not_pass() {
        for little in [true, false] {
            let stream = [pdu(BIND, 72, little), pdu(REQUEST, 300, little), pdu(REQUEST, 300, little)].concat();
            assert_eq!(Calls::at_most(1).scan(&stream), Scan::TooMany(372));
            assert_eq!(Calls::at_most(2).scan(&stream), Scan::Pass(672));
            assert_eq!(Calls::at_most(0).scan(&stream), Scan::TooMany(72));
        }
        assert_eq!(Calls::at_most(1).scan(b"GET / HTTP/1.1\r\n"), Scan::Malformed(0));
        assert_eq!(Calls::at_most(1).scan(&hex("050000031000000008000000010000 00")), Scan::Malformed(0));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            dcerpc_pdu(&bytes);
        }

        #[test]
        fn counting_does_not_depend_on_how_the_bytes_are_cut(
            kinds in proptest::collection::vec((0_u8..16, 16_u16..400, any::<bool>()), 0..8),
            cuts in proptest::collection::vec(1_usize..50, 1..200),
            limit in 0_u32..4,
        ) {
            let stream: Vec<u8> = kinds.iter().flat_map(|(kind, length, little)| pdu(*kind, *length, *little)).collect();
            let (Scan::Pass(whole) | Scan::TooMany(whole) | Scan::Malformed(whole)) = Calls::at_most(limit).scan(&stream);
            let (mut calls, mut passed, mut seen) = (Calls::at_most(limit), 0, 0);
            for cut in cuts.iter().cycle() {
                seen = (seen + cut).min(stream.len());
                match calls.scan(&stream[passed..seen]) {
                    Scan::Pass(more) => passed += more,
                    Scan::TooMany(more) | Scan::Malformed(more) => { passed += more; break }
                }
                if seen == stream.len() { break }
            }
            prop_assert_eq!(passed, whole);
        }
    }
}
