//! The form of a backup's file: frames that each say what they are, and a sum that finds a flipped
//! bit where it is.
//!
//! ```text
//! file  = "ROTARYBK" version:u32 frame*
//! frame = kind:u8 length:u32 sum:u32 payload
//! ```
//!
//! Numbers are little endian; `sum` is CRC32C over kind, length and payload. What kinds mean is the
//! affair of whoever writes them, but for 0: it is the last one, and without it a file was cut off.
//! Lengths are bounded before anything is allocated.

use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"ROTARYBK";
/// The version of files that this build writes, and reads.
pub const BACKUP_VERSION: u32 = 1;
/// The most bytes that a frame may hold.
pub const BACKUP_PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The kind of the last frame.
pub const BACKUP_END: u8 = 0;
/// Bytes before the first frame.
const PREAMBLE_BYTES: u64 = 12;
/// Bytes of a frame before its payload.
const HEADER_BYTES: usize = 9;

/// Why bytes are no backup, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum BackupFileError {
    /// It begins like something else.
    #[error("it is no backup of Rotary: its first bytes are others")]
    Magic,
    /// It is of another version.
    #[error(
        "its format is version {found}; this build reads {BACKUP_VERSION}: use the build that \
         made it"
    )]
    Version {
        /// Which.
        found: u32,
    },
    /// Its end is missing.
    #[error("it is cut off at byte {at}: make another")]
    Cut {
        /// Where it ends.
        at: u64,
    },
    /// It is not what was written.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where the frame begins.
        at: u64,
        /// What is wrong with it.
        what: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bytes that a file begins with.
pub fn backup_preamble() -> Vec<u8> {
    [MAGIC.as_slice(), &BACKUP_VERSION.to_le_bytes()].concat()
}

/// The bytes of a frame.
///
/// # Panics
/// For a payload above [`BACKUP_PAYLOAD_BYTES_MAX`], which is a bug of its maker.
pub fn backup_frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= BACKUP_PAYLOAD_BYTES_MAX, "a frame of a backup is bounded");
    let length = (payload.len() as u32).to_le_bytes();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.push(kind);
    bytes.extend(length);
    bytes.extend(sum(kind, length, payload).to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn sum(kind: u8, length: [u8; 4], payload: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&[kind]), &length);
    crc32c::crc32c_append(head, payload)
}

/// Reads a file frame by frame.
#[derive(Debug)]
pub struct BackupFrames<R> {
    from: R,
    at: u64,
    begun: bool,
    over: bool,
}

impl<R: Read> BackupFrames<R> {
    /// From its first byte.
    pub const fn of(from: R) -> Self {
        Self { from, at: 0, begun: false, over: false }
    }

    /// Where the next frame begins.
    pub const fn at(&self) -> u64 {
        if self.begun { self.at } else { PREAMBLE_BYTES }
    }

    /// The kind and the payload of the next frame; `None` after the last one.
    ///
    /// # Errors
    /// [`BackupFileError`]. Bytes never panic, and never make it allocate more than a frame may
    /// have.
    pub fn read(&mut self) -> Result<Option<(u8, Vec<u8>)>, BackupFileError> {
        if !self.begun {
            self.begin()?;
        }
        let at = self.at();
        let damaged = |what: String| BackupFileError::Damaged { at, what };
        if self.over {
            return match self.from.read(&mut [0])? {
                0 => Ok(None),
                _ => Err(damaged("something follows its end".to_owned())),
            };
        }
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header)?;
        let [kind, a, b, c, d, sums @ ..] = header;
        let (length, found) = ([a, b, c, d], u32::from_le_bytes(sums));
        let bytes = u32::from_le_bytes(length) as usize;
        if bytes > BACKUP_PAYLOAD_BYTES_MAX {
            return Err(damaged(format!("a frame of {bytes} bytes")));
        }
        let mut payload = vec![0; bytes];
        self.fill(&mut payload)?;
        if sum(kind, length, &payload) != found {
            return Err(damaged("its checksum does not match".to_owned()));
        }
        self.over = kind == BACKUP_END;
        Ok(Some((kind, payload)))
    }

    fn begin(&mut self) -> Result<(), BackupFileError> {
        let (mut magic, mut version) = ([0; 8], [0; 4]);
        match self.fill(&mut magic) {
            Ok(()) if &magic == MAGIC => {}
            Ok(()) | Err(BackupFileError::Cut { .. }) => return Err(BackupFileError::Magic),
            Err(error) => return Err(error),
        }
        self.fill(&mut version)?;
        let found = u32::from_le_bytes(version);
        if found != BACKUP_VERSION {
            return Err(BackupFileError::Version { found });
        }
        self.begun = true;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupFileError> {
        match self.from.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(BackupFileError::Cut { at: self.at })
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> Vec<(u8, Vec<u8>)> {
        vec![(1, vec![5; 9]), (7, Vec::new()), (2, vec![1, 2, 3]), (BACKUP_END, vec![9])]
    }

    fn file() -> Vec<u8> {
        let frames = frames().into_iter().flat_map(|(kind, payload)| backup_frame(kind, &payload));
        backup_preamble().into_iter().chain(frames).collect()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, BackupFileError> {
        let (mut frames, mut read) = (BackupFrames::of(bytes), Vec::new());
        while let Some(frame) = frames.read()? {
            read.push(frame);
        }
        Ok(read)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&file()).expect("whole"), frames());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let mut file = file();
        for at in 0..file.len() {
            file[at] ^= 1 << (at % 8);
            assert!(read(&file).is_err(), "byte {at}");
            file[at] ^= 1 << (at % 8);
            assert!(read(&file[..at]).is_err(), "cut to {at}");
        }
        file.push(0);
        assert!(matches!(read(&file), Err(BackupFileError::Damaged { .. })), "something follows");
    }

    #[test]
    fn what_is_no_backup_of_this_format_is_told_apart() {
        assert!(matches!(read(b"PK"), Err(BackupFileError::Magic)));
        assert!(matches!(read(b"PK\x03\x04 and more"), Err(BackupFileError::Magic)));
        let newer = [MAGIC.as_slice(), &9u32.to_le_bytes()].concat();
        assert!(matches!(read(&newer), Err(BackupFileError::Version { found: 9 })));
        assert!(matches!(read(&file()[..20]), Err(BackupFileError::Cut { .. })));
    }

    proptest! {
        /// Bytes never panic.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[backup_preamble(), bytes].concat());
        }
    }
}
