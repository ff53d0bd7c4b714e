//! Whatever an IMAP server answers, it is taken for what it says.

use crate::common::{Peer, Step, ask, chain, patient, say};
use kmsgate_accounts::tls::TlsSettings;
use kmsgate_accounts::{ChainAnswer, Host, ImapServer, Server, TlsMode, Way};
use kmsgate_core::reason::Reason;

const PLAIN: &str = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n";
const LOGIN: &str = "* OK [CAPABILITY IMAP4rev1] ready\r\n";

async fn asked(script: Vec<Step>, login: &str, password: &str) -> (Peer, ChainAnswer) {
    let peer = Peer::new(script).await;
    let hosts = vec![Host { name: "127.0.0.1".to_owned(), port: peer.port }];
    let way = Way { hosts, tls: TlsMode::Clear, trust: TlsSettings::default() };
    let accounts = chain(vec![(patient("mail"), Server::Imap(ImapServer::new(&way).unwrap()))]);
    let answer = ask(&accounts, login, password).await;
    (peer, answer)
}

fn why(answer: ChainAnswer) -> Result<(), (Reason, String)> {
    match answer {
        ChainAnswer::Accepted(_) => Ok(()),
        ChainAnswer::Refused(by) => Err((by.reason, by.log)),
        ChainAnswer::Challenge(asked) => panic!("asked {asked:?}"),
    }
}

#[tokio::test]
async fn p8_each_answer_to_a_password_means_what_rfc_5530_says() {
    for (answer, reason, says) in [
        ("a1 OK in\r\n", None, ""),
        ("* CAPABILITY IMAP4rev1\r\n* 1 EXISTS\r\na1 OK [CAPABILITY IMAP4rev1] in\r\n", None, ""),
        ("a1 NO [AUTHENTICATIONFAILED] no\r\n", Some(Reason::InvalidCredentials), "rejected"),
        ("a1 NO no\r\n", Some(Reason::InvalidCredentials), "rejected"),
        ("a1 NO [EXPIRED] old\r\n", Some(Reason::InvalidCredentials), "rejected"),
        ("a1 NO [AUTHORIZATIONFAILED] no\r\n", Some(Reason::AccountUnusable), "may not sign in"),
        ("a1 NO [UNAVAILABLE] later\r\n", Some(Reason::AccountServerUnavailable), "[UNAVAILABLE]"),
        ("a1 NO [INUSE] busy\r\n", Some(Reason::AccountServerUnavailable), "[INUSE]"),
        ("a1 NO [CONTACTADMIN] ask\r\n", Some(Reason::AccountServerUnavailable), "not for the password"),
        ("a1 BAD what\r\n", Some(Reason::AccountServerUnavailable), "BAD"),
        ("* BYE too many\r\n", Some(Reason::AccountServerUnavailable), "hangs up"),
        ("+ more\r\n", Some(Reason::AccountServerUnavailable), "asks for more"),
        ("a2 OK in\r\n", Some(Reason::AccountServerUnavailable), "no IMAP answer"),
    ] {
        let script =
            vec![say(PLAIN), Step::Hear("a1 AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA=="), say(answer), Step::Hang];
        let found = why(asked(script, "alice", "secret").await.1);
        assert_eq!(found.as_ref().err().map(|(reason, _)| *reason), reason, "{answer}");
        assert!(found.is_ok() || found.as_ref().unwrap_err().1.contains(says), "{answer}: {found:?}");
    }
    let endless = "* 1 EXISTS\r\n".repeat(300);
    let script = vec![say(PLAIN), Step::Hear("a1 AUTHENTICATE"), say(&endless), Step::Hang];
    let (reason, log) = why(asked(script, "alice", "secret").await.1).unwrap_err();
    assert_eq!((reason, log.contains("more than 200 lines")), (Reason::AccountServerUnavailable, true), "{log}");
}

#[tokio::test]
async fn a_greeting_that_turns_us_away_or_takes_us_for_somebody_gets_no_password() {
    for (greeting, says) in [
        ("* BYE full\r\n", "turned us away: full"),
        ("* PREAUTH hello\r\n", "PREAUTH"),
        ("220 mail ESMTP\r\n", "no IMAP answer"),
        ("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] ready\r\n", "LOGINDISABLED"),
    ] {
        let (peer, answer) = asked(vec![say(greeting), Step::Hear("")], "alice", "secret").await;
        let (reason, log) = why(answer).unwrap_err();
        assert_eq!(reason, Reason::AccountServerUnavailable, "{greeting}");
        assert!(log.contains(says), "{greeting}: {log}");
        assert!(peer.heard().iter().all(|line| !line.contains("alice")), "{:?}", peer.heard());
    }
}

#[tokio::test]
async fn without_an_initial_response_the_server_is_waited_for() {
    let script = vec![
        say("* OK ready\r\n"),
        Step::Hear("a1 CAPABILITY"),
        say("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na1 OK\r\n"),
        Step::Hear("a2 AUTHENTICATE PLAIN"),
        say("+ \r\n"),
        Step::Hear("AGFsaWNlAHNlY3JldA=="),
        say("a2 OK in\r\n"),
        Step::Hear("a3 LOGOUT"),
    ];
    why(asked(script, "alice", "secret").await.1).unwrap();
}

#[tokio::test]
async fn f11_login_quotes_its_values_and_sends_what_no_quotes_can_hold_as_a_literal() {
    let quoted = vec![say(LOGIN), Step::Hear(r#"a1 LOGIN "alice" "se\"cr\\et""#), say("a1 OK\r\n")];
    why(asked(quoted, "alice", r#"se"cr\et"#).await.1).unwrap();
    let literal = vec![
        say(LOGIN),
        Step::Hear("a1 LOGIN \"alice\" {7}"),
        say("+ go on\r\n"),
        Step::Hear("p\u{e4}ss 1"),
        say("a1 OK\r\n"),
    ];
    why(asked(literal, "alice", "p\u{e4}ss 1").await.1).unwrap();
    let both = vec![
        say(LOGIN),
        Step::Hear("a1 LOGIN {6}"),
        say("+ go on\r\n"),
        Step::Hear("\u{e4}lice {7}"),
        say("+ go on\r\n"),
        Step::Hear("p\u{e4}ss 1"),
        say("a1 NO\r\n"),
    ];
    assert_eq!(why(asked(both, "\u{e4}lice", "p\u{e4}ss 1").await.1).unwrap_err().0, Reason::InvalidCredentials);
    let refused = vec![say(LOGIN), Step::Hear("a1 LOGIN \"alice\" {7}"), say("a1 BAD no literals\r\n")];
    assert_eq!(why(asked(refused, "alice", "p\u{e4}ss 1").await.1).unwrap_err().0, Reason::AccountServerUnavailable);
}
