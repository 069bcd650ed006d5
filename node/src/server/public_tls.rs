//! How clients are spoken to over TLS: a certificate that may be replaced while they are.
//!
//! Every handshake takes the certificate that is there at that moment; connections that stand keep
//! theirs. What cannot be used is refused as a whole, and the one before it goes on.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rotary_transport::chain_ends_s;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::GatewayDoors;
use crate::server::StartError;

/// TLS for the public port.
#[derive(Debug, Clone)]
pub(crate) struct PublicTls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

/// The certificate that is shown.
#[derive(Debug)]
struct Shown {
    doors: GatewayDoors,
    /// What was there and is of no use, so that it is told once.
    refused: RwLock<Option<Written>>,
    certified: RwLock<(Arc<CertifiedKey>, Written)>,
}

/// When certificate and key were written, as far as the disk tells.
type Written = [Option<SystemTime>; 2];

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certified = self.certified.read().unwrap_or_else(PoisonError::into_inner);
        Some(certified.0.clone())
    }
}

impl PublicTls {
    /// With the files that are configured; nothing where clients speak plain HTTP.
    ///
    /// # Errors
    /// [`StartError::PublicCertificate`] naming the file.
    pub(crate) fn load(doors: &GatewayDoors) -> Result<Option<Self>, StartError> {
        if !doors.is_tls() {
            return Ok(None);
        }
        let shown = read(doors)?;
        let shown = Arc::new(Shown {
            doors: doors.clone(),
            refused: RwLock::default(),
            certified: RwLock::new(shown),
        });
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the versions that are on by default")
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { config: Arc::new(config), shown }))
    }

    /// What handshakes are made with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The last second, counted from 1970, at which what is shown is good.
    pub(crate) fn ends_s(&self) -> Option<u64> {
        let certified = self.shown.certified.read().unwrap_or_else(PoisonError::into_inner);
        chain_ends_s(&certified.0.cert)
    }

    /// Shows what the files have by now, if they were written since; whether they were.
    ///
    /// # Errors
    /// [`StartError::PublicCertificate`] naming the file, once until it is written again; the
    /// certificate before is shown on.
    pub(super) fn look_again(&self) -> Result<bool, StartError> {
        let before = self.shown.certified.read().unwrap_or_else(PoisonError::into_inner).1;
        let now = written(&self.shown.doors);
        let mut refused = self.shown.refused.write().unwrap_or_else(PoisonError::into_inner);
        if now == before || *refused == Some(now) {
            return Ok(false);
        }
        let shown = read(&self.shown.doors).inspect_err(|_| *refused = Some(now))?;
        *refused = None;
        *self.shown.certified.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(true)
    }
}

fn written(doors: &GatewayDoors) -> Written {
    [&doors.certificate_file, &doors.key_file]
        .map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn read(doors: &GatewayDoors) -> Result<(Arc<CertifiedKey>, Written), StartError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |what: String| StartError::PublicCertificate { path, what }
    };
    // Before they are read: what is written meanwhile is looked at again.
    let written = written(doors);
    let (certificate, key) = (&doors.certificate_file, &doors.key_file);
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate)(error.to_string()))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key)(error.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(chain, secret, &provider)
        .map_err(|error| wrong(certificate)(error.to_string()))?;
    Ok((Arc::new(certified), written))
}
