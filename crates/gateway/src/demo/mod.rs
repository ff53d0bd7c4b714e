//! Everything at once, in a temporary directory, without root: a gateway, an account, a stand-in provider. What must never
//! happen here: an activation; the stand-in speaks the RPC bind and echoes the rest.

pub mod client;
pub mod place;
pub mod provider;
pub mod tour;

use crate::config::{Config, LogTarget};
use crate::serve::{Running, ServeError, Signals, Sockets};
use place::Place;
use std::fmt;
use std::path::PathBuf;

/// What `kmsgate demo` may be told.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The portal's port on 127.0.0.1; the next free one if it is taken.
    pub portal: u16,
    /// The guarded port on 127.0.0.1; the next free one if it is taken.
    pub relay: u16,
}

/// The demo until Ctrl-C.
///
/// # Errors
/// [`DemoError`] says what could not be had.
pub fn run(options: Options) -> Result<(), DemoError> {
    let place = Place::make(options.portal, options.relay)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let signals = Signals::heed().map_err(DemoError::Serve)?;
        let provider = provider::start().await?;
        let running = start(&place, provider.address(), LogTarget::Stdout).await?;
        println!("{}", welcome(&place, &running));
        running.until_told_to_stop(signals).await;
        Ok(())
    })
}

/// A gateway in this place, in front of that provider, with its log there.
pub(crate) async fn start(place: &Place, provider: std::net::SocketAddr, log: LogTarget) -> Result<Running, DemoError> {
    let path = place.write_config(provider)?;
    let mut config = Config::load(&path).map_err(|errors| DemoError::Config(errors.to_string()))?;
    config.log.target = log;
    let sockets = Sockets::bind(&config).map_err(DemoError::Serve)?;
    Running::start(config, Some(path), sockets, None).await.map_err(DemoError::Serve)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, DemoError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| DemoError::Io("start the runtime", PathBuf::new(), error))
}

fn welcome(place: &Place, running: &Running) -> String {
    let portal = running.portal.first().map_or_else(String::new, ToString::to_string);
    let relay = running.gate.forwarder.bound().first().map_or_else(String::new, |(_, at)| at.to_string());
    let (host, port) = relay.rsplit_once(':').unwrap_or((&relay, ""));
    format!(
        "\
kmsgate demo: a gateway, an account and a stand-in provider
Everything is in {directory}; other commands find it so:
  export KMSGATE_CONFIG={directory}/kmsgate.toml

  1  the door is shut        printf hello | nc -N {host} {port}
  2  sign in                 http://{portal}/        name: demo   password: demo
  3  now it opens, once      printf hello | nc -N {host} {port}
  4  and is shut again       printf hello | nc -N {host} {port}

The stand-in provider echoes what it gets; it activates nothing.
Ctrl-C ends the demo and removes everything.
nc is in the Debian package netcat-openbsd. To see all of it happen by itself: kmsgate demo --tour
",
        directory = place.directory().display(),
    )
}

/// Why the demo did not run.
#[derive(Debug)]
pub enum DemoError {
    /// A file or socket of the demo's own.
    Io(&'static str, PathBuf, std::io::Error),
    /// The account could not be written.
    Account(String),
    /// The demo's own configuration is not accepted: a fault of ours.
    Config(String),
    /// The gateway did not start.
    Serve(ServeError),
    /// A step of the tour went otherwise than promised.
    Promise(String),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, path, error) if path.as_os_str().is_empty() => write!(f, "cannot {what}: {error}"),
            Self::Io(what, path, error) => write!(f, "cannot {what} {}: {error}", path.display()),
            Self::Account(error) => write!(f, "the demo's account: {error}"),
            Self::Config(errors) => {
                write!(f, "the demo's configuration is not accepted (please report this):\n{errors}")
            }
            Self::Serve(error) => error.fmt(f),
            Self::Promise(what) => write!(f, "not as promised: {what}"),
        }
    }
}

impl std::error::Error for DemoError {}
