//! Bytes from one socket to another. What must never happen here: a byte that the filter did not let pass, memory held by a
//! connection at rest.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{ReadHalf, WriteHalf};

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
    from: &mut ReadHalf<'_>,
    to: &WriteHalf<'_>,
    held: &mut Vec<u8>,
    filter: &mut impl Filter,
    count: impl Fn(usize),
) -> Result<Step, Side> {
    let mut pass = |ready: &[u8]| {
        let (pass, keep) = ready.split_at_checked(filter.judge(ready)).unwrap_or((&[], ready));
        let keep = keep.to_vec();
        let written = if pass.is_empty() { 0 } else { taken(to.try_write(pass))? };
        Ok((keep, written, pass.get(written..).unwrap_or_default().to_vec()))
    };
    let Some(passed) = read(from, held, &mut pass).await? else { return Ok(Step::Ended) };
    let (keep, written, left) = passed?;
    *held = keep;
    count(written);
    rest(to, &left, count).await?;
    Ok(Step::Passed)
}

/// What can be read first, and none of it passed on; nothing at the end.
pub(super) async fn first(from: &mut ReadHalf<'_>) -> Result<Vec<u8>, Side> {
    Ok(read(from, &[], <[u8]>::to_vec).await?.unwrap_or_default())
}

/// Writes what is left of a step.
pub(super) async fn rest(to: &WriteHalf<'_>, mut bytes: &[u8], count: impl Fn(usize)) -> Result<(), Side> {
    while !bytes.is_empty() {
        to.writable().await.map_err(|_| Side::To)?;
        let written = taken(to.try_write(bytes))?;
        count(written);
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Reads once, behind what was held, and hands over both together; none at the end. The runtime knows from a read that does
/// not fill the buffer that there is no more, and spares the read that would find nothing.
async fn read<T>(from: &mut ReadHalf<'_>, held: &[u8], mut with: impl FnMut(&[u8]) -> T) -> Result<Option<T>, Side> {
    poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            let (front, room) = buffer.split_at_mut_checked(held.len()).ok_or(Side::From)?;
            front.copy_from_slice(held);
            let mut room = ReadBuf::new(room);
            ready!(Pin::new(&mut *from).poll_read(context, &mut room)).map_err(|_| Side::From)?;
            let read = room.filled().len();
            let ready = buffer.get(..held.len() + read).filter(|_| read > 0);
            Poll::Ready(Ok(ready.map(&mut with)))
        })
    })
    .await
}

/// What a socket took at once; nothing if it would have had to wait.
fn taken(written: Result<usize, Error>) -> Result<usize, Side> {
    match written {
        Ok(bytes) => Ok(bytes),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        Err(_) => Err(Side::To),
    }
}
