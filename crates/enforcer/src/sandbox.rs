//! Gives up every right but the one to change the packet filter. What must never happen here: a way back.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// Keeps CAP_NET_ADMIN and nothing else, for good.
///
/// # Errors
/// If the kernel refuses: the enforcer must not run then.
pub fn shut() -> Result<(), Errno> {
    set_no_new_privs(true)?;
    let only = CapabilitySet::NET_ADMIN;
    for capability in CapabilitySet::all().difference(only) {
        // Beyond the last that this kernel knows it says EINVAL.
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    set_capabilities(None, CapabilitySets { effective: only, permitted: only, inheritable: CapabilitySet::empty() })
}
