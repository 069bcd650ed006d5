//! What the parts of a handler's signature say about its operation.
//!
//! A handler takes extractors and gives an answer. Each of these types knows what it means for a
//! client: a credential, a header, a body, a status. So the description of an operation follows
//! from the signature that answers it, and cannot differ from that.

use axum::Json as AxumJson;
use axum::extract::State;
use axum::http::StatusCode;
use rotary_proto::Refusal;
use schemars::JsonSchema;

use crate::gateway::attachments::{File, Wanted};
use crate::gateway::backups::{Backup, LogEntries};
use crate::gateway::blobs::Upload;
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key, Query};
use crate::gateway::health::NODE_HEADER;
use crate::gateway::list::Changed;
use crate::gateway::login::CameFrom;
use crate::gateway::openapi::draft::Draft;
use crate::gateway::problem::Problem;
use crate::gateway::session::Holder;

/// Something that a handler takes from a request.
pub(crate) trait Part {
    /// Says what a client must send for it, and what it may be refused with.
    fn describe(draft: &mut Draft<'_>);
}

/// What a handler answers.
pub(crate) trait Answers {
    /// Says which statuses it has, with which bodies.
    fn describe(draft: &mut Draft<'_>);
}

/// A handler, by the types of what it takes.
pub(crate) trait Described<A> {
    /// Says all that its signature says.
    fn describe(draft: &mut Draft<'_>);
}

macro_rules! described {
    ($($part:ident),*) => {
        impl<H, F, R, $($part),*> Described<($($part,)*)> for H
        where
            H: Fn($($part),*) -> F,
            F: Future<Output = R>,
            R: Answers,
            $($part: Part,)*
        {
            fn describe(draft: &mut Draft<'_>) {
                $($part::describe(draft);)*
                R::describe(draft);
            }
        }
    };
}

described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
described!(A, B, C, D, E);

impl Part for State<Doors> {
    fn describe(_: &mut Draft<'_>) {}
}

impl Part for CameFrom {
    fn describe(_: &mut Draft<'_>) {}
}

impl Part for Caller {
    fn describe(draft: &mut Draft<'_>) {
        draft.secure();
        draft.refused(401, ["token-missing", "token-malformed", "token-forged"]);
        draft.refused(401, ["token-expired", "token-revoked"]);
        draft.refused(403, ["not-allowed", "not-yours", "other-tenant"]);
    }
}

impl Part for Holder {
    fn describe(draft: &mut Draft<'_>) {
        draft.secure();
        draft.refused(400, ["protocol"]);
        draft.refused(401, ["token-missing", "token-malformed", "token-forged"]);
        draft.refused(401, ["token-expired", "token-revoked"]);
        draft.refused(503, ["no-leader", "overloaded", "unavailable", "outcome-unknown"]);
    }
}

impl<T: JsonSchema> Part for Ids<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.refused(400, ["bad-value"]);
        draft.path_parameters::<T>();
    }
}

impl<T: JsonSchema> Part for Query<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.refused(400, ["bad-value"]);
        draft.query_parameters::<T>();
    }
}

impl<T: JsonSchema> Part for Json<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.refused(400, ["malformed", "bad-value"]);
        draft.refused(413, ["too-large"]);
        draft.refused(415, ["unsupported-media-type"]);
        draft.body::<T>();
    }
}

impl Part for Upload {
    fn describe(draft: &mut Draft<'_>) {
        draft.refused(400, ["malformed", "bad-value"]);
        draft.refused(413, ["too-large"]);
        draft.refused(429, ["caller-over-budget", "tenant-over-budget"]);
        draft.refused(503, ["unavailable"]);
        draft.refused(507, ["storage-full"]);
        draft.octets_body();
    }
}

impl Part for Wanted {
    fn describe(draft: &mut Draft<'_>) {
        draft.header_parameters(&[
            ("Range", "One range of bytes, like `bytes=0-1023`."),
            ("If-Range", "The ETag that the range is of."),
            ("If-None-Match", "ETags that the client has."),
        ]);
    }
}

impl Answers for File {
    fn describe(draft: &mut Draft<'_>) {
        draft.octets(200, "The file.");
        draft.octets(206, "The part that was asked for.");
        draft.text(304, "", "The client has it.");
        draft.text(416, "", "The file has no such part.");
        draft.refused(404, ["blob-unknown"]);
        draft.refused(503, ["unavailable"]);
        draft.refused(507, ["storage-full"]);
    }
}

impl Answers for Backup {
    fn describe(draft: &mut Draft<'_>) {
        draft.octets(200, "All of the shard.");
        draft.refused(404, ["not-found"]);
        draft.refused(503, ["unavailable"]);
    }
}

impl Answers for LogEntries {
    fn describe(draft: &mut Draft<'_>) {
        draft.octets(200, "All of them.");
        draft.refused(404, ["not-found"]);
        draft.refused(503, ["unavailable"]);
    }
}

impl<T: JsonSchema> Answers for (StatusCode, AxumJson<T>) {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer::<T>(201, &[]);
    }
}

impl Part for Key {
    fn describe(draft: &mut Draft<'_>) {
        draft.key_header();
        draft.refused(409, ["outcome-forgotten"]);
        draft.refused(429, ["busy", "limit-reached"]);
        draft.refused(503, ["no-leader", "unavailable", "outcome-unknown"]);
        if draft.is_of_site() {
            draft.refused(507, ["storage-full"]);
            draft.refused(404, ["blob-unknown"]);
            for refusal in Refusal::every() {
                let problem = Problem::from(refusal);
                draft.refused(problem.status.as_u16(), [problem.code]);
            }
        } else {
            // What the directory refuses.
            draft.refused(400, ["malformed", "bad-value"]);
            draft.refused(404, ["not-found", "site-unknown"]);
            draft.refused(409, ["login-taken"]);
        }
    }
}

impl<T: JsonSchema> Answers for AxumJson<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer::<T>(200, &[]);
    }
}

impl<T: JsonSchema> Answers for ([(&'static str, String); 1], AxumJson<T>) {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer::<T>(200, &[NODE_HEADER]);
    }
}

impl<T: JsonSchema, const STATUS: u16> Answers for Changed<T, STATUS> {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer::<T>(STATUS, &["rotary-index", "rotary-repeated", "idempotency-key"]);
    }
}

impl<T: Answers> Answers for Result<T, Problem> {
    fn describe(draft: &mut Draft<'_>) {
        draft.refused(429, ["too-many-attempts"]);
        draft.refused(431, ["too-large"]);
        T::describe(draft);
    }
}
