//! What a directory's answer to a password means. What must never happen here: an outage taken for a wrong password, a state of an
//! account told to somebody who has not its password.

use super::message::Outcome;
use crate::verdict::{Account, Outage, Rejection, Verdict};

/// `success`.
pub const SUCCESS: u32 = 0;
/// `sizeLimitExceeded`.
pub const SIZE_LIMIT: u32 = 4;
/// `noSuchObject`.
pub const NO_SUCH_OBJECT: u32 = 32;
/// `invalidCredentials`.
pub const INVALID_CREDENTIALS: u32 = 49;

/// The directory's answer to a person's bind.
///
/// # Errors
/// [`Outage`] where nothing was said about the password.
pub fn judge(outcome: &Outcome) -> Result<Verdict, Outage> {
    let unusable = |why: &str| Ok(Verdict::Rejected(Rejection::Unusable(why.to_owned())));
    match (outcome.code, outcome.policy) {
        // It bound, and may do nothing but change its password (draft-behera-ldap-password-policy-10 section 8.1.2.2).
        (SUCCESS, Some(2)) => unusable("its password must be changed first (changeAfterReset)"),
        (SUCCESS, _) => Ok(Verdict::Accepted(Account::default())),
        // The policy looks at the password's age after it was found right.
        (INVALID_CREDENTIALS, Some(0)) => unusable("its password has expired (passwordExpired)"),
        (INVALID_CREDENTIALS, Some(1)) => Err(locked("accountLocked")),
        (INVALID_CREDENTIALS, _) => match sub_code(&outcome.words) {
            Some("530" | "531") => unusable("it may not sign in at this time or from here (data 530, 531)"),
            Some("532") => unusable("its password has expired (data 532)"),
            Some("533") => unusable("it is disabled (data 533)"),
            Some("701") => unusable("it has expired (data 701)"),
            Some("773") => unusable("its password must be changed first (data 773)"),
            Some("775") => Err(locked("data 775")),
            _ => Ok(Verdict::Rejected(Rejection::Credentials)),
        },
        // A template may name an entry that is not there.
        (NO_SUCH_OBJECT, _) => Ok(Verdict::Rejected(Rejection::Credentials)),
        // constraintViolation, unwillingToPerform: of a locked or inactivated account, whatever its password.
        (19 | 53, _) => Err(Outage::account(format!("not answered for this account: {}", shown(outcome)))),
        // invalidDNSyntax, inappropriateAuthentication: of this name alone.
        (34 | 48, _) => Err(Outage::account(format!("this account cannot bind: {}", shown(outcome)))),
        _ => Err(Outage::server(format!("the bind came to nothing: {}", shown(outcome)))),
    }
}

fn locked(why: &str) -> Outage {
    Outage::account(format!("the directory has locked this account ({why}) and does not look at its password"))
}

/// Active Directory's own reason, in hexadecimal, such as `52e` in `80090308: LdapErr: DSID-0C09041C, comment:
/// AcceptSecurityContext error, data 52e, v4563` (a Win32 error code, MS-ERREF section 2.2).
fn sub_code(words: &str) -> Option<&str> {
    let (_, behind) = words.split_once(" data ")?;
    behind.split([',', ' ', '\0']).next().filter(|code| !code.is_empty())
}

/// A result as the log shows it.
#[must_use]
pub fn shown(outcome: &Outcome) -> String {
    // RFC 4511 appendix A.
    let name = match outcome.code {
        1 => "operationsError: a search may need a bind first",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        SIZE_LIMIT => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired: use ldaps:// or StartTLS",
        10 => "referral: it sends us elsewhere, which is not followed; name the server that holds the entries in `url`",
        11 => "adminLimitExceeded",
        13 => "confidentialityRequired: use ldaps:// or StartTLS",
        19 => "constraintViolation",
        NO_SUCH_OBJECT => "noSuchObject",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        INVALID_CREDENTIALS => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        80 => "other",
        _ => "",
    };
    let words = if outcome.words.is_empty() { String::new() } else { format!(", {:?}", outcome.words) };
    match name {
        "" => format!("result {}{words}", outcome.code),
        name => format!("result {} ({name}){words}", outcome.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::OutageKind;

    fn of(code: u32, words: &str, policy: Option<u32>) -> Result<Verdict, Outage> {
        judge(&Outcome { code, words: words.to_owned(), policy })
    }

    #[test]
    fn p8_a_state_is_told_only_where_the_password_was_right_and_nothing_else_is_a_wrong_password() {
        let ad = |code: &str| {
            format!("80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data {code}, v4563")
        };
        for code in ["530", "531", "532", "533", "701", "773"] {
            let said = of(49, &ad(code), None);
            assert!(matches!(said, Ok(Verdict::Rejected(Rejection::Unusable(_)))), "{code}: {said:?}");
        }
        for words in [&ad("52e"), &ad("525"), "", "data", "Simple Bind Failed: NT_STATUS_LOGON_FAILURE"] {
            assert!(matches!(of(49, words, None), Ok(Verdict::Rejected(Rejection::Credentials))), "{words}");
        }
        for (code, words, policy) in [(49, ad("775").as_str(), None), (49, "", Some(1)), (19, "", None), (53, "", None)]
        {
            assert_eq!(of(code, words, policy).unwrap_err().kind, OutageKind::Account, "{code} {words}");
        }
        for (code, policy) in [(49, Some(0)), (0, Some(2))] {
            assert!(matches!(of(code, "", policy), Ok(Verdict::Rejected(Rejection::Unusable(_)))), "{code} {policy:?}");
        }
        for code in [1, 2, 7, 8, 10, 13, 50, 51, 52, 80, 4096] {
            assert_eq!(of(code, "", None).unwrap_err().kind, OutageKind::Server, "{code}");
        }
    }
}
