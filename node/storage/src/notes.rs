//! Small durable facts that a node must know at its next start.
//!
//! A note is a file of its own: a name, a text. Writing one is safe at any moment, also just before
//! the process ends; a note whose bytes are torn still counts by its name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, read_up_to};

/// The most bytes of a note's text; the rest is cut.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;

/// The notes of a node.
#[derive(Clone)]
pub struct Notes {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notes").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Notes {
    /// Opens the notes in that directory, or makes an empty one there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path) -> io::Result<Self> {
        disk.make_directory(directory)?;
        Ok(Self { disk, directory: directory.to_owned() })
    }

    /// Writes a note, durable when this returns. One of that name that exists is kept.
    ///
    /// # Errors
    /// What the disk says.
    pub fn put(&self, name: &str, text: &str) -> io::Result<()> {
        let file = match self.disk.create(&self.directory.join(name)) {
            Ok(file) => file,
            // Whoever made it may have died before its name was durable.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return self.disk.sync_directory(&self.directory);
            }
            Err(error) => return Err(error),
        };
        let bytes = text.as_bytes();
        file.write_at(0, &bytes[..bytes.len().min(NOTE_BYTES_MAX)])?;
        file.sync()?;
        self.disk.sync_directory(&self.directory)
    }

    /// The names of all notes, sorted.
    ///
    /// # Errors
    /// What the disk says.
    pub fn names(&self) -> io::Result<Vec<String>> {
        self.disk.list(&self.directory)
    }

    /// The text of a note, if there is one of that name.
    ///
    /// # Errors
    /// What the disk says.
    pub fn text(&self, name: &str) -> io::Result<Option<String>> {
        let file = match self.disk.open(&self.directory.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = read_up_to(&*file, 0, NOTE_BYTES_MAX)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Removes a note, if there is one of that name.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self.disk.remove(&self.directory.join(name)) {
            Ok(()) => self.disk.sync_directory(&self.directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated_disk::SimulatedDisk;

    #[test]
    fn a_note_outlives_the_power_and_is_kept_until_removed() {
        let disk = SimulatedDisk::new(3);
        let open = || Notes::open(disk.process(), Path::new("/notes")).expect("opens");
        let notes = open();
        notes.put("poison-1-7", "first").expect("written");
        notes.put("poison-1-7", "second").expect("there is one");
        disk.power_cut();
        let notes = open();
        assert_eq!(notes.names().expect("listed"), ["poison-1-7"]);
        assert_eq!(notes.text("poison-1-7").expect("readable").as_deref(), Some("first"));
        notes.remove("poison-1-7").expect("removed");
        notes.remove("poison-1-7").expect("nothing to do");
        disk.power_cut();
        assert_eq!(open().names().expect("listed"), Vec::<String>::new());
        assert_eq!(open().text("poison-1-7").expect("readable"), None);
    }
}
