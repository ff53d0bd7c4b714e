//! The command line, run as an administrator runs it.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod usage;
