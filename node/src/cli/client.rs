//! The command line's way to a node: the public HTTP API, with patience for a failover.

use std::path::Path;
use std::time::Duration;

use rotary_client::{Api, ApiError, Patience, Trust};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::{Remote, exit};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The node said no, or said nothing.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// This machine cannot do its part.
    #[error("{0}")]
    Local(String),
    /// The cluster is not as it should be.
    #[error("{0}")]
    Unhealthy(String),
}

impl CliError {
    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unhealthy(_) => exit::UNHEALTHY,
            Self::Api(ApiError::Unknown(_)) => exit::UNKNOWN,
            Self::Api(ApiError::Refused(refused)) => match refused.status {
                401 | 403 => exit::AUTH,
                404 => exit::NOT_FOUND,
                409 => exit::CONFLICT,
                _ => exit::ERROR,
            },
            Self::Api(_) | Self::Local(_) => exit::ERROR,
        }
    }
}

/// One attempt waits for a commit that itself waits for a failover.
const PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(7), total: Duration::from_secs(15) };

/// The API of the node that was named.
pub(crate) fn api(remote: &Remote) -> Result<Api, CliError> {
    let api = Api::new(vec![remote.url.clone()], remote.token.trim(), PATIENCE)?;
    match &remote.ca {
        Some(path) => Ok(api.trusting(&trust(path)?)),
        None => Ok(api),
    }
}

/// The authorities that a file names.
fn trust(path: &Path) -> Result<Trust, CliError> {
    let failed = |what: String| CliError::Local(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Trust::pem(&text).map_err(|error| failed(error.to_string()))
}

/// Reads something.
pub(crate) async fn read<T: DeserializeOwned>(remote: &Remote, path: &str) -> Result<T, CliError> {
    let answer = api(remote)?.fetch(path).await?;
    serde_json::from_slice(&answer.body)
        .map_err(|error| ApiError::Unreadable(format!("{path}: {error}")).into())
}

/// Reads something as it is.
pub(crate) async fn read_value(remote: &Remote, path: &str) -> Result<Value, CliError> {
    read(remote, path).await
}

/// Reads every page of a list, as one array.
pub(crate) async fn read_all(remote: &Remote, path: &str) -> Result<Value, CliError> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = read_value(remote, &format!("{path}?limit=1000{after}")).await?;
        rows.extend(page["data"].as_array().into_iter().flatten().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(Value::Array(rows)),
        }
    }
}
