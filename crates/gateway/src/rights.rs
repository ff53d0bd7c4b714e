//! Gives up root. What must never happen here: half a change of user, or a way back.
//!
//! Runs before any thread is started: the system calls used change one thread only (setuid(2), "C library/kernel
//! differences").

use rustix::process::{DumpableBehavior, Gid, Uid, getuid, set_dumpable_behavior};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::fmt;

/// Who root becomes unless the configuration names somebody.
const USER: &str = "kmsgate";

/// Becomes `user` for good if this process is root's; an ordinary user stays who they are. `root` must be said to stay
/// root. Whoever it is gains nothing by execve(2) from here on (PR_SET_NO_NEW_PRIVS, Linux 3.5).
///
/// # Errors
/// If there is no such user, or the kernel refuses.
pub fn drop_to(user: Option<&str>) -> Result<(), RightsError> {
    set_no_new_privs(true).map_err(RightsError::refused)?;
    let user = user.unwrap_or(USER);
    if !getuid().is_root() || user == "root" {
        return Ok(());
    }
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(RightsError::Passwd)?;
    let (uid, gid) = find(&passwd, user).ok_or_else(|| RightsError::NoSuchUser(user.to_owned()))?;
    set_thread_groups(&[]).map_err(RightsError::refused)?;
    set_thread_res_gid(gid, gid, gid).map_err(RightsError::refused)?;
    set_thread_res_uid(uid, uid, uid).map_err(RightsError::refused)
}

/// No core and no debugger sees the passwords in this process (`PR_SET_DUMPABLE`, prctl(2)).
///
/// # Errors
/// If the kernel refuses.
pub fn seal() -> Result<(), RightsError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(RightsError::refused)
}

/// The name of a user's number in the system's passwd(5) file.
#[must_use]
pub fn name_of(user: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    name_in(&passwd, user).map(str::to_owned)
}

fn name_in(passwd: &str, user: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(user)).then_some(name)
    })
}

/// The user's and group's numbers in a passwd(5) file.
fn find(passwd: &str, user: &str) -> Option<(Uid, Gid)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (name == user).then(|| (Uid::from_raw(uid), Gid::from_raw(gid)))
    })
}

/// Why root was not given up.
#[derive(Debug)]
pub enum RightsError {
    /// `/etc/passwd` cannot be read.
    Passwd(std::io::Error),
    /// No such user.
    NoSuchUser(String),
    /// The kernel refused.
    Refused(std::io::Error),
}

impl RightsError {
    fn refused(error: rustix::io::Errno) -> Self {
        Self::Refused(error.into())
    }
}

impl fmt::Display for RightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passwd(error) => write!(f, "cannot read /etc/passwd: {error}"),
            Self::NoSuchUser(user) => write!(
                f,
                "started as root, but there is no user {user:?} to become: create it (`useradd --system {user}`), or name another as [node].user"
            ),
            Self::Refused(error) => write!(f, "the kernel refuses to take rights away from this process: {error}"),
        }
    }
}

impl std::error::Error for RightsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nkms:x:7:8::/:/bin/false\nkmsgate:x:998:997::/:/bin/false\nbroken\n";
        let found = |user| find(passwd, user).map(|(uid, gid)| (uid.as_raw(), gid.as_raw()));
        assert_eq!(found("kmsgate"), Some((998, 997)));
        assert_eq!(found("kms"), Some((7, 8)));
        assert_eq!(found("broken"), None);
        assert_eq!(found("nobody"), None);
        assert_eq!(name_in(passwd, 998), Some("kmsgate"));
        assert_eq!(name_in(passwd, 997), None, "a group's number is no user's");
    }
}
