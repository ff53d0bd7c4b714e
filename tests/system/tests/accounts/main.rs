//! Account servers, each kind against the real server, with the configuration that its page of the manual shows. What must never
//! happen here: an outage taken for a wrong password (P8), a value that becomes part of a command (F11).

#[cfg(test)]
mod common;
#[cfg(test)]
mod file;
#[cfg(test)]
mod imap;
#[cfg(test)]
mod ldap;
#[cfg(test)]
mod ldap_ad;
#[cfg(test)]
mod nis;
#[cfg(test)]
mod pop3;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod radius;
#[cfg(test)]
mod sql;
#[cfg(test)]
mod sqlite;
#[cfg(test)]
mod table;
