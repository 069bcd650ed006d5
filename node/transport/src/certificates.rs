//! Who a node is, and who it believes: its certificate, its key and the cluster's authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rotary_proto::NodeId;
use rotary_proto::wire::ALPN;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::authority::parse_node_uri;
use crate::validity::chain_ends_s;

/// Why certificates cannot be made or used, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {source}; check the path and its permissions")]
    Read {
        /// Which file it is, e.g. "the node's key".
        what: &'static str,
        /// Where it was expected.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A text has no PEM of the kind expected.
    #[error("{what} is not valid PEM: {reason}; copy it again from where the cluster was made")]
    Pem {
        /// Which text it is, with its file if it came from one.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate names no node.
    #[error("the node's certificate names no node of a cluster; issue one with `rotary cluster`")]
    NoNode,
    /// Key, certificate and authority do not belong together.
    #[error("certificate and key do not fit together: {0}; use the pair issued to this node")]
    Mismatch(#[from] rustls::Error),
    /// The authority cannot verify anybody.
    #[error("the cluster's authority is unusable: {0}; copy it again from where it was made")]
    Authority(String),
    /// A cluster's id cannot be part of a DNS name.
    #[error("{0:?} is not a cluster id; use 1 to 40 of a-z, 0-9 and '-', not at the edges")]
    ClusterName(String),
    /// Making a key or a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// One node's certificate and key, and whom it believes: its cluster's authority, or two while that
/// is exchanged.
#[derive(Debug)]
pub struct Certificates {
    cluster: String,
    node: NodeId,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificates {
    /// Reads them from PEM texts: the certificates of one or more authorities, the node's
    /// certificate, its key.
    ///
    /// # Errors
    /// `Pem`, `NoNode`, `Authority`; whether key and certificate fit is found out when they are
    /// used.
    pub fn from_pem(
        authority: &str,
        certificate: &str,
        key: &str,
    ) -> Result<Self, CertificateError> {
        let pem = |what: &str| {
            let what = what.to_owned();
            move |error: rustls::pki_types::pem::Error| CertificateError::Pem {
                what,
                reason: error.to_string(),
            }
        };
        let authorities: Vec<_> = CertificateDer::pem_slice_iter(authority.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(pem("the cluster's authority"))?;
        if authorities.is_empty() {
            let none = rustls::pki_types::pem::Error::NoItemsFound;
            return Err(pem("the cluster's authority")(none));
        }
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(pem("the node's certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem("the node's key"))?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            let added = roots.add(authority);
            added.map_err(|error| CertificateError::Authority(error.to_string()))?;
        }
        let (cluster, node) = chain.first().and_then(node_of).ok_or(CertificateError::NoNode)?;
        Ok(Self { cluster, node, roots: Arc::new(roots), chain, key })
    }

    /// Reads them from PEM files.
    ///
    /// # Errors
    /// As [`Certificates::from_pem`], and `Read`.
    pub fn load(
        authority: &Path,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, CertificateError> {
        let read = |what, path: &Path| {
            std::fs::read_to_string(path).map_err(|source| CertificateError::Read {
                what,
                path: path.to_owned(),
                source,
            })
        };
        let authority = read("the cluster's authority", authority)?;
        let certificate = read("the node's certificate", certificate)?;
        Self::from_pem(&authority, &certificate, &read("the node's key", key)?)
    }

    /// The cluster named in the node's certificate.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The node named in its certificate.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The last second, counted from 1970, at which the node's certificate is good; nothing if that
    /// cannot be read from it. Authorities are believed for as long as they are named.
    pub fn ends_s(&self) -> Option<u64> {
        chain_ends_s(&self.chain)
    }

    /// Whether key and certificate belong together.
    ///
    /// # Errors
    /// `Mismatch`, or `Authority` for one that can verify nobody.
    pub fn check_key(&self) -> Result<(), CertificateError> {
        self.server_config()?;
        self.client_config().map(drop)
    }

    /// Whether the cluster's authority vouches for the node's certificate at that time, in seconds
    /// since 1970.
    ///
    /// # Errors
    /// What is wrong with it then: expired, not valid yet, of another authority.
    pub fn check_at(&self, unix_s: u64) -> Result<(), String> {
        let said = |error: webpki::Error| format!("{error:?}");
        let (first, rest) = self.chain.split_first().ok_or("there is no certificate")?;
        let certificate = webpki::EndEntityCert::try_from(first).map_err(said)?;
        let provider = provider();
        let checked = certificate.verify_for_usage(
            provider.signature_verification_algorithms.all,
            &self.roots.roots,
            rest,
            UnixTime::since_unix_epoch(Duration::from_secs(unix_s)),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        );
        checked.map(drop).map_err(said)
    }

    pub(crate) fn server_config(&self) -> Result<QuicServerConfig, CertificateError> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider()).build();
        let verifier = verifier.map_err(|error| CertificateError::Authority(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        let config = QuicServerConfig::try_from(config);
        config.map_err(|error| CertificateError::Authority(error.to_string()))
    }

    pub(crate) fn client_config(&self) -> Result<QuicClientConfig, CertificateError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_early_data = false;
        config.resumption = Resumption::disabled();
        let config = QuicClientConfig::try_from(config);
        config.map_err(|error| CertificateError::Authority(error.to_string()))
    }

    /// Secret bytes that stay the same as long as the node's key does.
    pub(crate) fn stable_secret(&self) -> [u8; 32] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(b"rotary stateless reset");
        context.update(self.key.secret_der());
        let mut secret = [0; 32];
        secret.copy_from_slice(context.finish().as_ref());
        secret
    }
}

/// The cluster and node that a certificate is for.
fn node_of(certificate: &CertificateDer<'_>) -> Option<(String, NodeId)> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let found = certificate.valid_uri_names().find_map(parse_node_uri);
    found.map(|(cluster, node)| (cluster.to_owned(), node))
}

/// The cluster and node of a connection's other end, which TLS has verified.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<(String, NodeId)> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.first().and_then(node_of)
}

fn provider() -> Arc<CryptoProvider> {
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(feature = "seeded-secrets")]
    let provider = crate::seeded_secrets::provider(provider);
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterAuthority;

    #[test]
    fn a_certificate_tells_whose_it_is() {
        let authority = ClusterAuthority::create("blue").expect("a good id");
        let pem = authority.issue(NodeId(7)).expect("signs");
        let ours = Certificates::from_pem(authority.certificate_pem(), &pem.certificate, &pem.key)
            .expect("fits");
        assert_eq!((ours.cluster(), ours.node()), ("blue", NodeId(7)));
        ours.server_config().expect("usable");
        ours.client_config().expect("usable");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let authority = ClusterAuthority::create("blue").expect("a good id");
        let (one, two) = (authority.issue(NodeId(1)), authority.issue(NodeId(2)));
        let (one, two) = (one.expect("signs"), two.expect("signs"));
        let ca = authority.certificate_pem();
        let error = Certificates::from_pem(ca, &one.certificate, "nothing").expect_err("no key");
        assert!(error.to_string().starts_with("the node's key is not valid PEM"), "{error}");
        let error = Certificates::from_pem(ca, ca, &one.key).expect_err("no node");
        assert!(matches!(error, CertificateError::NoNode));
        let mixed = Certificates::from_pem(ca, &one.certificate, &two.key).expect("parses");
        let error = mixed.server_config().err().expect("another key");
        assert!(matches!(error, CertificateError::Mismatch(_)), "{error}");
        let nowhere = Path::new("/nowhere/ca.pem");
        let error = Certificates::load(nowhere, nowhere, nowhere).expect_err("no file");
        assert!(error.to_string().contains("the cluster's authority /nowhere/ca.pem"));
    }
}
