//! XDR (RFC 4506): what ONC RPC writes its values in. Pure. What must never happen here: a length believed before it was compared
//! with its bound and with what is there, a panic.

/// Why bytes are not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Values on their way out.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An unsigned integer (section 4.2).
    pub fn number(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Opaque data of a variable length (section 4.10), which a string (4.11) is too. None is longer than a message here.
    pub fn opaque(&mut self, value: &[u8]) -> &mut Self {
        self.number(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// All that was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Values on their way in.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`Malformed`]: nothing is left.
    pub fn number(&mut self) -> Result<u32, Malformed> {
        let (value, rest) = self.0.split_first_chunk::<4>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*value))
    }

    /// A signed integer (section 4.1).
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn signed(&mut self) -> Result<i32, Malformed> {
        self.number().map(u32::cast_signed)
    }

    /// A boolean (section 4.4): 0 or 1.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// Opaque data of at most so many bytes.
    ///
    /// # Errors
    /// [`Malformed`]: longer than `most`, or than what is left.
    pub fn opaque(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if length > most {
            return Err(Malformed);
        }
        let (value, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest.get(length.next_multiple_of(4) - length..).ok_or(Malformed)?;
        Ok(value)
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4506_section_7_is_written_as_shown() {
        let mut writer = Writer::default();
        writer.opaque(b"sillyprog").number(2).opaque(b"(quit)");
        let bytes = writer.into_bytes();
        assert_eq!(bytes, b"\0\0\0\x09sillyprog\0\0\0\0\0\0\x02\0\0\0\x06(quit)\0\0");
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.opaque(9), Ok(&b"sillyprog"[..]));
        assert_eq!(reader.number(), Ok(2));
        assert_eq!(reader.opaque(5), Err(Malformed));
    }

    #[test]
    fn what_is_not_all_there_is_malformed() {
        for bytes in [&b"\0\0\0"[..], b"\0\0\0\x05hello", b"\xff\xff\xff\xffx", b"\0\0\0\x04abc"] {
            assert_eq!(Reader::new(bytes).opaque(usize::MAX), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(Reader::new(&[0, 0, 0, 2]).boolean(), Err(Malformed));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xfd]).signed(), Ok(-3));
    }
}
