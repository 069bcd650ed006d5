//! A folder as a store: an object is a file in a folder of the run that it belongs to. It is
//! written under another name first, synced, and renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{OBJECTS_MAX, Object, Store, StoreError, Writing, too_many};

/// What a file's name ends with while it is written.
const PART: &str = ".part";

/// A folder.
pub(super) struct Folder {
    name: String,
    path: PathBuf,
}

impl Folder {
    /// It need not be there yet.
    pub(super) fn of(path: &Path) -> Self {
        Self { name: path.display().to_string(), path: path.to_owned() }
    }
}

fn failed(path: &Path, what: impl std::fmt::Display) -> StoreError {
    StoreError::new(path.display().to_string(), what)
}

/// What is in a folder; nothing, where there is none.
fn entries(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(|error| failed(path, error))?,
    };
    let paths = listed.take(OBJECTS_MAX).map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(|error| failed(path, error))
}

impl Folder {
    /// Adds what a folder in it has.
    fn add(&self, folder: &Path, found: &mut Vec<Object>) -> Result<(), StoreError> {
        for path in entries(folder)? {
            let known = match std::fs::metadata(&path) {
                // Somebody renamed or removed it since it was listed: it is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                known => known.map_err(|error| failed(&path, error))?,
            };
            let within = path.strip_prefix(&self.path).ok().and_then(Path::to_str);
            let Some(name) = within.filter(|_| known.is_file()) else { continue };
            if found.len() == OBJECTS_MAX {
                return Err(too_many(&self.name));
            }
            found.push(Object { name: name.to_owned(), bytes: known.len() });
        }
        Ok(())
    }
}

impl Store for Folder {
    fn name(&self) -> &str {
        &self.name
    }

    fn list(&self) -> Result<Vec<Object>, StoreError> {
        let mut found = Vec::new();
        for folder in entries(&self.path)? {
            if folder.is_dir() {
                self.add(&folder, &mut found)?;
            }
        }
        Ok(found)
    }

    fn list_of(&self, run: &str) -> Result<Vec<Object>, StoreError> {
        let mut found = Vec::new();
        self.add(&self.path.join(run), &mut found)?;
        Ok(found)
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let path = self.path.join(name);
        let file = File::open(&path).map_err(|error| failed(&path, error))?;
        Ok(Box::new(BufReader::new(file)))
    }

    fn write(&self, name: &str) -> Result<Box<dyn Writing>, StoreError> {
        let path = self.path.join(name);
        let part = self.path.join(format!("{name}{PART}"));
        let folder = path.parent().unwrap_or(&self.path).to_owned();
        std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        // Whatever a backup holds, it holds in plain.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&part).map_err(|error| failed(&part, error))?;
        Ok(Box::new(Filed { file: Some(BufWriter::new(file)), part, path, folder }))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&path, error));
            }
            _ => {}
        }
        // The last one takes its folder with it; one that has others in it stays.
        if let Some(folder) = path.parent().filter(|folder| *folder != self.path) {
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }
}

/// A file that has no name of its own yet.
struct Filed {
    file: Option<BufWriter<File>>,
    part: PathBuf,
    path: PathBuf,
    folder: PathBuf,
}

impl Filed {
    fn named(&self, error: impl std::fmt::Display) -> io::Error {
        failed(&self.part, error).into()
    }
}

impl Write for Filed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file.as_mut().expect("it is written before it is finished");
        file.write(bytes).map_err(|error| failed(&self.part, error).into())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Writing for Filed {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let file = self.file.take().expect("it is finished once");
        let file = file.into_inner().map_err(|error| self.named(error))?;
        file.sync_all().map_err(|error| self.named(error))?;
        std::fs::rename(&self.part, &self.path).map_err(|error| self.named(error))?;
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| self.named(error))?;
        // The folder itself has to be in the one above.
        let above = self
            .folder
            .parent()
            .map_or(Ok(()), |above| File::open(above).and_then(|above| above.sync_all()));
        above.map_err(|error| self.named(error))
    }
}

impl Drop for Filed {
    fn drop(&mut self) {
        // After it was finished nothing has that name.
        let _ = std::fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_there_once_it_is_finished_and_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Folder::of(&folder.path().join("kept"));
        assert_eq!(store.list().expect("nothing yet"), Vec::new());
        let mut first = store.write("run/a").expect("begun");
        first.write_all(b"one").expect("writable");
        let parts = store.list().expect("listed");
        assert!(parts.iter().all(|object| object.name == "run/a.part"), "{parts:?}");
        drop(first);
        assert_eq!(store.list().expect("listed"), Vec::new(), "it never was");
        let mut second = store.write("run/a").expect("begun");
        second.write_all(b"two!").expect("writable");
        second.finish().expect("finished");
        let object = Object { name: "run/a".to_owned(), bytes: 4 };
        assert_eq!(store.list().expect("listed"), vec![object]);
        let mut text = String::new();
        store.read("run/a").expect("there").read_to_string(&mut text).expect("readable");
        assert_eq!(text, "two!");
        // What went after the folder was listed is what a link to nothing is: listed, not there.
        let gone = folder.path().join("kept/run/gone");
        std::os::unix::fs::symlink("nowhere", &gone).expect("a link");
        assert_eq!(store.list().expect("listed").len(), 1);
        assert_eq!(store.list_of("run").expect("listed").len(), 1);
        assert_eq!(store.list_of("ru").expect("listed"), Vec::new());
        std::fs::remove_file(gone).expect("it was there");
        store.remove("run/a").expect("removed");
        store.remove("run/a").expect("there is none");
        assert!(!folder.path().join("kept/run").exists(), "its folder goes with it");
        assert!(store.read("run/a").is_err());
    }
}
