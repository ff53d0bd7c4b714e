//! What the account servers promise, each kind against the real thing or a peer that misbehaves by script.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod common;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod imap_faults;
#[cfg(test)]
mod local_file;
#[cfg(test)]
mod order;
#[cfg(test)]
mod pop3_faults;
