//! For fuzzers and property tests: every reader of this crate on arbitrary bytes. What must never happen here: a panic on
//! bytes of a stranger that is no fault of a reader.

use crate::order::Order;
use crate::table::Table;
use crate::wire::{LONGEST, Reply, frame};

/// Frames, orders and replies: what is read is written as the same bytes, since no order has two spellings.
///
/// # Panics
/// If a reader is at fault.
pub fn wire(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((body, length))) = frame(rest) {
        assert!(body.len() <= LONGEST && length == body.len() + 2, "a frame is bounded");
        let (whole, behind) = rest.split_at(length);
        let mut written = vec![];
        if let Ok((number, order)) = Order::read(body) {
            order.write(number, &mut written);
            assert_eq!(written, whole, "{order:?}");
            written.clear();
        }
        match Reply::read(body) {
            // News carry no number, whatever stood there.
            Ok(Reply::News(news)) => {
                Reply::News(news).write(&mut written);
                assert_eq!(written.get(6..), whole.get(6..), "{news:?}");
            }
            Ok(answer) => {
                answer.write(&mut written);
                assert_eq!(written, whole, "{answer:?}");
            }
            Err(_) => {}
        }
        rest = behind;
    }
}

/// A table: what is accepted is written so that the same is read again.
///
/// # Panics
/// If the reader is at fault.
pub fn table(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Table::parse(text) {
        Ok(table) => assert_eq!(Table::parse(&table.write()).as_ref(), Ok(&table)),
        Err(bad) => assert!(bad.line <= text.lines().count().max(1), "line {} of {text:?}", bad.line),
    }
}
