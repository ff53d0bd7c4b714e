//! MS-CHAPv2 (RFC 2759, in RADIUS RFC 2548 section 2.3). What must never happen here: an answer taken from a server that does
//! not know the password, a hash in a buffer that is not wiped.

use super::packet::CannotSay;
use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use md4::{Digest, Md4};
use sha1::Sha1;
use std::fmt::Write as _;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// MS-CHAP-Challenge.
pub const CHALLENGE: u8 = 11;
/// MS-CHAP2-Response.
pub const RESPONSE: u8 = 25;
/// MS-CHAP2-Success.
pub const SUCCESS: u8 = 26;
/// Longest password, in UTF-16 units (RFC 2759 section 8.1).
const LONGEST_PASSWORD: usize = 256;

/// What is sent, and what the server must say to be believed.
#[derive(Debug)]
pub struct Proof {
    /// The value of MS-CHAP2-Response.
    pub response: [u8; 50],
    expected: [u8; 42],
    identifier: u8,
}

impl Proof {
    /// The proof of a password for this challenge of ours, with a random challenge of the peer's.
    ///
    /// # Errors
    /// [`CannotSay`]: a password of more than 256 UTF-16 units.
    pub fn new(
        identifier: u8,
        challenge: &[u8; 16],
        peer: &[u8; 16],
        name: &str,
        password: &str,
    ) -> Result<Self, CannotSay> {
        // The name without its domain (RFC 2759 section 4).
        let name = name.rsplit_once('\\').map_or(name, |(_, name)| name);
        let hash = nt_hash(password)?;
        let digest = Sha1::new().chain_update(peer).chain_update(challenge).chain_update(name).finalize();
        let (short, _) = digest.split_first_chunk::<8>().ok_or(CannotSay)?;
        let reply = three_des_blocks(&hash, short)?;
        let mut response = [0; 50];
        let parts = [&[identifier, 0][..], peer, &[0; 8], &reply];
        for (place, byte) in response.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        let again = Zeroizing::new(<[u8; 16]>::from(Md4::digest(hash.as_slice())));
        let inner = Sha1::new()
            .chain_update(again.as_slice())
            .chain_update(reply)
            .chain_update("Magic server to client signing constant")
            .finalize();
        let outer = Sha1::new()
            .chain_update(inner)
            .chain_update(short)
            .chain_update("Pad to make it do more than one iteration")
            .finalize();
        let mut text = String::from("S=");
        for byte in outer {
            write!(text, "{byte:02X}").map_err(|_| CannotSay)?;
        }
        let expected = text.as_bytes().try_into().map_err(|_| CannotSay)?;
        Ok(Self { response, expected, identifier })
    }

    /// Whether MS-CHAP2-Success proves that the server knows the password too.
    #[must_use]
    pub fn proved_by(&self, success: &[u8]) -> bool {
        let [identifier, said @ ..] = success else { return false };
        let Some(said) = said.get(..self.expected.len()) else { return false };
        *identifier == self.identifier && bool::from(self.expected.ct_eq(said))
    }
}

fn nt_hash(password: &str) -> Result<Zeroizing<[u8; 16]>, CannotSay> {
    let mut wide = Zeroizing::new(Vec::with_capacity(2 * LONGEST_PASSWORD));
    for unit in password.encode_utf16() {
        if wide.len() >= 2 * LONGEST_PASSWORD {
            return Err(CannotSay);
        }
        wide.extend_from_slice(&unit.to_le_bytes());
    }
    Ok(Zeroizing::new(Md4::digest(wide.as_slice()).into()))
}

/// ChallengeResponse (RFC 2759 section 8.5).
fn three_des_blocks(hash: &[u8; 16], challenge: &[u8; 8]) -> Result<[u8; 24], CannotSay> {
    let mut padded = Zeroizing::new([0; 21]);
    for (place, byte) in padded.iter_mut().zip(hash) {
        *place = *byte;
    }
    let mut out = [0; 24];
    for (seven, into) in padded.chunks(7).zip(out.chunks_mut(8)) {
        // Seven bits of each byte; the parity bit is not looked at.
        let bits = seven.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let mut key = Zeroizing::new([0u8; 8]);
        for (n, byte) in key.iter_mut().enumerate() {
            *byte = u8::try_from(bits >> (49 - 7 * n) & 0x7f).unwrap_or(0) << 1;
        }
        let cipher = Des::new_from_slice(key.as_slice()).map_err(|_| CannotSay)?;
        let mut block = (*challenge).into();
        cipher.encrypt_block(&mut block);
        into.copy_from_slice(&block);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2759 section 9.2.
    #[test]
    fn as_the_rfc_shows_it() {
        let challenge =
            [0x5b, 0x5d, 0x7c, 0x7d, 0x7b, 0x3f, 0x2f, 0x3e, 0x3c, 0x2c, 0x60, 0x21, 0x32, 0x26, 0x26, 0x28];
        let peer = [0x21, 0x40, 0x23, 0x24, 0x25, 0x5e, 0x26, 0x2a, 0x28, 0x29, 0x5f, 0x2b, 0x3a, 0x33, 0x7c, 0x7e];
        let proof = Proof::new(7, &challenge, &peer, "User", "clientPass").unwrap();
        assert_eq!(proof.response[26..34], [0x82, 0x30, 0x9e, 0xcd, 0x8d, 0x70, 0x8b, 0x5e]);
        assert!(proof.proved_by(b"\x07S=407A5589115FD0D6209F510FE9C04566932CDA56"));
        assert!(!proof.proved_by(b"\x07S=407A5589115FD0D6209F510FE9C04566932CDA57"));
        assert!(!proof.proved_by(b"\x06S=407A5589115FD0D6209F510FE9C04566932CDA56"));
        assert!(!proof.proved_by(b""));
    }
}
