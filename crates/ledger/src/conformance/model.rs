//! Random histories against a reference.
