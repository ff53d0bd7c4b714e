//! What may happen here: decisions. What must never happen here: input, output, a clock, a random number.
//!
//! The modules stand in the order in which a sign-in passes through them:
//!
//! * [`time`] and [`random`]: what the caller must bring, since the core has neither.
//! * [`address`], [`name`], [`password`], [`sign_in`]: **what somebody asked**, as values that cannot be malformed.
//! * [`throttle`]: may this address and this name ask now?
//! * [`identity`]: the proof that an account server accepted a sign-in.
//! * [`policy`]: denials and rules; turns an identity into a [`permit::Permit`].
//! * [`quota`]: how many grants, counted over which period.
//! * [`decide`]: the pure answer that the ledger writes inside its transaction.
//! * [`grant`]: the life of a grant, from `Opening` to `Closed`.
//! * [`expiry`]: the one queue in which every deadline stands.
//! * [`reason`]: the one (outcome, reason) in which every sign-in ends, and the causes of a close.

pub mod address;
pub mod decide;
pub mod expiry;
pub mod grant;
pub mod identity;
pub mod name;
pub mod password;
pub mod permit;
pub mod policy;
pub mod quota;
pub mod random;
pub mod reason;
pub mod sign_in;
pub mod throttle;
pub mod time;
