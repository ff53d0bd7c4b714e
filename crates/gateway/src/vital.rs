//! What the gateway must not go on without: accepting, closing, expiring. What must never happen here: a process that lives
//! on while one of them is dead.

use std::process::abort;

/// Held by a task for as long as it lives: if the task panics, the process ends, and whoever supervises it starts it again.
/// The panic itself has been said on standard error by then.
#[must_use]
#[derive(Debug)]
pub struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Set where the test runs itself.
    const INSIDE: &str = "KMSGATE_TEST_VITAL";
    const SIGABRT: i32 = 6;

    #[test]
    fn a_panic_in_a_vital_task_ends_the_process_and_in_another_does_not() {
        if let Ok(vital) = std::env::var(INSIDE) {
            return die(vital == "yes");
        }
        for (vital, signal) in [("yes", Some(SIGABRT)), ("no", None)] {
            let name = "vital::tests::a_panic_in_a_vital_task_ends_the_process_and_in_another_does_not";
            let mut inside = Command::new(std::env::current_exe().unwrap());
            let ended = inside.args(["--exact", name]).env(INSIDE, vital).output().unwrap();
            assert_eq!(ended.status.signal(), signal, "{ended:?}");
            assert_eq!(ended.status.success(), signal.is_none(), "{ended:?}");
        }
    }

    fn die(vital: bool) {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let ended = runtime.block_on(runtime.spawn(async move {
            let _vital = vital.then_some(Vital);
            panic!("as intended");
        }));
        assert!(ended.is_err(), "another task's end is told and the process goes on");
    }
}
