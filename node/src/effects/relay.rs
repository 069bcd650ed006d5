//! Where mails are handed over, as the configuration has it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rotary_channels::smtp::{Account, Failed, Relay, Security, roots};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::{Mail, MailTls};

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// The credentials cannot be read.
    #[error(
        "{path}: {why}; mail.credentials_file has the user in its first line, the password in \
             its second"
    )]
    Credentials { path: PathBuf, why: String },
    /// The authorities cannot be read.
    #[error("{path}: {why}; mail.ca_file has certificates in PEM")]
    Authorities { path: PathBuf, why: String },
    /// This machine believes nobody.
    #[error("{0}; name an authority with mail.ca_file, or set mail.tls to \"off\"")]
    Roots(#[from] Failed),
}

/// The relay, if one is configured.
///
/// # Errors
/// [`RelayError`].
pub(crate) fn relay(mail: &Mail) -> Result<Option<Relay>, RelayError> {
    let Some((host, port)) = mail.host_and_port() else { return Ok(None) };
    let security = match mail.tls {
        MailTls::Off => Security::Off,
        MailTls::Starttls => Security::StartTls,
        MailTls::Tls => Security::Tls,
    };
    let roots = match (security, is_set(&mail.ca_file)) {
        (Security::Off, _) => RootCertStore::empty(),
        (_, Some(path)) => authorities(path)?,
        (_, None) => roots()?,
    };
    let account = is_set(&mail.credentials_file).map(account).transpose()?;
    let hello = mail.hello.clone();
    Ok(Some(Relay { host, port, hello, security, account, roots: Arc::new(roots) }))
}

fn is_set(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

fn account(path: &Path) -> Result<Account, RelayError> {
    let wrong = |why: String| RelayError::Credentials { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut lines = text.lines();
    let (user, password) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if user.is_empty() || password.is_empty() || text.contains('\0') {
        return Err(wrong("a user and a password are not there".to_owned()));
    }
    Ok(Account { user: user.to_owned(), password: password.to_owned() })
}

fn authorities(path: &Path) -> Result<RootCertStore, RelayError> {
    let wrong = |why: String| RelayError::Authorities { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate is in it".to_owned()));
    }
    Ok(roots)
}
