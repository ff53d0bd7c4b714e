//! What wrong passwords cost at an account server (F15). What must never happen here: a password that somebody might have, a name
//! that somebody has.

use super::{Finding, Seen};
use kmsgate_accounts::{Accounts, ChainAnswer};
use kmsgate_core::address::Source;
use kmsgate_core::name::{Login, ServerName};
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Wrong passwords in a row: Dovecot's penalty begins with the second (auth_failure_delay, doubled for an address).
const TRIES: u8 = 3;
/// A penalty grows; what every wrong password costs the same is a guesser's own delay.
const GROWN: Duration = Duration::from_millis(900);

/// Gives the server a few wrong passwords for a name that nobody has, from this machine's own address, and times its answers.
pub(super) async fn finding(accounts: &Accounts, server: &ServerName) -> Finding {
    let what = format!("penalty at {server}");
    let mut times = vec![];
    for person in 1..=TRIES {
        let Some((login, password)) = nobody() else {
            return Finding::new(what, Seen::Unseen("the system gives no random numbers".to_owned()));
        };
        let begun = Instant::now();
        // Three people (RFC 5737): where the server is told who they are, none waits for another.
        let source = Source::new(Ipv4Addr::new(192, 0, 2, person).into());
        match accounts.ask_only(server, &login, &password, source).await {
            Some(ChainAnswer::Refused(refused)) if refused.reason == Reason::InvalidCredentials => {
                times.push(begun.elapsed());
            }
            Some(ChainAnswer::Refused(refused)) => {
                let after = format!("after {} wrong passwords: {}", times.len(), refused.log);
                return Finding::new(what, Err(format!("{after}; {REMEDY}")));
            }
            Some(ChainAnswer::Accepted(_)) => {
                return Finding::new(
                    what,
                    Err("it accepts a name and a password that were made up: everybody is let in".to_owned()),
                );
            }
            Some(ChainAnswer::Challenge(_)) | None => {
                return Finding::new(what, Seen::Unseen("it asks for more than a password".to_owned()));
            }
        }
    }
    let (first, last) = (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
    let shown = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    if last > first + GROWN {
        return Finding::new(
            what,
            Err(format!(
                "the first wrong password is answered after {}, the third in a row after {}: people wait for the mistakes of \
                 others; {REMEDY}",
                shown(first),
                shown(last)
            )),
        );
    }
    Finding::well(what, format!("none after {TRIES} wrong passwords, each answered within {}", shown(last.max(first))))
}

const REMEDY: &str = "let the server know the person's address (Dovecot: this machine in login_trusted_networks), or take this \
                      machine out of its penalties (Dovecot's anvil, fail2ban's ignoreip)";

/// A name and a password of random letters.
fn nobody() -> Option<(Login, Password)> {
    let letters = |bytes: [u8; 16]| bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect::<String>();
    let drawn = || crate::clock::random::<16>().ok().map(letters);
    let login = Login::parse(&format!("kmsgate-check-{}", drawn()?)).ok()?;
    Some((login, Password::new(drawn()?).ok()?))
}
