//! MD5-crypt and phpass, which old tables hold. What must never happen here: one of them made for a new password.

use md5::{Digest, Md5};

/// The digits of crypt(5).
pub(super) const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn digits(out: &mut String, mut value: u32, count: usize) {
    for _ in 0..count {
        out.push(ALPHABET.get((value & 63) as usize).map_or('.', |digit| char::from(*digit)));
        value >>= 6;
    }
}

/// The cost that a text of phpass asks for.
pub(super) fn phpass_cost(text: &str) -> Option<u32> {
    let digit = text.as_bytes().get(3)?;
    ALPHABET.iter().position(|other| other == digit).and_then(|cost| u32::try_from(cost).ok())
}

/// The text that this password would have.
pub(super) fn phpass(password: &[u8], text: &str) -> Option<String> {
    let (cost, salt) = (phpass_cost(text)?, text.get(4..12)?);
    let mut hash = Md5::new().chain_update(salt).chain_update(password).finalize();
    for _ in 0..1_u32.checked_shl(cost)? {
        hash = Md5::new().chain_update(hash).chain_update(password).finalize();
    }
    let mut out = text.get(..12)?.to_owned();
    for group in hash.chunks(3) {
        let value = group.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        digits(&mut out, value, group.len() + 1);
    }
    Some(out)
}

/// The text that this password would have.
pub(super) fn md5_crypt(password: &[u8], text: &str) -> Option<String> {
    let mut fields = text.split('$').skip(1);
    let (magic, salt) = (fields.next()?, fields.next()?);
    let short = salt.get(..salt.len().min(8))?;
    let other = Md5::new().chain_update(password).chain_update(short).chain_update(password).finalize();
    let mut first = Md5::new().chain_update(password).chain_update(format!("${magic}$")).chain_update(short);
    let mut left = password.len();
    while left > 0 {
        first.update(other.get(..left.min(16))?);
        left = left.saturating_sub(16);
    }
    let mut bits = password.len();
    while bits > 0 {
        if bits & 1 == 1 {
            first.update([0])
        } else {
            first.update(password.get(..1)?)
        }
        bits >>= 1;
    }
    let mut hash = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        if round % 2 == 1 {
            next.update(password)
        } else {
            next.update(hash)
        }
        if round % 3 != 0 {
            next.update(short)
        }
        if round % 7 != 0 {
            next.update(password)
        }
        if round % 2 == 1 {
            next.update(hash)
        } else {
            next.update(password)
        }
        hash = next.finalize();
    }
    let mut out = format!("${magic}${short}$");
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        let byte = |place: usize| hash.get(place).map_or(0, |byte| u32::from(*byte));
        digits(&mut out, byte(a) << 16 | byte(b) << 8 | byte(c), 4);
    }
    digits(&mut out, u32::from(*hash.get(11)?), 2);
    Some(out)
}
