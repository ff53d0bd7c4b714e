//! argon2id hashes with bounds (RFC 9106; PHC string format). What must never happen here: a hash whose cost the machine
//! cannot bear, computed because a line of a file asked for it.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Most memory of one hash, in KiB: 128 MiB.
pub const MOST_MEMORY: u32 = 128 << 10;
/// Most passes over it.
pub const MOST_PASSES: u32 = 16;
/// Most lanes.
pub const MOST_LANES: u32 = 16;

/// What a new hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB, from 8 a lane to [`MOST_MEMORY`].
    pub memory: u32,
    /// Passes, 1 to [`MOST_PASSES`].
    pub passes: u32,
    /// Lanes, 1 to [`MOST_LANES`].
    pub lanes: u32,
}

impl Default for Cost {
    /// 19 MiB, two passes, one lane: the smallest that the OWASP Password Storage Cheat Sheet recommends.
    fn default() -> Self {
        Self { memory: 19 << 10, passes: 2, lanes: 1 }
    }
}

/// A hash that was checked when it was read: it can be verified, at a cost within the bounds.
#[derive(Clone)]
pub struct Hashed {
    params: Params,
    version: Version,
    salt: Box<[u8]>,
    output: Box<[u8]>,
}

/// Why a text is no hash of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAHash {
    /// Not a PHC string.
    Form,
    /// Another algorithm.
    Algorithm(String),
    /// Parameters that argon2 does not know or take.
    Parameters,
    /// Costs more than the bounds allow.
    Cost,
    /// No salt or no hash.
    Incomplete,
    /// The system has no random numbers.
    Random,
}

impl Hashed {
    /// Reads `$argon2id$v=19$m=..,t=..,p=..$salt$hash`.
    ///
    /// # Errors
    /// [`NotAHash`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NotAHash> {
        let phc = PasswordHash::new(text).map_err(|_| NotAHash::Form)?;
        if phc.algorithm != ARGON2ID_IDENT {
            return Err(NotAHash::Algorithm(phc.algorithm.to_string()));
        }
        let version = match phc.version {
            None => Version::V0x13,
            Some(number) => Version::try_from(number).map_err(|_| NotAHash::Parameters)?,
        };
        let params = Params::try_from(&phc).map_err(|_| NotAHash::Parameters)?;
        within_bounds(&params)?;
        let (Some(salt), Some(output)) = (phc.salt, phc.hash) else { return Err(NotAHash::Incomplete) };
        Ok(Self { params, version, salt: salt.as_ref().into(), output: output.as_ref().into() })
    }

    /// Hashes a password with a salt of 16 random bytes.
    ///
    /// # Errors
    /// [`NotAHash`] if the cost is out of bounds or the system has no random numbers.
    pub fn new(password: &[u8], cost: Cost) -> Result<Self, NotAHash> {
        let params = Params::new(cost.memory, cost.passes, cost.lanes, None).map_err(|_| NotAHash::Parameters)?;
        within_bounds(&params)?;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| NotAHash::Random)?;
        let blank = Self::nobody(params, Version::V0x13);
        let mut hashed = Self { salt: salt.into(), ..blank };
        hashed.output = hashed.compute(password).ok_or(NotAHash::Parameters)?.as_slice().into();
        Ok(hashed)
    }

    /// A hash of the default cost that no password has.
    #[must_use]
    pub fn dummy() -> Self {
        let Cost { memory, passes, lanes } = Cost::default();
        Self::nobody(Params::new(memory, passes, lanes, None).unwrap_or_default(), Version::V0x13)
    }

    /// A hash that no password has, as dear as this one.
    #[must_use]
    pub fn dummy_like(other: &Self) -> Self {
        Self::nobody(other.params.clone(), other.version)
    }

    /// Is it this password? Takes the time and memory that the hash asks for, on the calling thread.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        self.compute(password).is_some_and(|output| bool::from(output.as_slice().ct_eq(&self.output)))
    }

    /// Memory in KiB times passes: how dear it is.
    #[must_use]
    pub fn work(&self) -> u64 {
        u64::from(self.params.m_cost()) * u64::from(self.params.t_cost())
    }

    fn compute(&self, password: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let argon2 = Argon2::new(Algorithm::Argon2id, self.version, self.params.clone());
        let mut output = Zeroizing::new(vec![0; self.output.len()]);
        argon2.hash_password_into(password, &self.salt, &mut output).ok()?;
        Some(output)
    }

    /// All zeros: no password is known that hashes to it.
    fn nobody(params: Params, version: Version) -> Self {
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        Self { params, version, salt: [0; 16].into(), output: vec![0; length].into() }
    }
}

fn within_bounds(params: &Params) -> Result<(), NotAHash> {
    let fits = params.m_cost() <= MOST_MEMORY && params.t_cost() <= MOST_PASSES && params.p_cost() <= MOST_LANES;
    if fits { Ok(()) } else { Err(NotAHash::Cost) }
}

impl fmt::Display for Hashed {
    /// The PHC string.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phc = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(self.version.into()),
            params: ParamsString::try_from(&self.params).map_err(|_| fmt::Error)?,
            salt: Some(Salt::new(&self.salt).map_err(|_| fmt::Error)?),
            hash: Some(Output::new(&self.output).map_err(|_| fmt::Error)?),
        };
        phc.fmt(f)
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashed").field("params", &self.params).finish_non_exhaustive()
    }
}

impl fmt::Display for NotAHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("not a hash of the form $argon2id$v=19$m=..,t=..,p=..$salt$hash"),
            Self::Algorithm(name) => write!(f, "{name} is not taken here, only argon2id: set the password again"),
            Self::Parameters => f.write_str("parameters that argon2id does not take"),
            Self::Cost => {
                write!(f, "dearer than this file may ask: at most m={MOST_MEMORY}, t={MOST_PASSES}, p={MOST_LANES}")
            }
            Self::Incomplete => f.write_str("the hash has no salt or no output"),
            Self::Random => f.write_str("the system has no random numbers for a salt"),
        }
    }
}

impl std::error::Error for NotAHash {}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory: 8, passes: 1, lanes: 1 };

    #[test]
    fn a_hash_takes_its_password_and_no_other_also_after_a_round_trip() {
        let hashed = Hashed::new("pä ss".as_bytes(), CHEAP).unwrap();
        let text = hashed.to_string();
        assert!(text.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{text}");
        let read = Hashed::parse(&text).unwrap();
        assert!(read.verify("pä ss".as_bytes()));
        assert!(!read.verify(b"pa ss"));
        assert!(!Hashed::dummy_like(&read).verify("pä ss".as_bytes()));
        assert_eq!(Hashed::dummy_like(&read).work(), read.work());
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused_before_it_is_computed() {
        let tail = "$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for (params, why) in [
            ("m=4194304,t=2,p=1", NotAHash::Cost),
            ("m=8,t=1000,p=1", NotAHash::Cost),
            ("m=1024,t=1,p=64", NotAHash::Cost),
            ("m=1,t=1,p=1", NotAHash::Parameters),
        ] {
            assert_eq!(Hashed::parse(&format!("$argon2id$v=19${params}{tail}")).err(), Some(why), "{params}");
        }
        assert_eq!(
            Hashed::parse(&format!("$argon2i$v=19$m=8,t=1,p=1{tail}")).err(),
            Some(NotAHash::Algorithm("argon2i".into()))
        );
        for text in ["", "secret", "$argon2id", "$argon2id$v=19$m=8,t=1,p=1"] {
            assert!(Hashed::parse(text).is_err(), "{text:?}");
        }
    }
}
