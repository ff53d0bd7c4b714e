//! The page and the API say what the forwarder confirmed, and nothing else (P9, F20).

use kmsgate_system_tests::gateway::{Gateway, PASSWORD, Setup, at};
use kmsgate_system_tests::http::{Answer, Request};
use kmsgate_system_tests::provider::{Down, Manner, Provider};

fn page(gateway: &Gateway, path: &str, cookies: &str) -> Answer {
    let headers = [("Cookie", cookies)];
    gateway.ask(at(1, 1), &Request { method: "GET", path, headers: &headers, body: b"" })
}

fn cookies(answer: &Answer) -> String {
    let pairs: Vec<&str> = answer.header("Set-Cookie").iter().filter_map(|cookie| cookie.split(';').next()).collect();
    pairs.join("; ")
}

/// Signs in by the form; the answer to it and its cookies.
fn form(gateway: &Gateway) -> (Answer, String) {
    let empty = page(gateway, "/", "");
    let csrf = empty.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let body = format!("csrf={csrf}&username=alice&password={}", PASSWORD.replace(' ', "+"));
    let before = cookies(&empty);
    let headers = [("Cookie", before.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let request = Request { method: "POST", path: "/", headers: &headers, body: body.as_bytes() };
    let answer = gateway.ask(at(1, 1), &request);
    let cookies = cookies(&answer);
    (answer, cookies)
}

#[test]
fn f20_a_door_that_the_forwarder_did_not_open_is_not_said_to_be_open() {
    let down = Down::new();
    let gateway = Setup::new(down.address).service("health", "\"tcp\"").start();
    let (answer, _) = form(&gateway);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(gateway.grants().iter().all(|grant| grant.state == "closed"), "{:?}", gateway.grants());
}

#[test]
fn f20_the_page_follows_the_grant() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let (answer, cookies) = form(&gateway);
    assert_eq!((answer.status, answer.header("Location")), (303, vec!["/grant"]), "{answer:?}");
    let open = page(&gateway, "/grant", &cookies);
    assert_eq!(open.status, 200);
    let connection = gateway.connect(at(1, 1)).through();
    let connected = page(&gateway, "/grant", &cookies);
    drop(connection);
    gateway.until("its end", |grants| grants[0].state == "closed");
    let over = page(&gateway, "/grant", &cookies);
    let said = |answer: &Answer| answer.body.split("<h1").nth(1).unwrap().split("</h1>").next().unwrap().to_owned();
    let titles = [said(&open), said(&connected), said(&over)];
    assert!(titles[0] != titles[1] && titles[1] != titles[2] && titles[0] != titles[2], "{titles:?}");
}

#[test]
fn f20_what_is_left_is_what_the_forwarder_would_still_take() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).service("connections", "2").start();
    let granted = gateway.granted(at(1, 1), "alice");
    let left = || gateway.show(at(1, 1), &granted).number("connections_left");
    assert_eq!((granted.text("state").as_str(), left()), ("open", Some(2)));
    let first = gateway.connect(at(1, 1)).through();
    assert_eq!(left(), Some(1));
    let second = gateway.connect(at(1, 1)).through();
    assert_eq!(left(), Some(0));
    drop((first, second));
    gateway.until("its end", |grants| grants[0].state == "closed");
    let shown = gateway.show(at(1, 1), &granted);
    assert_eq!((shown.text("state").as_str(), shown.text("cause").as_str()), ("closed", "used"));
}
