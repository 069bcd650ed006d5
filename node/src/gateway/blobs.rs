//! Uploads: bytes on their way from a client to a majority's disks.
//!
//! The body is taken piece by piece, its size checked while it is read, and goes to the disk as it
//! comes. Nothing of it is kept unless all of it came.

use std::time::{Duration, Instant};

use axum::Json as AxumJson;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use futures::StreamExt;
use metrics::counter;
use rotary_proto::{BlobId, MediaType, SiteId};
use rotary_storage::BlobWriter;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admission::Budget;
use crate::blobs::{Holder, Lack, Spent, on_disk};
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids};
use crate::gateway::problem::Problem;
use crate::telemetry::names;

/// Bytes that are gathered before they go to the disk.
const GATHER_BYTES: usize = 512 * 1024;
/// How long the next bytes of an upload may take to come.
const PIECE_PATIENCE: Duration = Duration::from_secs(10);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// What bytes are whose sender does not say.
const OCTETS: &str = "application/octet-stream";

/// Bytes that a client sends, with what it says of them.
pub(crate) struct Upload {
    media_type: MediaType,
    /// How many they are, if the client knows.
    length: Option<u64>,
    body: Body,
}

impl FromRequest<Doors> for Upload {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Doors) -> Result<Self, Problem> {
        let header = |name| request.headers().get(name).map(|value| value.to_str());
        let media = header(CONTENT_TYPE).unwrap_or(Ok(OCTETS)).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        let media_type =
            MediaType::new(media).map_err(|bad| Problem::bad_value(bad.to_string()))?;
        let length = header(CONTENT_LENGTH).and_then(|text| text.ok()?.parse().ok());
        Ok(Self { media_type, length, body: request.into_body() })
    }
}

/// A blob that was stored, as a message names it; only a file name may be added.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Stored {
    blob: BlobId,
    media_type: MediaType,
    bytes: u64,
}

/// `POST /v1/sites/{site}/blobs`
pub(crate) async fn upload(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    upload: Upload,
) -> Result<(StatusCode, AxumJson<Stored>), Problem> {
    permit(&claims, Action::Upload(site))?;
    doors.shard_of(site).await?;
    let taken = take(&doors, Holder::new(&claims, site), site, upload).await;
    let result = match &taken {
        Ok(_) => "stored",
        Err(problem) if problem.status.is_server_error() => "failed",
        Err(_) => "refused",
    };
    counter!(names::BLOB_UPLOADS, "result" => result).increment(1);
    taken.map(|stored| (StatusCode::CREATED, AxumJson(stored)))
}

async fn take(
    doors: &Doors,
    holder: Holder,
    site: SiteId,
    Upload { media_type, length, body }: Upload,
) -> Result<Stored, Problem> {
    if let Some(full) = doors.spine.short_of_space() {
        return Err(Problem::from(Lack::Full(full)));
    }
    let most = doors.blobs.upload_bytes_max();
    let expected = length.unwrap_or(most);
    if expected > most {
        return Err(too_large(most));
    }
    let allowances = doors.blobs.allowances();
    let ticket = allowances.admit(holder, expected, Instant::now()).map_err(over_budget)?;
    let _place = doors.blobs.take_place(site.tenant).ok_or_else(|| {
        let detail = "this node takes as many uploads of this tenant at once as it can and leave \
                      others room; use another node";
        let spent = Spent { budget: Budget::Tenant, detail: detail.to_owned(), after_ms: 1_000 };
        over_budget(spent)
    })?;
    let writer = doors.blobs.begin(site, expected).await?;
    let read = tokio::time::timeout(PATIENCE, read_into(writer, body, most)).await;
    let writer = read.map_err(|_| broken_off("it took too long"))??;
    if writer.bytes() == 0 {
        return Err(Problem::bad_value("the body is empty: a file has at least one byte"));
    }
    let (blob, bytes) = doors.blobs.complete(site, writer).await?;
    ticket.stored(blob, bytes, Instant::now());
    Ok(Stored { blob, media_type, bytes })
}

/// Reads a body to its end, or to one byte too many.
async fn read_into(mut writer: BlobWriter, body: Body, most: u64) -> Result<BlobWriter, Problem> {
    let (mut body, mut gathered) = (body.into_data_stream(), Vec::new());
    loop {
        let next = tokio::time::timeout(PIECE_PATIENCE, body.next()).await;
        let next: Option<Bytes> = match next {
            Err(_) => return Err(broken_off("nothing came for too long")),
            Ok(next) => next.transpose().map_err(|error| broken_off(&error.to_string()))?,
        };
        let is_last = next.is_none();
        gathered.extend_from_slice(&next.unwrap_or_default());
        if writer.bytes() + gathered.len() as u64 > most {
            return Err(too_large(most));
        }
        if gathered.len() >= GATHER_BYTES || is_last {
            let bytes = std::mem::take(&mut gathered);
            writer = on_disk(move || writer.append(&bytes).map(|()| writer)).await?;
        }
        if is_last {
            return Ok(writer);
        }
    }
}

/// A body that is larger than a file may be.
pub(crate) fn too_large(most: u64) -> Problem {
    let detail = format!("a file has at most {most} bytes (blobs.upload_bytes_max)");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}

fn broken_off(why: &str) -> Problem {
    Problem::malformed(format!("the body broke off: {why}; nothing of it is kept"))
}

fn over_budget(Spent { budget, detail, after_ms }: Spent) -> Problem {
    let code = match budget {
        Budget::Caller => "caller-over-budget",
        Budget::Tenant | Budget::Shard => "tenant-over-budget",
    };
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail).after(after_ms)
}

impl From<Lack> for Problem {
    fn from(lack: Lack) -> Self {
        let detail = lack.to_string();
        match lack {
            Lack::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "blob-unknown", detail),
            Lack::OtherSize { .. } => Self::bad_value(detail),
            Lack::Full(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage-full", detail).after(5_000)
            }
            Lack::Busy => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Self::new(status, "tenant-over-budget", detail).after(1_000)
            }
            Lack::Unreachable(_) => Self::unavailable(detail).after(1_000),
        }
    }
}
