//! Bytes from one socket to another. What must never happen here: a byte that the filter did not let pass, memory held by a
//! connection at rest.

use std::cell::RefCell;
use std::io::{Error, ErrorKind};
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;

/// Most bytes of one step.
const STEP: usize = 64 * 1024;

thread_local! {
    /// Bytes on their way through a thread. What a socket does not take at once is kept by its direction, which reads
    /// nothing more until it is gone.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; STEP]);
}

/// Which socket failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that is read.
    From,
    /// The one that is written.
    To,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Something came, and what may pass has passed.
    Passed,
    /// Nothing more comes.
    Ended,
}

/// Decides what passes.
pub(super) trait Filter {
    /// How many of these bytes may pass. The others, fewer than sixteen, are handed in again with more behind them.
    fn judge(&mut self, bytes: &[u8]) -> usize;
}

/// Waits until something can be read, reads once, and passes on what may pass. `held` is what the filter did not let pass
/// yet; `count` is told of bytes when the other socket has taken them.
pub(super) async fn step(
    from: &TcpStream,
    to: &TcpStream,
    held: &mut Vec<u8>,
    filter: &mut impl Filter,
    count: impl Fn(usize),
) -> Result<Step, Side> {
    loop {
        // A socket that is always ready must leave time to whatever else its task waits for.
        consume_budget().await;
        from.readable().await.map_err(|_| Side::From)?;
        let Some(moved) = BUFFER.with_borrow_mut(|buffer| move_once(buffer, from, to, held, filter))? else { continue };
        let Moved::Some { written, left } = moved else { return Ok(Step::Ended) };
        count(written);
        rest(to, &left, count).await?;
        return Ok(Step::Passed);
    }
}

/// Writes what is left of a step.
pub(super) async fn rest(to: &TcpStream, mut bytes: &[u8], count: impl Fn(usize)) -> Result<(), Side> {
    while !bytes.is_empty() {
        to.writable().await.map_err(|_| Side::To)?;
        let written = taken(to.try_write(bytes), Side::To)?.unwrap_or(0);
        count(written);
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

enum Moved {
    Some { written: usize, left: Vec<u8> },
    End,
}

/// One read and one write, without waiting; none if nothing was there.
fn move_once(
    buffer: &mut [u8],
    from: &TcpStream,
    to: &TcpStream,
    held: &mut Vec<u8>,
    filter: &mut impl Filter,
) -> Result<Option<Moved>, Side> {
    let kept = held.len();
    if let Some(front) = buffer.get_mut(..kept) {
        front.copy_from_slice(held);
    }
    let room = buffer.get_mut(kept..).unwrap_or_default();
    let Some(read) = taken(from.try_read(room), Side::From)? else { return Ok(None) };
    if read == 0 {
        return Ok(Some(Moved::End));
    }
    let ready = buffer.get(..kept + read).unwrap_or_default();
    let (pass, keep) = ready.split_at_checked(filter.judge(ready)).unwrap_or((&[], ready));
    held.clear();
    held.extend_from_slice(keep);
    let written = if pass.is_empty() { 0 } else { taken(to.try_write(pass), Side::To)?.unwrap_or(0) };
    Ok(Some(Moved::Some { written, left: pass.get(written..).unwrap_or_default().to_vec() }))
}

/// What a socket did at once; none if it would have had to wait.
fn taken(done: Result<usize, Error>, side: Side) -> Result<Option<usize>, Side> {
    match done {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(_) => Err(side),
    }
}
