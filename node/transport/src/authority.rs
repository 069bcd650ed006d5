//! The cluster's own certificate authority: one per cluster, made once, kept offline.
//!
//! It signs one certificate per node, which names the node twice: as the DNS name that a client
//! asks for (`node-<id>.<cluster>.rotary`) and as a URI that says who is calling
//! (`rotary://<cluster>/node/<id>`). Keys are Ed25519. The certificates do not expire unless they
//! are asked to: what takes a node out of the cluster is its removal from the directory.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType,
};
use rotary_proto::NodeId;

use crate::certificates::CertificateError;

/// When certificates end that do not expire, in seconds since 1970: with the year 4095.
const END_MAX_S: u64 = 67_090_118_400;

/// The key and certificate that sign the certificates of nodes.
#[derive(Clone)]
pub struct ClusterAuthority {
    cluster: String,
    certificate_pem: String,
    key_pem: String,
}

/// What a node presents, as PEM texts.
#[derive(Clone)]
pub struct NodePem {
    /// The node's certificate.
    pub certificate: String,
    /// Its private key: readable by the node only.
    pub key: String,
}

impl std::fmt::Debug for ClusterAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterAuthority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NodePem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodePem").finish_non_exhaustive()
    }
}

/// The name that a client expects in the certificate of the node it dials.
pub(crate) fn server_name(cluster: &str, node: NodeId) -> String {
    format!("node-{}.{cluster}.rotary", node.0)
}

/// The URI by which a certificate says which node it is for.
pub(crate) fn node_uri(cluster: &str, node: NodeId) -> String {
    format!("rotary://{cluster}/node/{}", node.0)
}

/// Reads what [`node_uri`] wrote.
pub(crate) fn parse_node_uri(uri: &str) -> Option<(&str, NodeId)> {
    let (cluster, node) = uri.strip_prefix("rotary://")?.split_once("/node/")?;
    let node = NodeId(node.parse().ok()?);
    (node_uri(cluster, node) == uri).then_some((cluster, node))
}

/// A cluster id becomes part of a DNS name, so it must be a label of one.
fn check_cluster(cluster: &str) -> Result<(), CertificateError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edges = !cluster.starts_with('-') && !cluster.ends_with('-');
    let length = (1..=40).contains(&cluster.len());
    if length && edges && cluster.bytes().all(plain) {
        return Ok(());
    }
    Err(CertificateError::ClusterName(cluster.chars().take(64).collect()))
}

impl ClusterAuthority {
    /// Makes the authority of a new cluster.
    ///
    /// # Errors
    /// `ClusterName` unless the id is 1 to 40 of `a-z`, `0-9` and inner `-`.
    pub fn create(cluster: &str) -> Result<Self, CertificateError> {
        check_cluster(cluster)?;
        let key = new_key()?;
        let certificate = ca_params(cluster).self_signed(&key)?;
        let (certificate_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        Ok(Self { cluster: cluster.to_owned(), certificate_pem, key_pem })
    }

    /// The authority that [`ClusterAuthority::create`] made, from what was kept of it.
    ///
    /// # Errors
    /// `ClusterName`, and `Generate` where the key is not one.
    pub fn from_pem(
        cluster: &str,
        certificate_pem: &str,
        key_pem: &str,
    ) -> Result<Self, CertificateError> {
        check_cluster(cluster)?;
        KeyPair::from_pem(key_pem)?;
        let (certificate_pem, key_pem) = (certificate_pem.to_owned(), key_pem.to_owned());
        Ok(Self { cluster: cluster.to_owned(), certificate_pem, key_pem })
    }

    /// Issues a certificate, with a new key, to a node of the cluster. It does not expire.
    ///
    /// # Errors
    /// `Generate`, for a key that cannot sign.
    pub fn issue(&self, node: NodeId) -> Result<NodePem, CertificateError> {
        self.issue_until(node, None)
    }

    /// The same, good until that second since 1970 if there is one.
    ///
    /// # Errors
    /// `Generate`, for a key that cannot sign.
    pub fn issue_until(
        &self,
        node: NodeId,
        end_s: Option<u64>,
    ) -> Result<NodePem, CertificateError> {
        let issuer = Issuer::new(ca_params(&self.cluster), KeyPair::from_pem(&self.key_pem)?);
        let key = new_key()?;
        let mut params = CertificateParams::new([server_name(&self.cluster, node)])?;
        let uri = node_uri(&self.cluster, node).try_into()?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if let Some(end_s) = end_s {
            let end = Duration::from_secs(end_s.min(END_MAX_S));
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        }
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(NodePem { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The authority's certificate: every node needs it.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key: no node needs it.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    #[cfg(feature = "seeded-secrets")]
    if let Some(key) = crate::seeded_secrets::key_pair() {
        return key;
    }
    KeyPair::generate_for(&PKCS_ED25519)
}

/// The authority's parameters are a function of the cluster's id, so the key is all that must be
/// kept to sign again.
fn ca_params(cluster: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("rotary {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_uri_has_one_form() {
        let uri = node_uri("blue", NodeId(3));
        assert_eq!(parse_node_uri(&uri), Some(("blue", NodeId(3))));
        for uri in ["", "rotary://blue/node/03", "rotary://blue/node/", "http://blue/node/3"] {
            assert_eq!(parse_node_uri(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_cluster_id_that_is_no_dns_label_is_refused() {
        for cluster in ["", "Blue", "blue.sky", "-blue", "blue-", &"x".repeat(41)] {
            let error = ClusterAuthority::create(cluster).expect_err(cluster);
            assert!(matches!(error, CertificateError::ClusterName(_)));
        }
    }
}
