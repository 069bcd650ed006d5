//! The `Idempotency-Key`: what makes a repeated request recognisable.

use axum::http::HeaderMap;
use rotary_proto::RequestId;
use rotary_proto::limits::REQUEST_AHEAD_MS;
use rotary_proto::planted::{self, Planted};

use crate::gateway::problem::Problem;

/// The header's name.
const HEADER: &str = "idempotency-key";

/// The request's key, or a new one where it has none: without a time, because that would be this
/// node's.
///
/// A key is a `UUIDv7` (RFC 9562), with or without hyphens, or the same as an `rq_` id. Its time
/// decides when a retry is too old to be known, so one from the future would outlive the window.
pub(crate) fn of(headers: &HeaderMap, now_unix_ms: u64) -> Result<RequestId, Problem> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(RequestId::without_time(rotary_client::unique()));
    };
    let wrong = || Problem::bad_value("Idempotency-Key: a UUIDv7 is expected");
    let text = value.to_str().map_err(|_| wrong())?;
    let uuid = uuid::Uuid::try_parse(text.strip_prefix("rq_").unwrap_or(text));
    let uuid = uuid.map_err(|_| wrong())?;
    if uuid.get_version_num() != 7 || uuid.get_variant() != uuid::Variant::RFC4122 {
        return Err(wrong());
    }
    let key = RequestId(uuid.as_u128());
    if key.unix_ms() > now_unix_ms.saturating_add(REQUEST_AHEAD_MS) {
        // It may be this node whose clock is wrong, and then another one takes the key.
        let detail = "Idempotency-Key: its time is more than five minutes ahead of this node's \
                      clock; set the one that is wrong";
        return Err(Problem::unavailable(detail));
    }
    Ok(if planted::is(Planted::KeyReplaced) { RequestId(rotary_client::unique()) } else { key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, now: u64) -> Result<RequestId, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().expect("a header"));
        of(&headers, now)
    }

    #[test]
    fn without_a_key_no_clock_has_a_say() {
        let id = of(&HeaderMap::new(), 0).expect("it needs none");
        assert_eq!(id.time_ms(), None);
    }

    #[test]
    fn a_key_is_a_uuid_of_version_seven_in_any_of_its_texts() {
        let id = RequestId(0x0190_163d_8694_739b_af5a_1e1b_57f0_2a01);
        let now = id.unix_ms();
        for text in [
            "0190163d-8694-739b-af5a-1e1b57f02a01",
            "0190163d8694739baf5a1e1b57f02a01",
            "rq_0190163d8694739baf5a1e1b57f02a01",
        ] {
            assert_eq!(read(text, now), Ok(id), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_at_the_door() {
        for text in ["", "1", "0190163d-8694-439b-af5a-1e1b57f02a01", "rq_x"] {
            assert_eq!(read(text, u64::MAX).expect_err(text).code, "bad-value");
        }
    }

    #[test]
    fn a_key_from_the_future_is_refused() {
        let text = "0190163d-8694-739b-af5a-1e1b57f02a01";
        let time = 0x0190_163d_8694;
        assert!(read(text, time - REQUEST_AHEAD_MS).is_ok());
        assert!(read(text, time - REQUEST_AHEAD_MS - 1).is_err());
    }

    #[test]
    fn without_a_key_there_is_a_new_one_each_time() {
        let none = HeaderMap::new();
        assert_ne!(of(&none, 0), of(&none, 0));
    }
}
