//! What can go wrong inside a job, and whom it concerns: one job, or the whole transaction.

use crate::records::LedgerError;
use rusqlite::ErrorCode;

/// Why a job did not do its work.
#[derive(Debug)]
pub(super) enum Fault {
    /// The job is refused; the others of its transaction are not concerned.
    Job(LedgerError),
    /// SQLite says so.
    Sql(rusqlite::Error),
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Self::Job(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    /// Whether nothing of the transaction can be kept: the disk, the memory or the file is at fault, not the job.
    pub(super) fn spoils_all(&self) -> bool {
        let Self::Sql(rusqlite::Error::SqliteFailure(failure, _)) = self else { return false };
        !matches!(
            failure.code,
            ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange
        )
    }
}

impl From<Fault> for LedgerError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Job(error) => error,
            Fault::Sql(error) => from_sqlite(&error),
        }
    }
}

/// SQLite's word as ours.
pub(super) fn from_sqlite(error: &rusqlite::Error) -> LedgerError {
    let rusqlite::Error::SqliteFailure(failure, text) = error else {
        return LedgerError::Unreadable(format!("a row is not as it was written: {error}"));
    };
    match failure.code {
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            LedgerError::Unreadable(format!("it is damaged ({error}); stop kmsgate and put a backup in its place"))
        }
        ErrorCode::DiskFull => LedgerError::Unavailable("the disk is full; nothing was written".to_owned()),
        ErrorCode::ConstraintViolation => LedgerError::State(format!(
            "the ledger does not hold two of these: {}",
            text.as_deref().unwrap_or("constraint")
        )),
        _ => LedgerError::Unavailable(error.to_string()),
    }
}
