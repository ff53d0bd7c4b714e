//! The certificate, which can be changed while connections go on. What must never happen here: a certificate in use whose
//! key does not belong to it.

use crate::config::TlsFiles;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

/// Why a certificate cannot be used; the one in use stays.
#[derive(Debug)]
pub enum BadCertificate {
    /// A file cannot be read or holds no PEM of the kind.
    File(PathBuf, String),
    /// The chain is empty, or the key does not belong to it.
    Pair(PathBuf, String),
    /// The protocol versions cannot be set up.
    Tls(String),
}

impl Certificate {
    /// Loads a certificate.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, BadCertificate> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = ArcSwap::from_pointee(read(files, &provider)?);
        Ok(Arc::new(Self { provider, current }))
    }

    /// Until when the certificate in use is good; none if that cannot be read.
    #[must_use]
    pub fn ends(&self) -> Option<jiff::Timestamp> {
        super::validity::ends(self.current.load().cert.first()?)
    }

    /// Takes the files again. Connections that stand keep what they have.
    ///
    /// # Errors
    /// [`BadCertificate`]; the one in use stays.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), BadCertificate> {
        self.current.store(Arc::new(read(files, &self.provider)?));
        Ok(())
    }

    /// What takes TLS 1.2 and 1.3 connections with the certificate in use at that moment.
    ///
    /// # Errors
    /// [`BadCertificate::Tls`].
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, BadCertificate> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| BadCertificate::Tls(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, BadCertificate> {
    let file = |path: &PathBuf, error: rustls::pki_types::pem::Error| {
        let why = match error {
            rustls::pki_types::pem::Error::NoItemsFound => "holds no PEM of the kind needed".to_owned(),
            other => other.to_string(),
        };
        BadCertificate::File(path.clone(), why)
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| file(&files.certificate, error))?;
    if chain.is_empty() {
        return Err(BadCertificate::File(files.certificate.clone(), "holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.private_key).map_err(|error| file(&files.private_key, error))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| BadCertificate::Pair(files.private_key.clone(), error.to_string()))
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Pair(path, why) => {
                write!(f, "{}: the key cannot be used with the certificate: {why}", path.display())
            }
            Self::Tls(why) => write!(f, "TLS cannot be set up: {why}"),
        }
    }
}

impl std::error::Error for BadCertificate {}
