//! Gives up every right but the one to change the packet filter. What must never happen here: a way back.
//!
//! Four locks, each of which holds without the others: no privilege can come back (`no_new_privs`), no capability is left but
//! CAP_NET_ADMIN, no file and no TCP port may be opened (Landlock), and every system call that serving does not need ends
//! the process (seccomp). The last one also holds the first three: none of their calls is on its list.

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::fmt;

/// Why the enforcer is not shut in. It must not run then.
#[derive(Debug)]
pub enum Open {
    /// The kernel does not take a capability away.
    Capabilities(Errno),
    /// The kernel has Landlock, and refuses what we ask of it.
    Files(RulesetError),
    /// The kernel has no seccomp, or the list cannot be made for this machine.
    Calls(seccompiler::Error),
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities(errno) => write!(f, "capabilities cannot be given up: {errno}"),
            Self::Files(error) => write!(f, "Landlock: {error}"),
            Self::Calls(error) => write!(f, "seccomp: {error}; the kernel needs CONFIG_SECCOMP_FILTER"),
        }
    }
}

impl std::error::Error for Open {}

/// How far Landlock closes the file system; seccomp closes it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// All of it, and TCP.
    Closed,
    /// What this older kernel can close.
    Partly,
    /// Nothing: the kernel has no Landlock (before 5.13), or it is not turned on (`lsm=` at the boot).
    NoLandlock,
}

/// Gives everything up but CAP_NET_ADMIN and the calls that serving needs, for good. Only the calling thread: there must be
/// no other yet.
///
/// # Errors
/// [`Open`]; the enforcer must not run then.
pub fn shut() -> Result<Files, Open> {
    keep_one_capability().map_err(Open::Capabilities)?;
    let files = close_files().map_err(Open::Files)?;
    keep_few_calls().map_err(Open::Calls)?;
    Ok(files)
}

/// Keeps CAP_NET_ADMIN, and loses whatever could bring another one (capabilities(7)).
///
/// # Errors
/// If the kernel refuses.
pub fn keep_one_capability() -> Result<(), Errno> {
    set_no_new_privs(true)?;
    let only = CapabilitySet::NET_ADMIN;
    for capability in CapabilitySet::all().difference(only) {
        // Beyond the last that this kernel knows it says EINVAL. What systemd took away already needs no CAP_SETPCAP.
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(capability)?,
            Ok(false) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: only, permitted: only, inheritable: CapabilitySet::empty() })
}

/// Closes the file system and TCP with Landlock (landlock(7), Linux 5.13), as far as the kernel can.
///
/// # Errors
/// If the kernel has it and refuses.
pub fn close_files() -> Result<Files, RulesetError> {
    // Linux 6.12, which also closes abstract sockets and signals; an older kernel enforces its part.
    let newest = ABI::V6;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Files::Closed,
        RulesetStatus::PartiallyEnforced => Files::Partly,
        RulesetStatus::NotEnforced => Files::NoLandlock,
    })
}

/// Ends the process at any system call that serving does not need (seccomp(2), Linux 4.14 for the end of the whole process).
///
/// # Errors
/// If the kernel has no seccomp, or this machine is of an architecture that the filter does not know.
pub fn keep_few_calls() -> Result<(), seccompiler::Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    // rustix looks for the vDSO when time is read first, with a call that must not be on the list.
    let _vdso_is_known = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let filter = SeccompFilter::new(calls()?, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)
}

/// What serving needs: found with strace(1) under the tests of the kernel forwarder, the same by name on x86_64 and aarch64.
/// None of them opens a file, makes a socket, starts a program, or gives memory the right to be executed.
fn calls() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::Error> {
    let whatever = [
        // Sessions, the kernel's answers and its events.
        libc::SYS_ppoll,
        libc::SYS_accept4,
        libc::SYS_recvfrom,
        // The log; the standard library may also answer sessions with it.
        libc::SYS_write,
        libc::SYS_close,
        // The C library's memory.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        // Read without a call where the clock source allows it (vdso(7)).
        libc::SYS_clock_gettime,
        // The end, at which the standard library takes down its guard of the stack.
        libc::SYS_sigaltstack,
        libc::SYS_exit_group,
    ];
    let mut calls: BTreeMap<_, _> = whatever.into_iter().map(|call| (call, vec![])).collect();
    for (call, condition) in [
        // To whom a socket is connected, and to nobody else: no address.
        (libc::SYS_sendto, argument(4, SeccompCmpArgLen::Qword, Eq, 0)?),
        // Whose a session is.
        (libc::SYS_getsockopt, argument(2, SeccompCmpArgLen::Dword, Eq, number(libc::SO_PEERCRED))?),
        // A session that does not block.
        (libc::SYS_ioctl, argument(1, SeccompCmpArgLen::Dword, Eq, FIONBIO)?),
        // The standard library's builds with assertions ask before a close whether the descriptor is open.
        (libc::SYS_fcntl, argument(1, SeccompCmpArgLen::Dword, Eq, number(libc::F_GETFD))?),
        (libc::SYS_mmap, argument(2, SeccompCmpArgLen::Dword, MaskedEq(number(libc::PROT_EXEC)), 0)?),
    ] {
        calls.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    Ok(calls)
}

/// asm-generic/ioctls.h: libc gives it another type on each C library.
const FIONBIO: u64 = 0x5421;

fn argument(
    index: u8,
    length: SeccompCmpArgLen,
    compare: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, length, compare, value)
}

fn number(constant: i32) -> u64 {
    u64::from(constant.unsigned_abs())
}
