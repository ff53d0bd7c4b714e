//! Whatever a POP3 server does, it is never taken for something else.

use crate::common::{Peer, Step, accepted, ask, ask_from, certificate, chain, hasty, patient, pop3, refused, say};
use kmsgate_accounts::TlsMode;
use kmsgate_accounts::breaker::BreakerState;
use kmsgate_accounts::{FrameSettings, Snapshot};
use kmsgate_core::reason::Reason;

const GREETING: &str = "+OK ready\r\n";
const CAPA: &str = "+OK\r\nUSER\r\nSTLS\r\nRESP-CODES\r\n.\r\n";
const CAPA_PLAIN: &str = "+OK\r\nUSER\r\nSASL PLAIN\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n.\r\n";

fn script(steps: &[Step]) -> Vec<Step> {
    steps.to_vec()
}

/// Greeting and capabilities, then this.
fn after_capa(capa: &str, steps: &[Step]) -> Vec<Step> {
    let mut all = vec![say(GREETING), Step::Hear("CAPA"), say(capa)];
    all.extend_from_slice(steps);
    all
}

/// USER and PASS, then this answer.
fn after_pass(answer: &str) -> Vec<Step> {
    after_capa(
        CAPA,
        &[Step::Hear("USER alice"), say("+OK\r\n"), Step::Hear("PASS secret"), say(answer), Step::Hear("QUIT")],
    )
}

async fn asked_in_clear(script: Vec<Step>) -> (Peer, kmsgate_accounts::ChainAnswer, Snapshot) {
    asked_within(patient("mail"), script).await
}

async fn asked_within(frame: FrameSettings, script: Vec<Step>) -> (Peer, kmsgate_accounts::ChainAnswer, Snapshot) {
    let peer = Peer::new(script).await;
    let accounts = chain(vec![(frame, pop3(peer.port, TlsMode::Clear, None))]);
    let answer = ask(&accounts, "alice", "secret").await;
    let snapshot = accounts.snapshot().remove(0);
    (peer, answer, snapshot)
}

#[tokio::test]
async fn p8_a_server_that_refuses_hangs_babbles_or_closes_is_an_outage_that_says_where() {
    let hang_after = |steps: &[Step]| after_capa(CAPA, &[steps, &[Step::Hang]].concat());
    let long = "+OK ".to_owned() + &"x".repeat(600) + "\r\n";
    let cases: Vec<(&str, Vec<Step>, &str)> = vec![
        ("hangs at once", script(&[Step::Hang]), "waiting for the greeting"),
        ("closes at once", script(&[Step::Close]), "closed the connection, waiting for the greeting"),
        ("greets with an error", script(&[say("-ERR [SYS/TEMP] too many\r\n"), Step::Hang]), "turned us away"),
        ("speaks HTTP", script(&[say("HTTP/1.1 400 Bad Request\r\n"), Step::Hang]), "no POP3 reply"),
        (
            "sends bytes that are no text",
            script(&[Step::Say(vec![0xff, 0, 0xfe, b'\n']), Step::Hang]),
            "control character",
        ),
        ("greets with a long line", script(&[say(&long), Step::Hang]), "longer than 512"),
        (
            "greets without end",
            script(&[Step::Flood(b"+OK aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]),
            "longer than 512",
        ),
        ("speaks twice", script(&[say("+OK ready\r\n+OK\r\n"), Step::Hang]), "without being asked"),
        ("hangs at CAPA", script(&[say(GREETING), Step::Hear("CAPA"), Step::Hang]), "waiting for its capabilities"),
        (
            "hangs in its capabilities",
            script(&[say(GREETING), Step::Hear("CAPA"), say("+OK\r\nUSER\r\n"), Step::Hang]),
            "waiting for its capabilities",
        ),
        (
            "has capabilities without end",
            script(&[say(GREETING), Step::Hear("CAPA"), say("+OK\r\n"), Step::Flood(b"USER\r\n")]),
            "more than 100 capabilities",
        ),
        (
            "closes in its capabilities",
            script(&[say(GREETING), Step::Hear("CAPA"), say("+OK\r\nUS")]),
            "closed the connection, waiting for its capabilities",
        ),
        ("hangs at the name", hang_after(&[Step::Hear("USER")]), "waiting for the answer to the name"),
        (
            "closes at the name",
            after_capa(CAPA, &[Step::Hear("USER"), Step::Close]),
            "closed the connection, waiting for the answer to the name",
        ),
        ("has no way in", after_capa("+OK\r\nTOP\r\n.\r\n", &[Step::Hang]), "neither SASL PLAIN nor USER nor APOP"),
    ];
    for (what, script, says) in cases {
        let frame = if what.starts_with("hangs") { hasty("mail") } else { patient("mail") };
        let (_peer, answer, snapshot) = asked_within(frame, script).await;
        let by = refused(answer);
        assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false), "{what}: {by:?}");
        assert!(by.log.contains(says), "{what}: {}", by.log);
        assert_eq!(snapshot.counts.server_outages, 1, "{what}: {snapshot:?}");
    }
}

#[tokio::test]
async fn p8_a_server_that_cannot_be_reached_is_an_outage() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let accounts = chain(vec![(patient("mail"), pop3(port, TlsMode::Clear, None))]);
    let by = refused(ask(&accounts, "alice", "secret").await);
    assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false));
    assert!(by.log.contains("cannot be reached") && by.log.contains("refused"), "{}", by.log);
}

#[tokio::test]
async fn f15_from_the_password_on_nothing_feeds_the_breaker() {
    for (what, end) in [
        ("hangs", Step::Hang),
        ("closes", Step::Close),
        ("babbles", say("250 OK\r\n")),
        ("never ends its line", Step::Flood(b"+OK aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")),
    ] {
        let steps = [Step::Hear("USER alice"), say("+OK\r\n"), Step::Hear("PASS secret"), end];
        let peer = Peer::new(after_capa(CAPA, &steps)).await;
        let frame = if what == "hangs" { hasty("mail") } else { patient("mail") };
        let frame = FrameSettings { failures: 1, ..frame };
        let accounts = chain(vec![(frame, pop3(peer.port, TlsMode::Clear, None))]);
        for round in 1..=3 {
            let by = refused(ask(&accounts, "alice", "secret").await);
            assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false), "{what}");
            assert!(!by.log.contains("secret") && !by.log.contains("alice"), "{what}: {}", by.log);
            let snapshot = accounts.snapshot().remove(0);
            assert_eq!(snapshot.breaker, BreakerState::Closed, "{what}");
            assert_eq!(snapshot.counts.account_outages + snapshot.counts.delayed, round, "{what}");
            assert_eq!(peer.connections() as u64, round, "{what}: every one was asked");
            if what == "hangs" {
                assert!(snapshot.delaying.is_some(), "how long it takes is told: {snapshot:?}");
                assert!(by.log.contains("XCLIENT"), "{}", by.log);
            }
        }
    }
}

#[tokio::test]
async fn in_use_before_the_password_lets_nobody_in() {
    let script = after_capa(CAPA, &[Step::Hear("USER alice"), say("-ERR [IN-USE] locked\r\n"), Step::Hear("QUIT")]);
    let (_peer, answer, _) = asked_in_clear(script).await;
    let by = refused(answer);
    assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false), "{by:?}");
}

#[tokio::test]
async fn response_codes_of_rfc_2449_and_3206_are_told_from_wrong_passwords() {
    #[derive(Debug, PartialEq)]
    enum Means {
        Right,
        Wrong,
        Outage,
    }
    for (reply, means) in [
        ("+OK Logged in.\r\n", Means::Right),
        ("-ERR [IN-USE] mailbox locked\r\n", Means::Right),
        ("-ERR [AUTH] Authentication failed.\r\n", Means::Wrong),
        ("-ERR no\r\n", Means::Wrong),
        ("-ERR [LOGIN-DELAY] wait\r\n", Means::Outage),
        ("-ERR [SYS/TEMP] later\r\n", Means::Outage),
        ("-ERR [SYS/PERM] never\r\n", Means::Outage),
        ("+ what?\r\n", Means::Outage),
    ] {
        let (_peer, answer, snapshot) = asked_in_clear(after_pass(reply)).await;
        let found = match answer {
            kmsgate_accounts::ChainAnswer::Accepted(identity) => {
                assert_eq!(identity.person().to_string(), "mail/alice");
                Means::Right
            }
            other => match refused(other) {
                by if by.reason == Reason::InvalidCredentials && by.definite => Means::Wrong,
                by if by.reason == Reason::AccountServerUnavailable && !by.definite => Means::Outage,
                by => panic!("{reply}: {by:?}"),
            },
        };
        assert_eq!(found, means, "{reply}");
        assert_eq!(snapshot.breaker, BreakerState::Closed, "{reply}");
        assert_eq!(snapshot.counts.server_outages, 0, "{reply}");
    }
}

#[tokio::test]
async fn where_auth_codes_are_promised_an_error_without_one_is_no_wrong_password() {
    let capa = "+OK\r\nUSER\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n.\r\n";
    let refuse = [Step::Hear("USER"), say("+OK\r\n"), Step::Hear("PASS"), say("-ERR mailbox is broken\r\n")];
    let (_peer, answer, _) = asked_in_clear(after_capa(capa, &refuse)).await;
    assert_eq!(refused(answer).reason, Reason::AccountServerUnavailable);
}

#[tokio::test]
async fn an_unknown_name_refused_at_user_is_a_wrong_password() {
    let (peer, answer, _) = asked_in_clear(after_capa(CAPA, &[Step::Hear("USER"), say("-ERR unknown\r\n")])).await;
    assert_eq!(refused(answer).reason, Reason::InvalidCredentials);
    assert!(!peer.heard().iter().any(|line| line.starts_with("PASS")));
}

#[tokio::test]
async fn in_clear_apop_is_taken_where_it_is_offered() {
    let steps = script(&[
        say("+OK <1896.697170952@dbc.mtview.ca.us>\r\n"),
        Step::Hear("CAPA"),
        say(CAPA_PLAIN),
        Step::Hear("APOP mrose"),
        say("+OK\r\n"),
        Step::Hear("QUIT"),
    ]);
    let peer = Peer::new(steps).await;
    let accounts = chain(vec![(patient("mail"), pop3(peer.port, TlsMode::Clear, None))]);
    accepted(ask(&accounts, "mrose", "tanstaaf").await);
    assert_eq!(peer.heard()[1], "APOP mrose c4c9334bac560ecc979e58001b3e22fb");
}

#[tokio::test]
async fn sasl_plain_is_one_line_or_two() {
    let steps = [Step::Hear("AUTH PLAIN AGFsaWNlAHNlY3JldA=="), say("+OK\r\n"), Step::Hear("QUIT")];
    let (_peer, answer, _) = asked_in_clear(after_capa(CAPA_PLAIN, &steps)).await;
    accepted(answer);

    let long = "x".repeat(300);
    let steps =
        [Step::Hear("AUTH PLAIN"), say("+ \r\n"), Step::Hear("AGFsaWNlAHh4"), say("+OK\r\n"), Step::Hear("QUIT")];
    let peer = Peer::new(after_capa(CAPA_PLAIN, &steps)).await;
    let accounts = chain(vec![(patient("mail"), pop3(peer.port, TlsMode::Clear, None))]);
    accepted(ask(&accounts, "alice", &long).await);
    assert_eq!(peer.heard()[1], "AUTH PLAIN");
}

#[tokio::test]
async fn a_password_longer_than_a_command_is_wrong_and_not_sent_in_pieces() {
    let peer = Peer::new(after_capa(CAPA, &[Step::Hear("USER"), say("+OK\r\n"), Step::Hang])).await;
    let accounts = chain(vec![(patient("mail"), pop3(peer.port, TlsMode::Clear, None))]);
    let by = refused(ask(&accounts, "alice", &"x".repeat(300)).await);
    assert_eq!(by.reason, Reason::InvalidCredentials);
    assert_eq!(peer.heard(), ["CAPA"]);
}

#[tokio::test]
async fn f15_the_persons_address_is_passed_on_where_it_is_taken() {
    for capa in [CAPA, "+OK\r\nUSER\r\nXCLIENT ADDR PORT\r\n.\r\n"] {
        let greeting = if capa == CAPA { "+OK [XCLIENT] ready\r\n" } else { GREETING };
        let steps = script(&[
            say(greeting),
            Step::Hear("CAPA"),
            say(capa),
            Step::Hear("XCLIENT ADDR="),
            say("+OK Updated\r\n"),
            Step::Hear("USER"),
            say("+OK\r\n"),
            Step::Hear("PASS"),
            say("+OK\r\n"),
            Step::Hear("QUIT"),
        ]);
        let peer = Peer::new(steps).await;
        let accounts = chain(vec![(patient("mail"), pop3(peer.port, TlsMode::Clear, None))]);
        accepted(ask_from(&accounts, "alice", "secret", "2001:db8::7").await);
        assert_eq!(peer.heard()[1], "XCLIENT ADDR=2001:db8::7");
    }
}

#[tokio::test]
async fn without_capabilities_user_and_pass_are_tried() {
    let steps = script(&[
        say(GREETING),
        Step::Hear("CAPA"),
        say("-ERR what?\r\n"),
        Step::Hear("USER alice"),
        say("+OK\r\n"),
        Step::Hear("PASS secret"),
        say("+OK\r\n"),
        Step::Hear("QUIT"),
    ]);
    let (_peer, answer, _) = asked_in_clear(steps).await;
    accepted(answer);
}

#[tokio::test]
async fn stls_is_insisted_on_and_nothing_said_before_it_counts() {
    let directory = tempfile::tempdir().unwrap();
    let tls = certificate(directory.path());
    let ca = directory.path().join("ca.pem");
    let inside = [
        Step::Tls,
        Step::Hear("CAPA"),
        say("+OK\r\nUSER\r\n.\r\n"),
        Step::Hear("USER alice"),
        say("+OK\r\n"),
        Step::Hear("PASS secret"),
        say("+OK\r\n"),
        Step::Hear("QUIT"),
    ];
    // The timestamp and SASL PLAIN of the clear part are a trap: after TLS they are not offered any more.
    let capa = "+OK\r\nUSER\r\nSTLS\r\nSASL PLAIN\r\n.\r\n";
    let begin = [say("+OK <a@b>\r\n"), Step::Hear("CAPA"), say(capa), Step::Hear("STLS")];
    let good = [&begin[..], &[say("+OK\r\n")], &inside[..]].concat();
    let peer = Peer::with_certificate(good, Some(tls.clone())).await;
    let accounts = chain(vec![(patient("mail"), pop3(peer.port, TlsMode::StartTls, Some(&ca)))]);
    accepted(ask(&accounts, "alice", "secret").await);

    for (what, steps, says) in [
        (
            "not offered",
            vec![say(GREETING), Step::Hear("CAPA"), say("+OK\r\nUSER\r\n.\r\n"), Step::Hang],
            "does not offer STLS",
        ),
        ("refused", [&begin[..], &[say("-ERR no\r\n"), Step::Hang]].concat(), "does not start TLS"),
        (
            "injected behind the consent",
            [&begin[..], &[say("+OK\r\n+OK injected\r\n")], &inside[..]].concat(),
            "in clear behind its consent",
        ),
        ("hangs at the consent", [&begin[..], &[Step::Hang]].concat(), "waiting for the answer to STLS"),
        ("hangs in the handshake", [&begin[..], &[say("+OK\r\n"), Step::Hang]].concat(), "shaking hands"),
        ("closes in the handshake", [&begin[..], &[say("+OK\r\n"), Step::Close]].concat(), "TLS with localhost failed"),
        ("speaks on in clear", [&begin[..], &[say("+OK\r\n"), Step::Flood(b"+OK\r\n")]].concat(), ""),
    ] {
        let peer = Peer::with_certificate(steps, Some(tls.clone())).await;
        let frame = if what.starts_with("hangs") { hasty("mail") } else { patient("mail") };
        let accounts = chain(vec![(frame, pop3(peer.port, TlsMode::StartTls, Some(&ca)))]);
        let by = refused(ask(&accounts, "alice", "secret").await);
        assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false), "{what}");
        assert!(by.log.contains(says), "{what}: {}", by.log);
        let heard = peer.heard();
        assert!(heard.iter().all(|line| !line.contains("alice") && !line.contains("secret")), "{what}: {heard:?}");
    }
}

#[tokio::test]
async fn p8_a_probe_says_what_it_found_and_sends_no_password() {
    let peer = Peer::new(after_capa(CAPA_PLAIN, &[Step::Hear("QUIT")])).await;
    let accounts = chain(vec![(patient("mail"), pop3(peer.port, TlsMode::Clear, None))]);
    let found = accounts.probe().await.remove(0).1.unwrap();
    assert!(found.contains("SASL PLAIN") && found.contains("must not penalise"), "{found}");
    let peer = Peer::new(script(&[Step::Hang])).await;
    let accounts = chain(vec![(hasty("mail"), pop3(peer.port, TlsMode::Clear, None))]);
    assert!(accounts.probe().await.remove(0).1.unwrap_err().contains("no answer within"));
}
