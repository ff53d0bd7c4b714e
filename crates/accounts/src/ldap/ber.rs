//! The Basic Encoding Rules as LDAP restricts them (RFC 4511 section 5.1): definite lengths, tags of one byte. What must never
//! happen here: a length believed beyond what is there, recursion that a peer's bytes can deepen.

use zeroize::Zeroizing;

/// `BOOLEAN`.
pub const BOOLEAN: u8 = 0x01;
/// `INTEGER`.
pub const INTEGER: u8 = 0x02;
/// `OCTET STRING`.
pub const OCTETS: u8 = 0x04;
/// `ENUMERATED`.
pub const ENUMERATED: u8 = 0x0a;
/// `SEQUENCE`, constructed.
pub const SEQUENCE: u8 = 0x30;
/// `SET`, constructed.
pub const SET: u8 = 0x31;

/// What is being written. Wiped when dropped: a password may be in it.
#[derive(Debug)]
pub struct Writer(Zeroizing<Vec<u8>>);

/// What is left to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader<'a>(&'a [u8]);

/// Bytes that are no such value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Writer {
    /// Empty, with room for so many bytes: within that nothing is copied while it grows.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    /// A value made of bytes.
    pub fn value(&mut self, tag: u8, bytes: &[u8]) {
        self.nested(tag, |out| out.0.extend_from_slice(bytes));
    }

    /// An octet string.
    pub fn octets(&mut self, bytes: &[u8]) {
        self.value(OCTETS, bytes);
    }

    /// A number that is not negative, as an `INTEGER` or `ENUMERATED`.
    pub fn number(&mut self, tag: u8, number: u32) {
        let mut bytes = vec![0];
        bytes.extend(number.to_be_bytes());
        // The shortest form whose first bit is clear (X.690 section 8.3.2).
        let spare = bytes.windows(2).take_while(|pair| matches!(pair, [0, next] if next & 0x80 == 0)).count();
        self.value(tag, bytes.get(spare..).unwrap_or_default());
    }

    /// A value made of values.
    pub fn nested(&mut self, tag: u8, inner: impl FnOnce(&mut Self)) {
        // Four bytes of length, so that it can be filled in afterwards; BER allows leading zeros (X.690 section 8.1.3.5).
        self.0.extend([tag, 0x84, 0, 0, 0, 0]);
        let start = self.0.len();
        inner(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        if let Some(place) = self.0.get_mut(start - 4..start) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> Reader<'a> {
    /// Reads these.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The content of what is left.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The next value: its tag and its content.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn take(&mut self) -> Result<(u8, Self), Malformed> {
        let (tag, start, end) = extent(self.0, usize::MAX)?.ok_or(Malformed)?;
        let content = self.0.get(start..end).ok_or(Malformed)?;
        self.0 = self.0.get(end..).unwrap_or_default();
        Ok((tag, Self(content)))
    }

    /// The next value, which must have this tag.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn expect(&mut self, tag: u8) -> Result<Self, Malformed> {
        match self.take()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// The next value, a number of at most 31 bits that is not negative.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn number(&mut self, tag: u8) -> Result<u32, Malformed> {
        let bytes = self.expect(tag)?.0;
        match bytes {
            [] => Err(Malformed),
            [first, ..] if first & 0x80 != 0 || bytes.len() > 4 => Err(Malformed),
            _ => Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))),
        }
    }
}

/// How long the first value of these bytes is in all, if that can be told already.
///
/// # Errors
/// [`Malformed`] as soon as it is known to be none, or to be longer than `longest`.
pub fn whole(bytes: &[u8], longest: usize) -> Result<Option<usize>, Malformed> {
    Ok(extent(bytes, longest)?.map(|(_, _, end)| end))
}

/// Tag, first byte and end of the content of the first value, as its head says.
fn extent(bytes: &[u8], longest: usize) -> Result<Option<(u8, usize, usize)>, Malformed> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err(Malformed);
    }
    let (start, length) = match usize::from(first & 0x7f) {
        short if first & 0x80 == 0 => (2, short),
        count @ 1..=4 => {
            let Some(length) = rest.get(..count) else { return Ok(None) };
            (2 + count, length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
        // Without a length, or longer than anybody sends.
        _ => return Err(Malformed),
    };
    let end = start.checked_add(length).filter(|end| *end <= longest).ok_or(Malformed)?;
    Ok(Some((*tag, start, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = Writer::with_room(64);
        out.nested(SEQUENCE, |out| {
            for number in [0, 1, 127, 128, 255, 256, 0x7fff_ffff] {
                out.number(INTEGER, number);
            }
            out.octets(b"abc");
            out.value(BOOLEAN, &[0xff]);
        });
        let mut reader = Reader::new(out.bytes());
        assert_eq!(whole(out.bytes(), 1000), Ok(Some(out.bytes().len())));
        let mut inner = reader.expect(SEQUENCE).unwrap();
        for number in [0, 1, 127, 128, 255, 256, 0x7fff_ffff] {
            assert_eq!(inner.number(INTEGER), Ok(number));
        }
        assert_eq!(inner.expect(OCTETS).unwrap().bytes(), b"abc");
        assert_eq!(inner.take().unwrap().0, BOOLEAN);
        assert!(inner.is_empty() && reader.is_empty());
    }

    #[test]
    fn what_is_no_value_is_refused_as_soon_as_it_shows() {
        for bytes in
            [&[0x1f, 1, 0][..], &[0x30, 0x80, 0, 0], &[0x30, 0x85, 0, 0, 0, 0, 1], &[0x30, 0x84, 255, 255, 255, 255]]
        {
            assert_eq!(whole(bytes, 1000), Err(Malformed), "{bytes:?}");
        }
        for bytes in [&[][..], &[0x30], &[0x30, 0x82, 1]] {
            assert_eq!(whole(bytes, 1000), Ok(None), "{bytes:?}");
            assert_eq!(Reader::new(bytes).take(), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(whole(&[0x30, 0x82, 3, 0xe4], 1000), Ok(Some(1000)));
        assert_eq!(whole(&[0x30, 0x82, 3, 0xe5], 1000), Err(Malformed));
        for number in [&[2, 0][..], &[2, 1, 0x80], &[2, 5, 0, 0, 0, 0, 1], &[4, 1, 1]] {
            assert_eq!(Reader::new(number).number(INTEGER), Err(Malformed), "{number:?}");
        }
    }
}
