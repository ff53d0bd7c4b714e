//! The control socket. What must never happen here: somebody who is neither root nor our own user.

use crate::event::notice::Notices;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustix::process::{getuid, umask};
use std::fs::{Permissions, create_dir_all, remove_file, set_permissions, symlink_metadata};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// Pause after the system refused to hand over a connection (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bound socket; its file goes with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Who asks, as the kernel says (SO_PEERCRED, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    user: u32,
}

impl Peer {
    /// As it is recorded: the user's name, or the number if it has none.
    #[must_use]
    pub fn operator(self) -> String {
        crate::rights::name_of(self.user).unwrap_or_else(|| format!("uid{}", self.user))
    }
}

impl Control {
    /// Binds it with mode 0600. A socket that is there and that nobody answers was left behind, and is removed.
    ///
    /// # Errors
    /// If somebody answers there, if there is a file that is no socket, or as bind(2).
    pub fn bind(path: &Path) -> Result<Self> {
        if let Some(directory) = path.parent() {
            create_dir_all(directory)?;
        }
        remove_stale(path)?;
        // Nobody else may connect even between the bind and the change of mode.
        let before = umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound?;
        set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until `stop`.
    pub async fn serve(self, routes: Router, notices: Notices, stop: CancellationToken) {
        let routes = routes.into_make_service_with_connect_info::<Peer>();
        let path = self.path.clone();
        let serving = axum::serve(self, routes).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            notices.say(crate::event::notice::Notice::Control { path, error: error.to_string() });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A socket that stays is removed by the next start.
        remove_file(&self.path).unwrap_or(());
    }
}

impl Listener for Control {
    type Io = UnixStream;
    type Addr = SocketAddr;

    /// Drops whoever may not ask.
    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) if peer(&stream).is_some() => return (stream, address),
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Control>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Control>) -> Self {
        // Accepted above, so it is there; if it were not, nobody's number is the least that can be said.
        peer(stream.io()).unwrap_or(Self { user: u32::MAX })
    }
}

/// Root or our own user.
fn peer(stream: &UnixStream) -> Option<Peer> {
    let user = stream.peer_cred().ok()?.uid();
    (user == 0 || user == getuid().as_raw()).then_some(Peer { user })
}

fn remove_stale(path: &Path) -> Result<()> {
    match symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket; move it away"));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(Error::new(ErrorKind::AddrInUse, "another gateway answers there; stop it, or change run_dir")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => remove_file(path),
        Err(error) => Err(error),
    }
}
