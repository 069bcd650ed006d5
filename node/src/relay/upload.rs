//! An upload on its way to a core node: passed on as it comes, because it may be large.
//!
//! What has been passed on cannot be sent again from here, so a core node that is lost on the way
//! is told to the client, who may simply send it again: the same bytes are the same blob.

use std::error::Error;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use http_body_util::{LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use rotary_transport::Tunnel;
use tokio::time::Instant;

use crate::gateway::blobs::too_large;
use crate::gateway::problem::Problem;
use crate::relay::Relay;
use crate::relay::forward::{PATIENCE, TRY_AGAIN, clean, key_of};

/// Whether a request is one.
pub(super) fn is_upload(parts: &Parts) -> bool {
    let of_site = parts.uri.path().strip_prefix("/v1/sites/");
    let end = of_site.and_then(|rest| rest.split_once('/')).map(|(_, end)| end);
    parts.method == Method::POST && end == Some("blobs")
}

/// Passes an upload on, and its answer back.
pub(super) async fn pass_on(
    relay: &Relay,
    client: SocketAddr,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let most = relay.upload_bytes_max;
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
    if length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let tunnel = open(relay, client, &parts).await?;
    let unsent = |error: hyper::Error| Problem::unavailable(error.to_string());
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(tunnel)).await;
    let (mut sender, connection) = shaken.map_err(unsent)?;
    // It ends with the answer, or says there why not.
    tokio::spawn(async move { drop(connection.await) });
    // What says no length is measured by the core node; this only makes sure that it ends.
    let limit = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
    let body = Body::new(Limited::new(body, limit));
    let answer = sender.send_request(Request::from_parts(parts, body)).await;
    let mut answer = answer.map_err(|error| {
        if is_length(&error) {
            return too_large(most);
        }
        let detail = format!("the upload broke off: {error}; send it again");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).after(200)
    })?;
    clean(answer.headers_mut());
    Ok(answer.map(Body::new))
}

/// Whether the client sent more than it may, as against any other end of an upload.
fn is_length(error: &hyper::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A way to a core node that answers.
async fn open(relay: &Relay, client: SocketAddr, parts: &Parts) -> Result<Tunnel, Problem> {
    let deadline = Instant::now() + PATIENCE;
    let (client_key, mut avoid) = (key_of(client, parts), None);
    loop {
        let why = match relay.cores.pick_for(client_key, avoid) {
            None => "no core node answers this gateway".to_owned(),
            Some(core) => match relay.tunnel(core, client).await {
                Ok(tunnel) => return Ok(tunnel),
                Err(why) => {
                    avoid = Some(core);
                    why
                }
            },
        };
        if Instant::now() + TRY_AGAIN >= deadline {
            return Err(Problem::unavailable(why));
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_are_passed_on_as_they_come() {
        let is = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).expect("valid");
            is_upload(&request.into_parts().0)
        };
        assert!(is("POST", "/v1/sites/st_1.2/blobs") && is("POST", "/v1/sites/x/blobs?a=b"));
        for path in ["/v1/sites/st_1.2/blobs/", "/v1/sites/blobs", "/v1/sites/a/b/blobs", "/"] {
            assert!(!is("POST", path), "{path}");
        }
        assert!(!is("GET", "/v1/sites/st_1.2/blobs"));
    }
}
