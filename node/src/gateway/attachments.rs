//! Attached files, read by whoever may read the message that names them.
//!
//! What a file is called and what kind it is, is what that message says. It is always something to
//! save, never something that a browser shows or runs on this origin.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rotary_proto::query::Stage;
use rotary_proto::{Attachment, BlobId, ConversationId, Event, EventRecord};
use rotary_storage::{BlobError, BlobReader};

use crate::blobs::Lack;
use crate::gateway::conversations::find;
use crate::gateway::doors::Doors;
use crate::gateway::events::{blocking, read_story, readable};
use crate::gateway::extract::{Caller, Ids, Query};
use crate::gateway::list::Reading;
use crate::gateway::problem::Problem;
use crate::gateway::token::Role;

/// Bytes that are read from the disk at a time.
const PIECE_BYTES: usize = 512 * 1024;
/// Messages that are looked at which name the same file in one conversation.
const NAMING_MAX: usize = 1_024;

/// What a client says about which bytes it wants, and which it has.
pub(crate) struct Wanted {
    range: Option<String>,
    if_range: Option<String>,
    if_none_match: Option<String>,
}

impl FromRequestParts<Doors> for Wanted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Doors) -> Result<Self, Problem> {
        let text = |name: HeaderName| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        Ok(Self {
            range: text(RANGE),
            if_range: text(IF_RANGE),
            if_none_match: text(IF_NONE_MATCH),
        })
    }
}

impl Wanted {
    /// The part that is wanted of a file: all of it, unless one range is asked for that this file
    /// has. Anything else that a range may say is passed over, as it may be (RFC 9110, 14.2).
    fn part(&self, tag: &str, bytes: u64) -> Part {
        let asked = self.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
        let same = self.if_range.as_deref().is_none_or(|known| known == tag);
        let Some((first, last)) = asked.filter(|_| same).and_then(|range| range.split_once('-'))
        else {
            return Part::All;
        };
        let number = |text: &str| text.trim().parse::<u64>().ok();
        match (number(first), number(last), first.trim(), last.trim()) {
            (Some(from), Some(last), _, _) if from > last => Part::All,
            (Some(from), _, _, _) if from >= bytes => Part::None,
            (Some(from), Some(last), _, _) => Part::Some(from, last.saturating_add(1).min(bytes)),
            (Some(from), None, _, "") => Part::Some(from, bytes),
            (None, Some(0), "", _) => Part::None,
            (None, Some(count), "", _) => Part::Some(bytes.saturating_sub(count), bytes),
            _ => Part::All,
        }
    }
}

/// Which part of a file is wanted: from and to, without the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Some(u64, u64),
    /// One that the file has not.
    None,
}

/// A file, or a part of it, or that the client has it already.
pub(crate) struct File(Response);

impl IntoResponse for File {
    fn into_response(self) -> Response {
        self.0
    }
}

/// `GET /v1/conversations/{id}/attachments/{blob}`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((id, blob)): Ids<(ConversationId, BlobId)>,
    Query(reading): Query<Reading>,
    wanted: Wanted,
) -> Result<File, Problem> {
    let stage = find(&doors, &claims, id, reading.consistency).await?.stage;
    if claims.agent.is_some() || stage == Stage::Closed {
        readable(&claims, id, stage, &read_story(&doors, id, usize::MAX).await?)?;
    }
    doors.shard_of(id.site).await?;
    let replica = doors.replica.clone();
    let naming = blocking(move || replica.naming(id, blob, NAMING_MAX)).await?;
    let sees_notes = claims.role != Role::Customer;
    let attachment = naming.into_iter().find_map(|record| attached(record, blob, sees_notes));
    let attachment = attachment.ok_or_else(|| {
        let detail = format!("no message of {id} that you may read names {blob}");
        Problem::new(StatusCode::NOT_FOUND, "blob-unknown", detail)
    })?;
    let tag = format!("\"{blob}\"");
    let mut headers = headers(&attachment, &tag);
    if wanted.if_none_match.as_deref().is_some_and(|known| matches(known, &tag)) {
        return Ok(File((StatusCode::NOT_MODIFIED, headers).into_response()));
    }
    let ends = |bytes| match wanted.part(&tag, bytes) {
        Part::All => (0, bytes),
        Part::Some(from, to) => (from, to),
        Part::None => (0, 0),
    };
    // That a record names it is certain here, so one that nobody has is not unknown.
    let reader = doors.blobs.open_checked(id.site, blob, ends).await.map_err(absent)?;
    let bytes = reader.bytes();
    let part = wanted.part(&tag, bytes);
    if part == Part::None {
        headers.insert(CONTENT_RANGE, number(format!("bytes */{bytes}")));
        return Ok(File((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response()));
    }
    let (from, to) = ends(bytes);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(to - from));
    let status = match part {
        Part::All => StatusCode::OK,
        _ => {
            let range = format!("bytes {from}-{}/{bytes}", to.saturating_sub(1));
            headers.insert(CONTENT_RANGE, number(range));
            StatusCode::PARTIAL_CONTENT
        }
    };
    Ok(File((status, headers, stream(reader, from, to)).into_response()))
}

fn absent(lack: Lack) -> Problem {
    match lack {
        Lack::Unknown(blob) => {
            let detail = format!("no replica that answers has the bytes of {blob} at present");
            Problem::unavailable(detail).after(1_000)
        }
        lack => lack.into(),
    }
}

/// What a record says of a blob, if it names it and its reader may know.
fn attached(record: EventRecord, blob: BlobId, sees_notes: bool) -> Option<Attachment> {
    match record.event {
        Event::Posted { note, body, .. } if sees_notes || !note => {
            body.attachments.into_iter().find(|attachment| attachment.blob == blob)
        }
        _ => None,
    }
}

fn matches(known: &str, tag: &str) -> bool {
    known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*")
}

fn number(text: String) -> HeaderValue {
    HeaderValue::from_str(&text).expect("digits and words are plain ASCII")
}

fn headers(attachment: &Attachment, tag: &str) -> HeaderMap {
    let name = attachment.name.as_ref().and_then(|name| name.text());
    let mut headers = HeaderMap::new();
    // Both keep to ASCII by their own rules.
    let media = HeaderValue::from_str(attachment.media_type.as_str());
    headers.insert(CONTENT_TYPE, media.expect("a media type is plain ASCII"));
    headers.insert(CONTENT_DISPOSITION, number(disposition(name, attachment.blob)));
    headers.insert(ETAG, number(tag.to_owned()));
    let fixed = |value| HeaderValue::from_static(value);
    headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, fixed("sandbox; default-src 'none'"));
    // Whoever has it asks again before they show it: the right to read may end.
    headers.insert(CACHE_CONTROL, fixed("private, no-cache"));
    headers.insert(ACCEPT_RANGES, fixed("bytes"));
    headers
}

/// A file to be saved under its name, in the form that everybody reads and the one for all of
/// Unicode (RFC 6266).
fn disposition(name: Option<&str>, blob: BlobId) -> String {
    let name = name.map_or_else(|| blob.to_string(), str::to_owned);
    let plain = |c: char| c.is_ascii_alphanumeric() || " ._-()+=,@".contains(c);
    let safe: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut coded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            coded.push(char::from(byte));
        } else {
            coded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{safe}\"; filename*=UTF-8''{coded}")
}

/// Reads as the client takes it. A disk that fails on the way breaks the answer off.
fn stream(reader: BlobReader, from: u64, to: u64) -> Body {
    Body::from_stream(futures::stream::try_unfold(from, move |at| {
        let reader = reader.clone();
        async move {
            if at >= to {
                return Ok::<_, std::io::Error>(None);
            }
            let read = crate::blocking::run(move || read_piece(&reader, at, to)).await;
            let piece = read.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
            let next = at + piece.len() as u64;
            Ok(Some((piece, next)))
        }
    }))
}

fn read_piece(reader: &BlobReader, from: u64, to: u64) -> Result<Bytes, BlobError> {
    let mut piece = Vec::new();
    let most = usize::try_from(to - from).unwrap_or(usize::MAX);
    while piece.len() < most.min(PIECE_BYTES) {
        piece.extend(reader.read(from + piece.len() as u64)?);
    }
    piece.truncate(most);
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: &str, bytes: u64) -> Part {
        let wanted = Wanted { range: Some(range.to_owned()), if_range: None, if_none_match: None };
        wanted.part("\"t\"", bytes)
    }

    #[test]
    fn a_range_is_one_of_bytes() {
        assert_eq!(part("bytes=0-0", 10), Part::Some(0, 1));
        assert_eq!(part("bytes=3-", 10), Part::Some(3, 10));
        assert_eq!(part("bytes=3-99", 10), Part::Some(3, 10));
        assert_eq!(part("bytes=-4", 10), Part::Some(6, 10));
        assert_eq!(part("bytes=-99", 10), Part::Some(0, 10));
        for none in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(part(none, 10), Part::None, "{none}");
        }
        for all in ["bytes=5-3", "bytes=a-b", "bytes=", "lines=1-2", "bytes=1-2,4-5", "bytes=-"] {
            assert_eq!(part(all, 10), Part::All, "{all}");
        }
    }

    #[test]
    fn a_range_of_another_file_is_all_of_this_one() {
        let wanted = |known: &str| Wanted {
            range: Some("bytes=1-2".to_owned()),
            if_range: Some(known.to_owned()),
            if_none_match: None,
        };
        assert_eq!(wanted("\"t\"").part("\"t\"", 10), Part::Some(1, 3));
        assert_eq!(wanted("\"other\"").part("\"t\"", 10), Part::All);
    }

    #[test]
    fn a_file_name_cannot_end_its_header() {
        let blob = BlobId([0; 32]);
        let name = disposition(Some("收据 \"1\".pdf\r\nx: y"), blob);
        assert!(name.starts_with("attachment; filename=\"__ _1_.pdf__x_ y\"; "), "{name}");
        assert!(name.ends_with("UTF-8''%E6%94%B6%E6%8D%AE%20%221%22.pdf%0D%0Ax%3A%20y"), "{name}");
        assert!(disposition(None, blob).contains("filename=\"bl_0000"));
    }

    #[test]
    fn a_tag_is_known_in_every_form() {
        for known in ["\"t\"", "W/\"t\"", "\"a\", \"t\"", "*"] {
            assert!(matches(known, "\"t\""), "{known}");
        }
        assert!(!matches("\"a\"", "\"t\""));
    }
}
