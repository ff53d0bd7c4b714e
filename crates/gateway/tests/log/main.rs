//! What the log promises its receivers.

#[cfg(test)]
mod receivers;
