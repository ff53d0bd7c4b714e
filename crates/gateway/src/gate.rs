//! What the rooms share. Each part has one owner; this only holds them together.

/// The ledger engine in use.
pub type Engine = kmsgate_ledger::sqlite::Sqlite;
