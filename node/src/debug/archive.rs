//! A bundle on disk: files in the form of `tar` (POSIX.1-1988, ustar), compressed with gzip, with a
//! list of what is in it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::build;
use crate::gateway::token::unix_ms;

/// Bytes of all files of a bundle, before they are compressed.
pub(crate) const BUNDLE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A unit of `tar`.
const BLOCK: usize = 512;

/// Files on their way into a bundle.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    files: Vec<(String, Vec<u8>)>,
    /// Nodes that told nothing, with the code that says why.
    silent: Vec<(String, String)>,
    /// Files that had no room.
    left_out: Vec<String>,
    bytes: usize,
}

impl Bundle {
    /// Adds a file, if there is room; whether there was.
    ///
    /// # Panics
    /// If the name does not fit into a header: it has at most 100 plain characters.
    pub(crate) fn add(&mut self, name: &str, bytes: Vec<u8>) -> bool {
        assert!(name.len() < 100 && name.is_ascii(), "names are made here");
        let room = self.bytes + bytes.len() <= BUNDLE_BYTES_MAX;
        if room {
            self.bytes += bytes.len();
            self.files.push((name.to_owned(), bytes));
        } else {
            self.left_out.push(name.to_owned());
        }
        room
    }

    /// Notes that a node told nothing.
    pub(crate) fn silent(&mut self, node: &str, code: &str) {
        self.silent.push((node.to_owned(), code.to_owned()));
    }

    /// How many nodes told nothing.
    pub(crate) fn silent_nodes(&self) -> usize {
        self.silent.len()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is in it, and what is not.
    fn manifest(&self) -> Value {
        let file = |(name, bytes): &(String, Vec<u8>)| {
            let digest = Sha256::digest(bytes);
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"name": name, "bytes": bytes.len(), "sha256": digest})
        };
        let silent = |(node, code): &(String, String)| json!({"node": node, "code": code});
        json!({
            "format": 1,
            "made_unix_ms": unix_ms(),
            "made_by": build::VERSION,
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "silent": self.silent.iter().map(silent).collect::<Vec<_>>(),
            "left_out": self.left_out,
            "redaction": "Named fields only: numbers, ids, codes, and texts of the program itself.",
        })
    }

    /// Writes the bundle; whole or not at all.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn write(mut self, path: &Path) -> io::Result<()> {
        let manifest = format!("{:#}\n", self.manifest());
        self.files.insert(0, ("manifest.json".to_owned(), manifest.into_bytes()));
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let written = (|| {
            let file = File::create(&draft)?;
            let mut packed = GzEncoder::new(file, Compression::default());
            pack(&self.files, &mut packed)?;
            packed.finish()?.sync_all()
        })();
        written.and_then(|()| std::fs::rename(&draft, path)).inspect_err(|_| {
            // What is of no use is not left behind, if that can be helped.
            let _ = std::fs::remove_file(&draft);
        })
    }
}

fn pack(files: &[(String, Vec<u8>)], out: &mut impl Write) -> io::Result<()> {
    for (name, bytes) in files {
        out.write_all(&header(name, bytes.len(), unix_ms() / 1_000))?;
        out.write_all(bytes)?;
        out.write_all(&vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len()])?;
    }
    out.write_all(&[0; 2 * BLOCK])
}

/// The block before a file: numbers in octal, and their sum at the end.
fn header(name: &str, bytes: usize, unix_s: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &format!("rotary-debug/{name}"));
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, &format!("{unix_s:011o}\0"));
    // The sum is taken with blanks where it will be.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_own_tar_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bundle.tar.gz");
        let mut bundle = Bundle::default();
        assert!(bundle.add("one.json", b"{}\n".to_vec()));
        assert!(bundle.add("nd_1/metrics.txt", vec![b'x'; 1_000]));
        assert!(!bundle.add("large", vec![0; BUNDLE_BYTES_MAX]));
        bundle.silent("nd_2", "unreachable");
        bundle.write(&path).expect("writable");
        let mut tar = std::process::Command::new("tar");
        tar.arg("-xzf").arg(&path).arg("-C").arg(folder.path());
        assert!(tar.status().expect("tar is at hand").success());
        let read = |name: &str| {
            std::fs::read(folder.path().join("rotary-debug").join(name)).expect("readable")
        };
        assert_eq!(read("one.json"), b"{}\n");
        assert_eq!(read("nd_1/metrics.txt"), vec![b'x'; 1_000]);
        let manifest: Value = serde_json::from_slice(&read("manifest.json")).expect("JSON");
        assert_eq!(manifest["files"][1]["bytes"], 1_000);
        assert_eq!(manifest["silent"][0], json!({"node": "nd_2", "code": "unreachable"}));
        assert_eq!(manifest["left_out"], json!(["large"]));
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("readable").collect();
        assert_eq!(left.len(), 2, "no draft is left: {left:?}");
    }
}
