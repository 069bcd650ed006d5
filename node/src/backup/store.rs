//! Where backups are kept: a folder, or a bucket of an S3-compatible store, behind one trait.
//!
//! A store has *objects*: bytes under a name, whole or not there. It knows nothing of what they
//! hold. Its calls block; a store that is reached over a network does that on threads of its own,
//! so that they may be made from anywhere.

mod access;
mod bucket;
mod bucket_read;
mod bucket_write;
mod folder;
#[cfg(test)]
#[path = "../../tests/support/bucket.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is support of other tests as well")]
mod served;

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

pub(crate) use access::Access;

/// What a place in a bucket begins with.
const BUCKET: &str = "s3://";
/// Objects that a list of a store may have.
pub(crate) const OBJECTS_MAX: usize = 200_000;

/// Keeps objects.
pub(crate) trait Store: Send + Sync {
    /// What it is called, as whoever named it wrote it.
    fn name(&self) -> &str;

    /// Every object.
    ///
    /// # Errors
    /// What the store says; more than 200 000 objects.
    fn list(&self) -> Result<Vec<Object>, StoreError>;

    /// Every object of a run, whose names begin with its name and a slash.
    ///
    /// # Errors
    /// As [`Store::list`], whatever else is in the store.
    fn list_of(&self, run: &str) -> Result<Vec<Object>, StoreError>;

    /// An object's bytes.
    ///
    /// # Errors
    /// What the store says, also where there is no such object. What breaks off is an error of
    /// reading, never an end.
    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Begins an object. It is there once it is finished, and not at all before.
    ///
    /// # Errors
    /// What the store says.
    fn write(&self, name: &str) -> Result<Box<dyn Writing>, StoreError>;

    /// Has an object no more; one that is not there is none either.
    ///
    /// # Errors
    /// What the store says.
    fn remove(&self, name: &str) -> Result<(), StoreError>;
}

/// An object on its way into a store. One that is dropped before it is finished never was.
pub(crate) trait Writing: Write + Send {
    /// Makes it last, and gives it its name.
    ///
    /// # Errors
    /// What the store says.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// What a list says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its name in the store.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// What a store says no with.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {what}")]
pub(crate) struct StoreError {
    /// The store, or the object.
    pub(crate) name: String,
    pub(crate) what: String,
}

impl StoreError {
    fn new(name: impl Into<String>, what: impl std::fmt::Display) -> Self {
        Self { name: name.into(), what: what.to_string() }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// Opens the store that `place` names: `s3://bucket/prefix`, or a folder. Nothing is asked of it.
///
/// # Errors
/// A place that is none; what of `access` is missing or cannot be read.
pub(crate) fn open(place: &str, access: &Access) -> Result<Arc<dyn Store>, StoreError> {
    if let Some(bucket) = place.strip_prefix(BUCKET) {
        return Ok(Arc::new(bucket::Bucket::open(place, bucket, access)?));
    }
    if place.is_empty() || place.contains("://") {
        let what = "that is no store: name a folder, or s3://BUCKET/PREFIX";
        return Err(StoreError::new(format!("`{place}`"), what));
    }
    Ok(Arc::new(folder::Folder::of(Path::new(place))))
}

fn too_many(store: &str) -> StoreError {
    StoreError::new(store, format!("it has more than {OBJECTS_MAX} objects: name another place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        let refused = |place: &str| open(place, &Access::default()).map(drop).expect_err(place);
        for place in ["", "http://store/backups", "s3:///x"] {
            assert!(refused(place).to_string().contains("s3://BUCKET/PREFIX"), "{place}");
        }
        let keyless = refused("s3://kept/here").to_string();
        assert!(keyless.contains("AWS_ACCESS_KEY_ID"), "{keyless}");
        assert_eq!(open("kept", &Access::default()).expect("a folder").name(), "kept");
    }
}
