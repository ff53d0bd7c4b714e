//! TLS to account servers, the same for every kind. What must never happen here: a certificate that is not verified.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, ClientConfig, SupportedProtocolVersion};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ONLY_1_3: &[&SupportedProtocolVersion] = &[&TLS13];

/// What the configuration says of TLS to one server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// PEM file of the authorities that are trusted for this server, and no others; without it the system's are.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must bear, where it is not the host of the url.
    pub server_name: Option<String>,
    /// PEM files of the certificate and key that we show, if the server asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether TLS 1.2 is not enough.
    pub only_1_3: bool,
}

/// Verified TLS to one server, ready to use.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Why there is no TLS to a server.
#[derive(Debug)]
pub enum TlsError {
    /// A PEM file that cannot be read or has nothing in it.
    Pem(PathBuf, String),
    /// A name that no certificate can bear.
    Name(String, InvalidDnsNameError),
    /// What rustls or the system says.
    Refused(String),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the name.
    pub fn new(settings: &TlsSettings, host: &str) -> Result<Self, TlsError> {
        let refused = |why: rustls::Error| TlsError::Refused(why.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(if settings.only_1_3 { ONLY_1_3 } else { ALL_VERSIONS })
            .map_err(refused)?;
        let builder = match &settings.ca {
            Some(path) => builder.with_root_certificates(authorities(path)?),
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(refused)?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = match &settings.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key =
                    PrivateKeyDer::from_pem_file(key).map_err(|why| TlsError::Pem(key.clone(), why.to_string()))?;
                builder.with_client_auth_cert(chain, key).map_err(refused)?
            }
        };
        let name = settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|why| TlsError::Name(name.to_owned(), why))?;
        Ok(Self { config: Arc::new(config), name })
    }

    /// For a library that connects by itself.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// For one connection: how to begin, and the name to verify.
    #[must_use]
    pub fn connector(&self) -> (tokio_rustls::TlsConnector, ServerName<'static>) {
        (tokio_rustls::TlsConnector::from(Arc::clone(&self.config)), self.name.clone())
    }
}

fn authorities(path: &Path) -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|why| TlsError::Pem(path.to_owned(), why.to_string()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |why: String| TlsError::Pem(path.to_owned(), why);
    let found = CertificateDer::pem_file_iter(path).map_err(|why| bad(why.to_string()))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|why| bad(why.to_string()))?;
    if found.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(found) }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Name(name, why) => write!(f, "{name:?} cannot stand in a certificate: {why}"),
            Self::Refused(why) => write!(f, "TLS cannot be used: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}
