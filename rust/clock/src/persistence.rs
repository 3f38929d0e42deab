//! The file that keeps a clock's order across restarts: the node id, and a bound that no stamp issued so far exceeds.
//!
//! # Protocol
//!
//! - `clock.lock` is locked for as long as the clock is open (`flock`, `LockFileEx`), so a folder has one clock. The
//!   system drops the lock when the process ends, however it ends.
//! - `clock.state` holds a record. A new one is written to `clock.state.new`, synchronised, renamed over the old one,
//!   and the folder is synchronised. A crash leaves the old record or the new one; the temporary file is never read.
//! - The bound is written before the first stamp under it is issued. After a restart stamps start above the bound
//!   found.
//!
//! # Format, version 1: 40 bytes, big endian
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `CFCLOCK\n` |
//! | 8..10 | version: 1 |
//! | 10..12 | zero |
//! | 12..28 | node id |
//! | 28..36 | bound: a stamp |
//! | 36..40 | CRC-32 (ISO-HDLC, as in RFC 1952) of the bytes before |

use crate::{ClockError, NodeId};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

const LOCK_NAME: &str = "clock.lock";
const STATE_NAME: &str = "clock.state";
const TEMPORARY_NAME: &str = "clock.state.new";

const MAGIC: [u8; 8] = *b"CFCLOCK\n";
const VERSION: u16 = 1;
const RECORD_BYTES: usize = 40;
const CHECKED_BYTES: usize = RECORD_BYTES - 4;

/// What the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) node: NodeId,
    pub(crate) bound: u64,
}

/// A folder, locked for one clock.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Held, not used: closing it gives the lock back.
    _lock: File,
    process: u32,
}

impl Store {
    /// Locks a folder, which is made if it is not there, and reads its record if it has one.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Option<Record>), ClockError> {
        fs::create_dir_all(folder).map_err(|source| storage("create the folder", folder, source))?;
        let lock_path = folder.join(LOCK_NAME);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|source| storage("open", &lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ClockError::FolderInUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(storage("lock", &lock_path, source)),
        }
        let store = Self { folder: folder.to_owned(), _lock: lock, process: std::process::id() };
        let record = store.read()?;
        Ok((store, record))
    }

    /// Replaces the record; when this returns, it is durable.
    pub(crate) fn write(&self, record: &Record) -> Result<(), ClockError> {
        if !self.is_ours() {
            return Err(ClockError::Forked);
        }
        let temporary = self.folder.join(TEMPORARY_NAME);
        let state = self.folder.join(STATE_NAME);
        if let Err(source) = write_durably(&temporary, &record.encode()) {
            // On a full disk its few bytes may be what another file needs. If this fails too, the next write replaces
            // it.
            let _ = fs::remove_file(&temporary);
            return Err(storage("write", &temporary, source));
        }
        fs::rename(&temporary, &state).map_err(|source| storage("replace", &state, source))?;
        synchronise_folder(&self.folder).map_err(|source| storage("synchronise the folder", &self.folder, source))
    }

    /// Whether this is the process that opened the store, not a child forked from it, which shares the lock.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    fn read(&self) -> Result<Option<Record>, ClockError> {
        let path = self.folder.join(STATE_NAME);
        let mut bytes = Vec::new();
        // One byte more than a record tells a longer file without reading it all.
        let read = File::open(&path).and_then(|file| file.take(RECORD_BYTES as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Record::decode(&bytes, &path).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(storage("read", &path, source)),
        }
    }
}

impl Record {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bytes[12..28].copy_from_slice(&self.node.0);
        bytes[28..36].copy_from_slice(&self.bound.to_be_bytes());
        let checksum = crc32(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, ClockError> {
        let corrupt = |reason: String| ClockError::Corrupt { path: path.to_owned(), reason };
        let mut rest = bytes;
        let magic = take(&mut rest);
        let version = take(&mut rest).map(u16::from_be_bytes);
        let (Some(MAGIC), Some(version)) = (magic, version) else {
            return Err(corrupt("it does not begin as a clock file does".to_owned()));
        };
        if version != VERSION {
            return Err(ClockError::UnknownVersion { path: path.to_owned(), found: version, known: VERSION });
        }
        let fields = (take::<2>(&mut rest), take(&mut rest), take(&mut rest), take(&mut rest));
        let ((Some(reserved), Some(node), Some(bound), Some(checksum)), []) = (fields, rest) else {
            let found = bytes.len();
            let relation = if found > RECORD_BYTES { "more than" } else { "not" };
            return Err(corrupt(format!("it has {found} bytes, {relation} {RECORD_BYTES}")));
        };
        let computed = crc32(&bytes[..CHECKED_BYTES]);
        let stored = u32::from_be_bytes(checksum);
        if computed != stored {
            return Err(corrupt(format!("its checksum is {stored:08x}, its content gives {computed:08x}")));
        }
        if reserved != [0, 0] {
            return Err(corrupt("bytes that have to be zero are not".to_owned()));
        }
        Ok(Self { node: NodeId(node), bound: u64::from_be_bytes(bound) })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a rename in a folder durable.
#[cfg(unix)]
fn synchronise_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Windows has no such call for folders; its file systems keep the order of a rename in their journal.
#[cfg(not(unix))]
fn synchronise_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn storage(action: &'static str, path: &Path, source: io::Error) -> ClockError {
    ClockError::Storage { action, path: path.to_owned(), source }
}

/// CRC-32 as in RFC 1952, bit by bit: 36 bytes a write need no table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: Record = Record {
        node: NodeId([0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87, 0x98, 0xa9, 0xba, 0xcb, 0xdc, 0xed, 0xfe, 0x0f]),
        bound: 0x0123_4567_89ab_cdef,
    };

    fn decode(bytes: &[u8]) -> Result<Record, ClockError> {
        Record::decode(bytes, Path::new("clock.state"))
    }

    #[test]
    fn the_file_format_is_pinned() {
        let golden = [
            0x43, 0x46, 0x43, 0x4c, 0x4f, 0x43, 0x4b, 0x0a, 0x00, 0x01, 0x00, 0x00, 0x10, 0x21, 0x32, 0x43, 0x54, 0x65,
            0x76, 0x87, 0x98, 0xa9, 0xba, 0xcb, 0xdc, 0xed, 0xfe, 0x0f, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
            0x7d, 0xb2, 0x62, 0xce,
        ];
        assert_eq!(RECORD.encode(), golden);
        assert_eq!(decode(&golden).unwrap(), RECORD);
    }

    #[test]
    fn the_checksum_is_the_one_of_rfc_1952() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut bytes = RECORD.encode().to_vec();
        bytes[9] = 2;
        bytes.push(0);
        let error = decode(&bytes).unwrap_err();
        assert!(matches!(error, ClockError::UnknownVersion { found: 2, known: 1, .. }), "{error}");
    }

    #[test]
    fn every_cut_and_every_extension_is_refused() {
        let bytes = RECORD.encode();
        for length in 0..RECORD_BYTES {
            assert!(
                matches!(decode(&bytes[..length]), Err(ClockError::Corrupt { .. })),
                "{length} bytes were accepted"
            );
        }
        let error = decode(&[&bytes[..], &[0]].concat()).unwrap_err().to_string();
        assert!(error.contains("41 bytes, more than 40"), "{error}");
    }

    #[test]
    fn reserved_bytes_have_to_be_zero() {
        let mut bytes = RECORD.encode();
        bytes[11] = 1;
        let checksum = crc32(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_be_bytes());
        assert!(decode(&bytes).unwrap_err().to_string().contains("have to be zero"));
    }

    #[test]
    fn a_forked_child_does_not_write() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(folder.path()).unwrap();
        store.process = store.process.wrapping_add(1);
        assert!(matches!(store.write(&RECORD), Err(ClockError::Forked)));
        assert!(!folder.path().join(STATE_NAME).exists());
    }

    proptest! {
        #[test]
        fn records_round_trip_and_a_single_flipped_bit_is_refused(
            node: [u8; 16],
            bound: u64,
            bit in 0..RECORD_BYTES * 8,
        ) {
            let record = Record { node: NodeId(node), bound };
            let mut bytes = record.encode();
            prop_assert_eq!(decode(&bytes).unwrap(), record);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
