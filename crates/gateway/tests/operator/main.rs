//! What an operator is promised, against a whole gateway.

#[cfg(test)]
mod control;
