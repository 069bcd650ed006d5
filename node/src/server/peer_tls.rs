//! What this node shows to other nodes: certificates that may be replaced while they are used.
//!
//! The files of `[tls]` are looked at again and again. A change is taken up if key and certificate
//! belong together, are this node's, and the authorities named beside them vouch for it; and then
//! as far as it is sure to work, in this order:
//!
//! 1. Authorities that are new are believed, beside those before.
//! 2. The new certificate is shown, once every peer that is connected shakes hands with it.
//! 3. Authorities that are gone are dropped, once every peer does without them.
//!
//! So the order in which files come to machines does not matter to nodes that run: each waits with
//! its certificate until the others believe its authority, and believes an authority for as long as
//! somebody needs it.
//!
//! Deliberately absent: ending connections. Those that stand go on; whoever makes a new one uses
//! what is there then.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use rotary_proto::NodeId;
use rotary_transport::{CertificateError, Certificates, Transport};

use crate::config::{Config, Tls};
use crate::gateway::token::unix_s;
use crate::server::StartError;
use crate::telemetry::names;

/// Authorities that are believed at a time.
const AUTHORITIES_MAX: usize = 8;
/// How long a peer is waited for that is to shake hands.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the files of `[tls]` say.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    /// The certificates of authorities that are believed.
    authorities: BTreeSet<String>,
    certificate: String,
    key: String,
}

impl Texts {
    fn read(tls: &Tls) -> Result<Self, CertificateError> {
        let read = |what, path: &Path| {
            let path = path.to_owned();
            std::fs::read_to_string(&path).map_err(|source| CertificateError::Read {
                what,
                path,
                source,
            })
        };
        Ok(Self {
            authorities: blocks(&read("the cluster's authority", &tls.ca_file)?),
            certificate: read("the node's certificate", &tls.cert_file)?,
            key: read("the node's key", &tls.key_file)?,
        })
    }

    /// These, with the authorities of others believed as well.
    fn believing(&self, others: &Self) -> Self {
        Self { authorities: &self.authorities | &others.authorities, ..self.clone() }
    }

    /// The certificates, if they are this node's.
    fn certificates(&self, config: &Config) -> Result<Certificates, StartError> {
        let Self { authorities, certificate, key } = self;
        let authorities: String = authorities.iter().map(String::as_str).collect();
        let certificates = Certificates::from_pem(&authorities, certificate, key)?;
        let (cluster, node) = (certificates.cluster(), certificates.node());
        if cluster != config.cluster.id || node != NodeId(config.node.id) {
            return Err(StartError::OtherCertificate {
                path: config.tls.cert_file.clone(),
                found: format!("{node} of cluster {cluster}"),
                expected: format!("{} of cluster {}", NodeId(config.node.id), config.cluster.id),
            });
        }
        Ok(certificates)
    }
}

/// Each block of a PEM text. One that breaks off is a block too, and no certificate.
fn blocks(text: &str) -> BTreeSet<String> {
    const BEGIN: &str = "-----BEGIN ";
    let (_, first) = text.split_once(BEGIN).unwrap_or_default();
    let block = |rest: &str| format!("{BEGIN}{}\n", rest.trim_end());
    first.split(BEGIN).filter(|rest| !rest.is_empty()).map(block).collect()
}

/// The certificates that a node starts with, and what they were read from.
pub(super) struct Begun(Texts);

/// Reads them from the files that are configured.
///
/// # Errors
/// [`StartError`] naming what is wrong.
pub(super) fn read(config: &Config) -> Result<(Certificates, Begun), StartError> {
    let texts = Texts::read(&config.tls)?;
    Ok((texts.certificates(config)?, Begun(texts)))
}

/// The same, for whoever shows them once.
///
/// # Errors
/// [`StartError`] naming what is wrong.
pub(crate) fn certificates(config: &Config) -> Result<Certificates, StartError> {
    Texts::read(&config.tls)?.certificates(config)
}

/// Keeps what a node shows as its files are.
pub(super) struct PeerTls {
    transport: Arc<Transport>,
    config: Config,
    /// What is in use.
    used: Texts,
    ends_s: Option<u64>,
    /// Why what is in the files is not in use, and whether that was told.
    doubt: Option<(String, bool)>,
}

impl PeerTls {
    /// Of a transport that was started with what was read.
    pub(super) fn new(transport: Arc<Transport>, config: &Config, Begun(used): Begun) -> Self {
        let ends_s = used.certificates(config).ok().and_then(|ours| ours.ends_s());
        Self { transport, config: config.clone(), used, ends_s, doubt: None }
    }

    /// Takes up what the files have by now, if that is new and sure to work. What does not work is
    /// told when it was so at the look before too, for files are written one after the other; or at
    /// once, if somebody has `asked`.
    pub(super) async fn look(&mut self, asked: bool) {
        match self.take_up().await {
            Ok(()) => self.doubt = None,
            Err(why) => {
                let before = self.doubt.take().filter(|(before, _)| *before == why);
                let told = before.as_ref().is_some_and(|(_, told)| *told);
                if asked || (before.is_some() && !told) {
                    tracing::warn!(
                        code = "certificate-refused",
                        why,
                        "the files of [tls] are not taken up; what was there before is shown on"
                    );
                }
                self.doubt = Some((why, asked || before.is_some()));
            }
        }
        measure("node", self.ends_s);
    }

    async fn take_up(&mut self) -> Result<(), String> {
        let tls = self.config.tls.clone();
        let read = crate::blocking::run(move || Texts::read(&tls)).await;
        let texts = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if texts == self.used {
            return Ok(());
        }
        let last = texts.certificates(&self.config).map_err(|error| error.to_string())?;
        last.check_key().map_err(|error| error.to_string())?;
        let good = last.check_at(unix_s());
        good.map_err(|why| format!("tls.ca_file does not vouch for tls.cert_file: {why}"))?;
        let believing = self.used.believing(&texts);
        if believing.authorities.len() > AUTHORITIES_MAX {
            let why = format!("there would be more than {AUTHORITIES_MAX} authorities");
            return Err(format!("{why}, those included that peers need yet"));
        }
        self.step(believing, "the authorities of tls.ca_file are believed").await?;
        let showing = texts.believing(&self.used);
        self.step(showing, "other nodes are shown the new certificate").await?;
        self.step(texts, "no other authority is believed than those of tls.ca_file").await
    }

    /// Goes on with other certificates, if every peer that is connected does.
    async fn step(&mut self, texts: Texts, done: &str) -> Result<(), String> {
        if texts == self.used {
            return Ok(());
        }
        let ours = texts.certificates(&self.config).map_err(|error| error.to_string())?;
        // To believe one more cuts nobody off.
        let shows_another = texts.certificate != self.used.certificate;
        if shows_another || !texts.authorities.is_superset(&self.used.authorities) {
            let tried = self.transport.try_certificates(&ours, PATIENCE).await;
            if let Some((node, why)) = tried.first() {
                return Err(format!("{node} does not shake hands with it yet: {why}"));
            }
        }
        self.transport.replace_certificates(&ours).map_err(|error| error.to_string())?;
        (self.ends_s, self.used) = (ours.ends_s(), texts);
        tracing::info!(done, "changed files of [tls] are taken up");
        Ok(())
    }
}

/// Says how long a certificate is good yet.
pub(super) fn measure(which: &'static str, ends_s: Option<u64>) {
    if let Some(ends_s) = ends_s {
        let left_s = ends_s.cast_signed() - unix_s().cast_signed();
        gauge!(names::CERTIFICATE_REMAINING, "certificate" => which).set(left_s as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_told_apart_by_their_blocks() {
        let block = |name: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n")
        };
        let (one, two) = (block("one"), block("two"));
        let both = blocks(&format!("# Ours\n{two}\n\n{one}{two}"));
        assert_eq!(both, BTreeSet::from([one.clone(), two]));
        assert_eq!(blocks(&one), BTreeSet::from([one]));
        assert_eq!(blocks("nothing"), BTreeSet::new());
    }
}
