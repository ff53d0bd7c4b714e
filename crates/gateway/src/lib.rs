//! kmsgate: sign in with the account you already have, and the licence server opens for your address, for a few
//! minutes, for one connection.
//!
//! The way of the data is the way of the modules:
//!
//! * [`portal`]: takes a **sign-in** from a browser or the API and answers it.
//! * [`admit`]: the whole pipeline in one function: throttle, accounts, policy, ledger, forwarder.
//! * [`forward`]: carries the bytes of an open grant and nothing else.
//! * [`close`]: the one door through which a grant ends.
//! * [`event`]: what everybody outside learns: log lines, counters.
//! * [`operator`]: what an operator may ask and do, through the control socket.
//! * [`config`], [`cli`], [`serve`], [`take_up`], [`demo`], [`text`], [`clock`], [`gate`]: how it is put together and run.

pub mod admit;
pub mod answer;
pub mod cli;
pub mod clock;
pub mod close;
pub mod config;
pub mod demo;
pub mod desk;
pub mod event;
pub mod expire;
pub mod forward;
pub mod gate;
pub mod listen;
pub mod operator;
pub mod portal;
pub mod rights;
pub mod serve;
pub mod take_up;
pub mod text;
pub mod vital;
