//! `cargo xtask check`: goes on past a failure, so that one run tells all.

use crate::step::{cargo, cargo_with, step};
use crate::{dependencies, sources};
use std::process::ExitCode;

/// Every step; success only if all succeed.
pub(crate) fn run() -> ExitCode {
    let well = [
        step("formatting", || cargo(&["fmt", "--all", "--check"]).map(drop)),
        step("rules of the house", sources::rules),
        step("what must be small is small", sources::small),
        step("proof types have their makers and no others", sources::makers),
        step("licences, sources, duplicates", dependencies::review),
        step("edges between crates", dependencies::edges),
        step("lints", || {
            cargo(&["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])
                .map(drop)
        }),
        // Documentation is for who reads the source: it may point at what is private.
        step("documentation", || {
            cargo_with(
                &[("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private-intra-doc-links")],
                &["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"],
            )
            .map(drop)
        }),
    ];
    if well.iter().all(|step| *step) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
