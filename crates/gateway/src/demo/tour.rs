//! `kmsgate demo --tour`: does everything by itself on free ports and says what it saw. What must never happen here: a
//! step that is printed as done and was not.

use super::client::{self, Response, Tried};
use super::place::Place;
use super::{DemoError, provider, runtime, start};
use crate::config::LogTarget;
use crate::event::line;
use crate::serve::Running;
use kmsgate_ledger::records::{Event, What};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Walks through a sign-in from the shut door to the used quota.
///
/// # Errors
/// [`DemoError::Promise`] at the first step that goes otherwise than promised.
pub fn run() -> Result<(), DemoError> {
    let place = Place::make(0, 0)?;
    runtime()?.block_on(async {
        let provider = provider::start().await?;
        let running = start(&place, provider.address(), LogTarget::Nobody).await?;
        let walked = walk(&running).await;
        running.stop().await;
        walked
    })?;
    println!("\nEvery step went as promised.");
    Ok(())
}

async fn walk(running: &Running) -> Result<(), DemoError> {
    let portal = *running.portal.first().ok_or_else(|| broken("the portal listens"))?;
    let guarded = running.gate.forwarder.bound().first().ok_or_else(|| broken("the relay listens"))?.1;

    step(1, "Nobody has signed in: the guarded port resets a connection at once.");
    expect_reset(guarded).await?;

    step(2, "A wrong password opens nothing, and says no more than it must.");
    refused(portal, "demo", "wrong", 401, "invalid_credentials").await?;
    expect_reset(guarded).await?;

    step(3, "Signed in: the gateway opens for this address, for one connection.");
    granted(portal).await?;

    step(4, "The connection reaches the provider, which accepts the RPC bind.");
    expect(connect(guarded).await?, &Tried::Accepted)?;
    say("the provider answered");
    closed(running, 1).await?;

    step(5, "One sign-in, one connection: the next one is reset.");
    expect_reset(guarded).await?;

    step(6, "Signed in again: the quota here is two a week, so this is the last.");
    granted(portal).await?;
    expect(connect(guarded).await?, &Tried::Accepted)?;
    say("the provider answered");
    closed(running, 2).await?;

    step(7, "The quota is used up: the refusal says so, and when to come back.");
    refused(portal, "demo", "demo", 429, "quota_exhausted").await?;

    step(8, "What the ledger says:");
    ledger(running).await
}

fn step(number: u32, text: &str) {
    println!("\n{number}  {text}");
}

fn say(text: &str) {
    println!("   {text}");
}

async fn granted(portal: SocketAddr) -> Result<(), DemoError> {
    let response = sign_in(portal, "demo", "demo").await?;
    let state = text(&response, "state");
    let left = response.body.get("connections_left").and_then(serde_json::Value::as_u64).unwrap_or(0);
    say(&format!("{} state={state} connections_left={left}", response.status));
    if response.status == 201 && state == "open" && left == 1 {
        Ok(())
    } else {
        Err(otherwise("201, open, one connection", &response))
    }
}

async fn refused(
    portal: SocketAddr,
    name: &str,
    password: &'static str,
    status: u16,
    reason: &str,
) -> Result<(), DemoError> {
    let response = sign_in(portal, name, password).await?;
    say(&format!("{} reason={}", response.status, text(&response, "reason")));
    if response.status == status && text(&response, "reason") == reason {
        Ok(())
    } else {
        Err(otherwise(reason, &response))
    }
}

async fn expect_reset(guarded: SocketAddr) -> Result<(), DemoError> {
    expect(connect(guarded).await?, &Tried::Reset)?;
    say("reset");
    Ok(())
}

fn expect(seen: Tried, promised: &Tried) -> Result<(), DemoError> {
    if seen == *promised {
        Ok(())
    } else {
        Err(DemoError::Promise(format!("{promised:?} was promised, {seen:?} was seen")))
    }
}

/// Waits until so many grants are closed: the ledger has what came of them.
async fn closed(running: &Running, many: usize) -> Result<(), DemoError> {
    let (mut seen, mut closed) = (0, 0);
    while closed < many {
        for event in events(running, seen).await? {
            seen = event.number;
            closed += usize::from(matches!(event.what, What::Closed(_)));
        }
    }
    Ok(())
}

async fn events(running: &Running, after: u64) -> Result<Vec<Event>, DemoError> {
    let events = running.gate.news.after(running.gate.ledger.as_ref(), after, 100).await;
    events.map_err(|error| DemoError::Promise(error.to_string()))
}

/// Prints every event as the log prints it.
async fn ledger(running: &Running) -> Result<(), DemoError> {
    for event in events(running, 0).await? {
        say(&line::message(&event));
    }
    Ok(())
}

async fn sign_in(portal: SocketAddr, name: &str, password: &'static str) -> Result<Response, DemoError> {
    let name = name.to_owned();
    off_the_runtime("sign in", move || client::sign_in(portal, &name, password)).await
}

async fn connect(guarded: SocketAddr) -> Result<Tried, DemoError> {
    off_the_runtime("connect", move || client::connect(guarded)).await
}

async fn off_the_runtime<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, DemoError> {
    let io = |error| DemoError::Io(what, PathBuf::new(), error);
    tokio::task::spawn_blocking(work).await.map_err(|error| io(std::io::Error::other(error)))?.map_err(io)
}

fn text<'a>(response: &'a Response, key: &str) -> &'a str {
    response.body.get(key).and_then(|value| value.as_str()).unwrap_or("")
}

fn otherwise(promised: &str, response: &Response) -> DemoError {
    DemoError::Promise(format!("{promised} was promised; {} {} came", response.status, response.body))
}

fn broken(what: &str) -> DemoError {
    DemoError::Promise(format!("{what}, but it does not"))
}
