//! What every handler takes out of a request: who asks, a body, an id from the path, a query.

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use rotary_proto::RequestId;
use rotary_proto::limits::HTTP_BODY_BYTES_MAX;
use serde::de::DeserializeOwned;

use crate::gateway::audit;
use crate::gateway::doors::Doors;
use crate::gateway::identity::identify;
use crate::gateway::key;
use crate::gateway::login;
use crate::gateway::min_index;
use crate::gateway::problem::Problem;
use crate::gateway::token::{Claims, TokenError, unix_ms};

/// Who asks, once this node knows what they have seen.
pub(crate) struct Caller(pub(crate) Claims);

impl FromRequestParts<Doors> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Problem> {
        let mut claims = identify(doors, bearer(&parts.headers)?).await?;
        claims.address = login::address_of(parts);
        audit::note_broken_glass(doors, &claims);
        min_index::reach(doors, &parts.headers).await?;
        Ok(Self(claims))
    }
}

/// The credential that a request shows.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let header = headers.get(AUTHORIZATION).ok_or(TokenError::Missing)?;
    let text = header.to_str().map_err(|_| TokenError::Malformed)?;
    text.strip_prefix("Bearer ").map(str::trim).ok_or(TokenError::Malformed)
}

/// The request's `Idempotency-Key`, or a new one.
pub(crate) struct Key(pub(crate) RequestId);

impl FromRequestParts<Doors> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Doors) -> Result<Self, Problem> {
        key::of(&parts.headers, unix_ms()).map(Self)
    }
}

/// A JSON body of at most [`HTTP_BODY_BYTES_MAX`] bytes. Where every field may be absent, so may
/// the body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Doors> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Doors) -> Result<Self, Problem> {
        let is_json = request.headers().get(CONTENT_TYPE).map(is_json);
        let bytes = read_body(request).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if is_json != Some(true) {
            let detail = "send the body as `Content-Type: application/json`";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "unsupported-media-type", detail));
        }
        parse(&bytes).map(Self)
    }
}

fn is_json(value: &axum::http::HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    text.split(';').next().is_some_and(|media| media.trim() == "application/json")
}

async fn read_body(request: Request) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("a body has at most {HTTP_BODY_BYTES_MAX} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    };
    let length = request.headers().get(axum::http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > HTTP_BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    to_bytes(request.into_body(), HTTP_BODY_BYTES_MAX).await.map_err(|error| {
        // The limit's own error is the only one that is not the connection's.
        let limit = std::error::Error::source(&error)
            .is_some_and(|source| source.to_string().contains("length limit"));
        if limit { too_large() } else { Problem::malformed(format!("the body broke off: {error}")) }
    })
}

/// Reads JSON; an error names the field.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let what = error.into_inner().to_string();
        // Where the text breaks off, no place in it has a name.
        if path == "." || path.ends_with('?') {
            Problem::malformed(format!("the body is not the JSON that belongs here: {what}"))
        } else {
            Problem::malformed(format!("{path}: {what}"))
        }
    })?;
    reader.end().map_err(|error| Problem::malformed(error.to_string()))?;
    Ok(value)
}

/// Ids from the path.
pub(crate) struct Ids<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Doors> for Ids<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, doors).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(rejection) => Err(Problem::bad_value(rejection.body_text())),
        }
    }
}

/// The query's parameters; unknown ones are refused where `T` says so.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Doors> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Doors) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Problem::bad_value(rejection.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        outer: Inner,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        number: u8,
    }

    fn error(text: &str) -> String {
        parse::<Sample>(text.as_bytes()).expect_err(text).detail
    }

    #[test]
    fn an_error_names_the_field() {
        assert!(error(r#"{"outer":{"number":"x"}}"#).starts_with("outer.number: invalid type"));
        assert!(error(r#"{"outer":{"number":300}}"#).starts_with("outer.number: invalid value"));
        assert!(error(r#"{"outer":{"numbr":1}}"#).contains("unknown field `numbr`"));
        assert!(error(r#"{}"#).contains("missing field `outer`"));
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_malformed() {
        for text in ["", "{", r#"{"outer":{"number":1}"#, r#"{"outer":{"number":1}} x"#, "\u{0}"] {
            assert_eq!(parse::<Sample>(text.as_bytes()).expect_err(text).code, "malformed");
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(parse::<Sample>(deep.as_bytes()).expect_err("deep").code, "malformed");
    }
}
