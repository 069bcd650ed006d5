//! The command line's way to a node: the public HTTP API, with patience for a failover.
//!
//! What it sends from a file is read up to the API's own bound, and what it lists up to a limit.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use figment::providers::{Format as _, Toml};
use rotary_client::{Api, ApiError, Method, Outcome, Patience, Trust};
use rotary_proto::limits::HTTP_BODY_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::output::Format;
use crate::cli::{Remote, exit};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The node said no, or said nothing.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A file is not what was asked for.
    #[error("{0}")]
    File(String),
    /// This machine cannot do its part.
    #[error("{0}")]
    Local(String),
    /// The cluster is not as it should be.
    #[error("{0}")]
    Unhealthy(String),
}

impl CliError {
    /// The code that `rotary explain` knows, if there is one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Api(ApiError::Refused(refused)) => Some(&refused.code),
            Self::Api(ApiError::Unknown(_)) => Some("outcome-unknown"),
            Self::Api(ApiError::Unreachable(_)) => Some("unreachable"),
            Self::Api(ApiError::Unreadable(_))
            | Self::Unhealthy(_)
            | Self::File(_)
            | Self::Local(_) => None,
        }
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unhealthy(_) => exit::UNHEALTHY,
            Self::File(_) => exit::USAGE,
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
pub(crate) const PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(7), total: Duration::from_secs(15) };

/// The API of the node that was named.
pub(crate) fn api(remote: &Remote) -> Result<Api, CliError> {
    let api = Api::new(vec![remote.url.clone()], remote.token.trim(), PATIENCE)?;
    Ok(api.trusting(&trust(remote.ca.as_deref())?))
}

/// The authorities that a file names; nobody, where none is given.
pub(crate) fn trust(path: Option<&Path>) -> Result<Trust, CliError> {
    let Some(path) = path else { return Ok(Trust::default()) };
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

/// How often a change is asked for, under one key, while nobody knows whether it was done: a
/// cluster that is short of time answers late.
const DOUBTS_MAX: u32 = 4;

/// Changes something, and gives the answer.
pub(crate) async fn change(
    remote: &Remote,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<Value, CliError> {
    let (api, key) = (api(remote)?, Api::key());
    let mut outcome = api.change_as(key, method.clone(), path, body).await;
    for _ in 1..DOUBTS_MAX {
        if !matches!(outcome, Outcome::Unknown(_)) {
            break;
        }
        outcome = api.change_as(key, method.clone(), path, body).await;
    }
    Ok(outcome.acknowledged()?.read()?)
}

/// Says that something was done: in a line for people, as the answer itself for programs.
pub(crate) fn said(remote: &Remote, answer: &Value, line: &str) {
    match remote.output {
        Format::Json => println!("{answer:#}"),
        Format::Table => println!("{line}"),
    }
}

/// How much of a list is wanted.
#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// At most so many rows.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    /// Go on where an earlier list ended.
    #[arg(long)]
    after: Option<String>,
}

/// Rows of a page of the API.
const PAGE_ROWS: usize = 1_000;

/// Reads the wanted rows of a list, page by page. What is left is said on standard error, and in
/// `next` of the answer.
pub(crate) async fn list(
    remote: &Remote,
    path: &str,
    asked: &[(&str, String)],
    listing: &Listing,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value, CliError> {
    let api = api(remote)?;
    let (mut found, mut next) = (Vec::new(), listing.after.clone());
    loop {
        let page_rows = PAGE_ROWS.min(listing.limit.saturating_sub(found.len()).max(1));
        let mut query = vec![("limit", page_rows.to_string())];
        query.extend(asked.iter().cloned());
        query.extend(next.take().map(|after| ("after", after)));
        let page: Value = api.read(&format!("{path}?{}", encoded(&query))).await?;
        let rows = page["data"].as_array().into_iter().flatten();
        found.extend(rows.filter(|row| wanted(row)).cloned());
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() || found.len() >= listing.limit {
            break;
        }
    }
    let mut list = json!({"data": found});
    if let Some(next) = next {
        eprintln!("rotary: there are more; --after {next} goes on, --limit shows more at once");
        list["next"] = json!(next);
    }
    Ok(list)
}

/// A query of an address.
fn encoded(query: &[(&str, String)]) -> String {
    let value = |value: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let code = |byte: u8| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        };
        value.bytes().map(code).collect()
    };
    let pairs = query.iter().map(|(key, text)| format!("{key}={}", value(text)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Reads a document of at most what the API takes: JSON, or TOML if the file's name ends so.
pub(crate) fn document(path: &Path) -> Result<Value, CliError> {
    let name = path.display();
    let failed = |why: String| CliError::File(format!("{name}: {why}"));
    let mut text = String::new();
    let most = HTTP_BODY_BYTES_MAX as u64 + 1;
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(most).read_to_string(&mut text),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
        }
    };
    read.map_err(|error| failed(error.to_string()))?;
    if text.len() > HTTP_BODY_BYTES_MAX {
        return Err(failed(format!("more than {HTTP_BODY_BYTES_MAX} bytes; send less")));
    }
    if path.extension().is_some_and(|end| end == "toml") {
        return Toml::from_str(&text).map_err(|error| failed(format!("not TOML: {error}")));
    }
    serde_json::from_str(&text)
        .map_err(|error| failed(format!("not JSON: {error}; TOML is told by a name in .toml")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded() {
        let query = [("after", "a b&c/1".to_owned()), ("limit", "1.2".to_owned())];
        assert_eq!(encoded(&query), "after=a%20b%26c%2F1&limit=1.2");
    }

    #[test]
    fn a_document_is_json_or_toml_and_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("writable");
            path
        };
        let plan = json!({"name": "sales", "skills": [{"skill": "sk_1"}]});
        let toml = write("plan.toml", "name = 'sales'\n[[skills]]\nskill = 'sk_1'\n");
        assert_eq!(document(&toml).expect("TOML"), plan);
        assert_eq!(document(&write("plan.json", &plan.to_string())).expect("JSON"), plan);
        for (name, text, why) in [
            ("bad.toml", "name = ", "not TOML"),
            ("bad.json", "name = 'x'", "not JSON"),
            ("large.json", &" ".repeat(HTTP_BODY_BYTES_MAX + 1), "more than"),
        ] {
            let error = document(&write(name, text)).expect_err(name);
            assert_eq!(error.exit_code(), exit::USAGE);
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(document(&dir.path().join("absent")).is_err());
    }
}
