//! The figures of bench/README.md. What must never happen here: a figure without its spread.

fn main() {}
