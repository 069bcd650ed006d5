//! The first administrator, from `cluster init` to the directory.
//!
//! `cluster init` shows a login and a password once, and gives every node a file with the login and
//! the password's hash. Whichever node leads the directory first proposes that user; a cluster that
//! has had a user above tenants keeps its own. The file can be removed once somebody has signed in.

use std::path::Path;

use rotary_proto::Name;
use rotary_proto::limits::PASSWORD_HASH_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Founder {
    /// What they sign in as.
    pub(crate) login: Name,
    /// What their password is judged by: a PHC string.
    pub(crate) hash: String,
}

impl Founder {
    /// As the file has it.
    pub(crate) fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("two texts are plain data");
        format!("{text}\n")
    }

    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, String> {
        use std::io::Read as _;
        let wrong =
            |what: String| format!("{}: {what}; remove it if it is not used", path.display());
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| wrong(error.to_string()))?;
        let founder: Self =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if founder.hash.len() > PASSWORD_HASH_BYTES_MAX {
            return Err(wrong(format!("a hash has at most {PASSWORD_HASH_BYTES_MAX} bytes")));
        }
        Ok(Some(founder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_may_be_absent() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("first-user.json");
        assert_eq!(Founder::load(&path), Ok(None));
        let login = Name::new("admin").expect("valid");
        let founder = Founder { login, hash: "$argon2id$x".to_owned() };
        std::fs::write(&path, founder.text()).expect("writable");
        assert_eq!(Founder::load(&path), Ok(Some(founder)));
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("first-user.json");
        let long = format!(r#"{{"login":"a","hash":"{}"}}"#, "x".repeat(300));
        for text in ["", "{}", r#"{"login":"a","hash":"b","more":1}"#, long.as_str(), "\u{0}"] {
            std::fs::write(&path, text).expect("writable");
            let error = Founder::load(&path).expect_err(text);
            assert!(error.contains("first-user.json") && error.contains("remove it"), "{error}");
        }
    }
}
