//! The program. All of it is in the library.

/// Freed memory is wiped: a password that passed through a buffer does not stay behind in it (P6).
#[global_allocator]
static WIPES: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    kmsgate::cli::main()
}
