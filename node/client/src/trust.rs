//! Whom a client believes to be a gateway, where gateways are reached over TLS.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// A text that holds no certificates to believe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the certificates of authorities in PEM: {0}")]
pub struct TrustError(String);

/// The authorities whose certificates are believed; by default none, so that TLS needs some to be
/// named. Clones share them.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Believes the certificates that are signed by one of these, in PEM.
    ///
    /// # Errors
    /// [`TrustError`] where there is none, or one is not readable.
    pub fn pem(text: &str) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|error| TrustError(error.to_string()))?;
            roots.add(certificate).map_err(|error| TrustError(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(TrustError("there is none".to_owned()));
        }
        Ok(Self::of(roots))
    }

    fn of(roots: RootCertStore) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config
            .with_safe_default_protocol_versions()
            .expect("ring speaks the versions that are on by default")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self(Arc::new(config))
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.0
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self::of(RootCertStore::empty())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_not_believed() {
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\n", cut] {
            assert!(Trust::pem(text).is_err(), "{text}");
        }
    }
}
