//! One server's trouble is its own: queue, fairness, breaker.

use crate::common::{Peer, Step, accepted, ask, ask_from, patient, pop3, refused, until};
use kmsgate_accounts::TlsMode;
use kmsgate_accounts::breaker::BreakerState;
use kmsgate_accounts::file::edit;
use kmsgate_accounts::file::hash::Cost;
use kmsgate_accounts::frame::Frame;
use kmsgate_accounts::verdict::{Account, Outage, OutageKind, Progress, Rejection, Verdict};
use kmsgate_accounts::{Accounts, FileServer, FileSettings, FrameSettings, Server};
use kmsgate_core::address::Source;
use kmsgate_core::name::{Name, ServerName};
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

fn source(text: &str) -> Source {
    Source::new(text.parse().unwrap())
}

fn right() -> Verdict {
    Verdict::Accepted(Account::default())
}

fn dead() -> Verdict {
    Verdict::Unavailable(Outage::server("dead"))
}

/// A frame with one connection that is taken, and what gives it back.
async fn occupied(queue: usize) -> (Arc<Frame>, oneshot::Sender<()>) {
    let frame = Arc::new(Frame::new(FrameSettings { connections: 1, queue, ..patient("mail") }));
    let (release, released) = oneshot::channel();
    let first = Arc::clone(&frame);
    tokio::spawn(async move {
        let progress = Progress::default();
        first
            .run(source("192.0.2.1"), &progress, async {
                released.await.unwrap();
                right()
            })
            .await
    });
    until(|| frame.snapshot("test", None).running == 1).await;
    (frame, release)
}

/// Asks from an address in a task of its own, notes when its turn came, and returns the verdict.
fn queue_up(frame: &Arc<Frame>, from: &str, turns: &Arc<Mutex<Vec<Source>>>) -> tokio::task::JoinHandle<Verdict> {
    let (frame, from, turns) = (Arc::clone(frame), source(from), Arc::clone(turns));
    tokio::spawn(async move {
        let progress = Progress::default();
        frame
            .run(from, &progress, async {
                turns.lock().unwrap().push(from);
                right()
            })
            .await
    })
}

fn busy(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unavailable(outage) if outage.kind == OutageKind::Busy)
}

#[tokio::test]
async fn f15_an_address_with_200_waiting_does_not_delay_the_first_of_another() {
    let (frame, release) = occupied(256).await;
    let turns = Arc::default();
    let waiting = |n: usize| {
        let frame = Arc::clone(&frame);
        async move { until(|| frame.snapshot("test", None).waiting == n).await }
    };
    let many: Vec<_> = (0..200).map(|_| queue_up(&frame, "198.51.100.7", &turns)).collect();
    waiting(200).await;
    let other = queue_up(&frame, "203.0.113.9", &turns);
    waiting(201).await;
    // A host of one /64 is one party, whichever of its addresses it takes.
    let v6: Vec<_> = (0..20).map(|n| queue_up(&frame, &format!("2001:db8::{n:x}"), &turns)).collect();
    waiting(221).await;
    release.send(()).unwrap();
    assert!(matches!(other.await.unwrap(), Verdict::Accepted(_)));
    for task in many.into_iter().chain(v6) {
        assert!(matches!(task.await.unwrap(), Verdict::Accepted(_)));
    }
    let turns = turns.lock().unwrap();
    let place = turns.iter().position(|from| *from == source("203.0.113.9")).unwrap();
    assert_eq!(place, 1, "one of the many, then the other");
    let of_v6 = turns.iter().take(40).filter(|from| from.ip().is_ipv6()).count();
    assert!((18..=20).contains(&of_v6), "every second turn, not more: {of_v6}");
    let snapshot = frame.snapshot("test", None);
    assert_eq!((snapshot.running, snapshot.waiting, snapshot.counts.accepted), (0, 0, 222));
}

#[tokio::test]
async fn p8_a_full_queue_is_an_outage_at_once_and_the_greedy_give_way() {
    let (frame, release) = occupied(4).await;
    let turns = Arc::default();
    let greedy: Vec<_> = (0..4).map(|_| queue_up(&frame, "198.51.100.7", &turns)).collect();
    until(|| frame.snapshot("test", None).waiting == 4).await;
    assert!(busy(&queue_up(&frame, "198.51.100.7", &turns).await.unwrap()), "no more for the greedy");
    let other = queue_up(&frame, "203.0.113.9", &turns);
    until(|| greedy.iter().any(tokio::task::JoinHandle::is_finished)).await;
    release.send(()).unwrap();
    assert!(matches!(other.await.unwrap(), Verdict::Accepted(_)));
    let mut gave_way = 0;
    for task in greedy {
        gave_way += usize::from(busy(&task.await.unwrap()));
    }
    assert_eq!(gave_way, 1);
    assert_eq!(frame.snapshot("test", None).counts.busy, 2);
}

#[tokio::test]
async fn who_goes_away_leaves_the_line_and_gives_the_turn_back() {
    let (frame, release) = occupied(4).await;
    let turns = Arc::default();
    let gone = queue_up(&frame, "198.51.100.7", &turns);
    let stays = queue_up(&frame, "198.51.100.7", &turns);
    until(|| frame.snapshot("test", None).waiting == 2).await;
    gone.abort();
    until(|| frame.snapshot("test", None).waiting == 1).await;
    release.send(()).unwrap();
    assert!(matches!(stays.await.unwrap(), Verdict::Accepted(_)));
    assert_eq!(frame.snapshot("test", None).running, 0);
}

#[tokio::test(start_paused = true)]
async fn p8_waiting_for_a_turn_ends_too() {
    let (frame, _release) = occupied(4).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    // Has its turn 20 s after the start, when the first one's time is up, and keeps it for 20 s.
    let second = Arc::clone(&frame);
    let second = tokio::spawn(async move {
        let progress = Progress::default();
        second.run(source("192.0.2.2"), &progress, std::future::pending()).await
    });
    until(|| frame.snapshot("test", None).waiting == 1).await;
    assert!(busy(&queue_up(&frame, "192.0.2.3", &Arc::default()).await.unwrap()));
    assert!(!second.is_finished());
}

#[tokio::test(start_paused = true)]
async fn p8_the_breaker_opens_after_failures_in_a_row_and_tries_one_at_a_time() {
    let settings = FrameSettings { failures: 3, rest: Duration::from_secs(10), ..patient("mail") };
    let frame = Arc::new(Frame::new(settings));
    let run = async |verdict: Verdict| {
        let progress = Progress::default();
        frame.run(source("192.0.2.1"), &progress, async { verdict }).await
    };
    let state = || frame.snapshot("test", None).breaker;
    // An answer of any kind ends the row.
    for verdict in [dead(), dead(), Verdict::Rejected(Rejection::Credentials), dead(), dead(), Verdict::NotMine] {
        drop(run(verdict).await);
        assert_eq!(state(), BreakerState::Closed);
    }
    for _ in 0..3 {
        drop(run(dead()).await);
    }
    assert_eq!(state(), BreakerState::Open);
    let refused = run(right()).await;
    assert!(busy(&refused) && format!("{refused:?}").contains("dead"), "not asked, and told why: {refused:?}");

    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(state(), BreakerState::HalfOpen);
    let (fail, failing) = oneshot::channel();
    let probing = Arc::clone(&frame);
    let probe = tokio::spawn(async move {
        let progress = Progress::default();
        probing.run(source("192.0.2.1"), &progress, async { failing.await.unwrap() }).await
    });
    until(|| frame.snapshot("test", None).running == 1).await;
    assert!(busy(&run(right()).await), "one at a time");
    fail.send(dead()).unwrap();
    drop(probe.await.unwrap());
    assert_eq!(state(), BreakerState::Open);

    // A probe whose person goes away says nothing: the next question is the probe.
    tokio::time::advance(Duration::from_secs(10)).await;
    let probing = Arc::clone(&frame);
    let probe = tokio::spawn(async move {
        let progress = Progress::default();
        probing.run(source("192.0.2.1"), &progress, std::future::pending()).await
    });
    until(|| frame.snapshot("test", None).running == 1).await;
    probe.abort();
    until(|| frame.snapshot("test", None).running == 0).await;
    assert!(matches!(run(right()).await, Verdict::Accepted(_)));
    assert_eq!(state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn f15_an_account_outage_or_a_penalty_never_opens_the_breaker() {
    let frame = Frame::new(FrameSettings { failures: 1, ..patient("mail") });
    let progress = Progress::default();
    for _ in 0..20 {
        let verdict = Verdict::Unavailable(Outage::account("[LOGIN-DELAY]"));
        drop(frame.run(source("192.0.2.1"), &progress, async { verdict }).await);
    }
    let slow = frame.run(source("192.0.2.1"), &progress, async {
        progress.handed_over();
        std::future::pending().await
    });
    assert!(matches!(slow.await, Verdict::Unavailable(outage) if outage.kind == OutageKind::Delayed));
    let snapshot = frame.snapshot("test", None);
    assert_eq!((snapshot.breaker, snapshot.delaying), (BreakerState::Closed, Some(Duration::from_secs(20))));
    // A right password that is kept waiting is a penalty too, and a quick one is its end.
    for (wait, says) in [(4, Some(Duration::from_secs(4))), (0, None)] {
        let progress = Progress::default();
        let work = async {
            progress.handed_over();
            tokio::time::advance(Duration::from_secs(wait)).await;
            right()
        };
        drop(frame.run(source("192.0.2.1"), &progress, work).await);
        assert_eq!(frame.snapshot("test", None).delaying, says);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_64_in_flight_at_a_dead_server_do_not_delay_another_servers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts");
    let cheap = Cost { memory: 8, passes: 1, lanes: 1 };
    let password = Password::new("secret".to_owned()).unwrap();
    edit::add(&path, &Name::canonical("alice").unwrap(), &password, &[], cheap).unwrap();
    let peer = Peer::new(vec![Step::Hang]).await;
    let servers = vec![
        (patient("dead"), pop3(peer.port, TlsMode::Clear, None)),
        (patient("guests"), Server::File(FileServer::new(FileSettings::new(&path)))),
    ];
    let order = [ServerName::new("dead"), ServerName::new("guests")];
    let accounts = Arc::new(Accounts::new(servers, &order, &BTreeMap::new()).unwrap());
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let accounts = Arc::clone(&accounts);
            tokio::spawn(async move { ask_from(&accounts, "bob@dead", "wrong", &format!("192.0.2.{n}")).await })
        })
        .collect();
    until(|| accounts.snapshot()[0].waiting == 48).await;
    assert_eq!(accounts.snapshot()[0].running, 16);
    for _ in 0..100 {
        let identity = accepted(ask(&accounts, "alice@guests", "secret").await);
        assert_eq!(identity.person().to_string(), "guests/alice");
    }
    // Not one of the others came to an end meanwhile, so that nothing was waited for.
    assert_eq!((accounts.snapshot()[0].running, accounts.snapshot()[0].waiting), (16, 48));
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    until(|| accounts.snapshot()[0].running == 0).await;
    let by = refused(ask(&accounts, "alice@elsewhere", "secret").await);
    assert_eq!(by.reason, Reason::InvalidCredentials);
}
