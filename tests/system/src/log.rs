//! What a program says, line by line. What must never happen here: a line that is lost, a wait that takes time for a
//! condition.

use crate::PATIENCE;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at what tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(20);

/// Lines of a program that runs, and of the one that ran before it in the same test.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Log {
    /// Collects from here until it ends.
    pub fn collect(&self, from: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                log.lines().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                log.0.more.notify_all();
                line.clear();
            }
            log.0.more.notify_all();
        });
    }

    /// All of it so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines().len()
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// The lines that have all of these parts.
    #[must_use]
    pub fn with(&self, parts: &[&str]) -> Vec<String> {
        self.lines().iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
    }

    /// Waits until `seen` has an answer. Asked again after every line, and every now and then, for what is not told by a
    /// line.
    ///
    /// # Panics
    /// If there is none for [`PATIENCE`]; the log is shown.
    #[expect(clippy::panic, reason = "a test that cannot go on fails")]
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = seen() {
                return found;
            }
            if Instant::now() > until {
                panic!("waited in vain for: {what}\n{}", self.text());
            }
            let lines = self.lines();
            drop(self.0.more.wait_timeout(lines, LOOK).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The first line, after the first `skip` ones, that has all of these parts.
    #[must_use]
    pub fn after(&self, skip: usize, parts: &[&str]) -> Option<String> {
        self.lines().iter().skip(skip).find(|line| parts.iter().all(|part| line.contains(part))).cloned()
    }

    /// Waits for a line that has all of these parts.
    ///
    /// # Panics
    /// As [`Log::until`].
    #[track_caller]
    pub fn line(&self, parts: &[&str]) -> String {
        self.until(&format!("a line with {parts:?}"), || self.after(0, parts))
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
