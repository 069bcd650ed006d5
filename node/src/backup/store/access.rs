//! How a bucket is reached, and by whose leave. The environment's `AWS_*` come before the section
//! `[backup]`, as everywhere. A key is never shown: not in an error, and not in a debug print.

use std::fmt;
use std::path::PathBuf;

use rusty_s3::{Credentials, UrlStyle};

use super::StoreError;
use crate::config::{Backup, BucketStyle};

/// The region where nobody names one.
const REGION: &str = "us-east-1";
/// Bytes that a file of credentials may have.
const CREDENTIALS_BYTES_MAX: u64 = 16 * 1024;

/// How a bucket is reached.
#[derive(Default, Clone)]
pub(crate) struct Access {
    /// The base of the store; AWS's, if empty.
    pub(super) endpoint: String,
    pub(super) region: String,
    pub(super) style: BucketStyle,
    keys: Keys,
    /// Whom TLS believes beside those that this machine does, in PEM.
    pub(super) authority: Option<PathBuf>,
    /// Where a host is, for names that nobody serves.
    #[cfg(test)]
    pub(super) host: Option<(String, std::net::SocketAddr)>,
}

#[derive(Default, Clone)]
enum Keys {
    #[default]
    None,
    Given(Credentials),
    File(PathBuf),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Access {
    /// As the environment and a section say.
    pub(crate) fn of(section: &Backup) -> Self {
        Self::with(section, |name| std::env::var(name).ok())
    }

    pub(super) fn with(section: &Backup, environment: impl Fn(&str) -> Option<String>) -> Self {
        let said = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&str], otherwise: &str| {
            names.iter().find_map(|name| said(name)).unwrap_or_else(|| otherwise.to_owned())
        };
        let keys = match (said("AWS_ACCESS_KEY_ID"), said("AWS_SECRET_ACCESS_KEY")) {
            (Some(key), Some(secret)) => Keys::Given(match said("AWS_SESSION_TOKEN") {
                Some(token) => Credentials::new_with_token(key, secret, token),
                None => Credentials::new(key, secret),
            }),
            _ if section.credentials_file.as_os_str().is_empty() => Keys::None,
            _ => Keys::File(section.credentials_file.clone()),
        };
        let authority = Some(section.ca_file.clone()).filter(|path| !path.as_os_str().is_empty());
        Self {
            endpoint: first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], &section.endpoint),
            region: first(&["AWS_REGION", "AWS_DEFAULT_REGION"], &section.region),
            style: section.style,
            keys,
            authority,
            #[cfg(test)]
            host: None,
        }
    }

    /// The region, where the store's requests are signed for.
    pub(super) fn region(&self) -> &str {
        if self.region.is_empty() { REGION } else { &self.region }
    }

    /// The base of the store.
    pub(super) fn endpoint(&self) -> String {
        match self.endpoint.as_str() {
            "" => format!("https://s3.{}.amazonaws.com", self.region()),
            endpoint => endpoint.to_owned(),
        }
    }

    /// Where the bucket's name stands in addresses.
    pub(super) fn style(&self) -> UrlStyle {
        match self.style {
            BucketStyle::Auto if self.endpoint.is_empty() => UrlStyle::VirtualHost,
            BucketStyle::Auto | BucketStyle::Path => UrlStyle::Path,
            BucketStyle::Host => UrlStyle::VirtualHost,
        }
    }

    /// Who asks.
    ///
    /// # Errors
    /// Where nobody says, or the file that does cannot be read.
    pub(super) fn credentials(&self) -> Result<Credentials, StoreError> {
        match &self.keys {
            Keys::Given(credentials) => Ok(credentials.clone()),
            Keys::None => Err(StoreError::new(
                "the bucket",
                "it wants keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 backup.credentials_file",
            )),
            Keys::File(path) => {
                let wrong = |what: String| StoreError::new(path.display().to_string(), what);
                let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
                if size.len() > CREDENTIALS_BYTES_MAX {
                    return Err(wrong("it is too long for a file of credentials".to_owned()));
                }
                let text =
                    std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
                let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                match (lines.next(), lines.next(), lines.next(), lines.next()) {
                    (Some(key), Some(secret), None, None) => Ok(Credentials::new(key, secret)),
                    (Some(key), Some(secret), Some(token), None) => {
                        Ok(Credentials::new_with_token(key, secret, token))
                    }
                    _ => Err(wrong(
                        "the key's id in the first line, the key in the second, and a session's \
                         token in the third, where there is one"
                            .to_owned(),
                    )),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_before_the_section_and_no_key_is_shown() {
        let section = Backup {
            endpoint: "http://section".to_owned(),
            region: "section".to_owned(),
            ..Backup::default()
        };
        let access = Access::with(&section, |_| None);
        assert_eq!((access.endpoint().as_str(), access.region()), ("http://section", "section"));
        let said = |name: &str| match name {
            "AWS_REGION" => Some("north".to_owned()),
            "AWS_ENDPOINT_URL" => Some("http://said".to_owned()),
            "AWS_ACCESS_KEY_ID" => Some("whose".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("hidden".to_owned()),
            _ => None,
        };
        let access = Access::with(&section, said);
        assert_eq!((access.endpoint().as_str(), access.region()), ("http://said", "north"));
        assert_eq!(access.credentials().expect("given").secret(), "hidden");
        let shown = format!("{access:?}");
        assert!(!shown.contains("hidden") && !shown.contains("whose"), "{shown}");
    }

    #[test]
    fn keys_come_from_a_file_of_two_or_three_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let section = Backup { credentials_file: path.clone(), ..Backup::default() };
        let access = Access::with(&section, |_| None);
        assert!(access.credentials().is_err(), "there is none");
        for (text, token) in [("me\nsecret\n", None), ("me\nsecret\ntoken\n", Some("token"))] {
            std::fs::write(&path, text).expect("writable");
            let found = access.credentials().expect("readable");
            assert_eq!((found.key(), found.secret(), found.token()), ("me", "secret", token));
        }
        std::fs::write(&path, "secret-alone\n").expect("writable");
        let wrong = access.credentials().expect_err("one line").to_string();
        assert!(wrong.contains("first line") && !wrong.contains("secret-alone"), "{wrong}");
    }

    #[test]
    fn the_bucket_is_in_the_path_where_an_endpoint_is_named() {
        let style = |endpoint: &str, style| {
            let section = Backup { endpoint: endpoint.to_owned(), style, ..Backup::default() };
            matches!(Access::with(&section, |_| None).style(), UrlStyle::Path)
        };
        assert!(style("http://here", BucketStyle::Auto) && style("", BucketStyle::Path));
        assert!(!style("", BucketStyle::Auto) && !style("http://here", BucketStyle::Host));
        let aws = Access::default().endpoint();
        assert_eq!(aws, "https://s3.us-east-1.amazonaws.com");
    }
}
