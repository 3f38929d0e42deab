//! The wire forms of vector clocks and dotted version vectors, version 1. Numbers are big endian.
//!
//! | form | bytes |
//! |---|---|
//! | [`VectorClock`] | 1: version; 2: number of entries; for each entry, sorted by node: 16 of the node, 8 of the counter |
//! | [`DottedVersionVector`] | 1: version; 16 and 8: node and counter of the dot; then its context from the number of entries on |
//!
//! A clock has one encoding only. What is not one is refused with the place where it stops being one; no more memory is
//! taken than the bytes given would fill.

use super::dotted::{Dot, DottedVersionVector};
use super::vector::{Entry, VectorClock, key};
use crate::{ClockError, NodeId};

const VERSION: u8 = 1;
const ENTRY_BYTES: usize = NodeId::BYTES + size_of::<u64>();

const VECTOR: &str = "vector clock";
const DOTTED: &str = "dotted version vector";

impl VectorClock {
    /// The most bytes that the wire form has.
    pub const BYTES_MAX: usize = 3 + Self::NODES_MAX * ENTRY_BYTES;

    /// The wire form: 3 bytes and 24 for each node.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(3 + self.len() * ENTRY_BYTES);
        bytes.push(VERSION);
        self.encode_entries(&mut bytes);
        bytes
    }

    /// Reads the wire form.
    ///
    /// # Errors
    ///
    /// [`ClockError::Encoding`] unless the bytes are exactly the wire form of a clock.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClockError> {
        let mut reader = Reader::new(VECTOR, bytes)?;
        let clock = reader.clock()?;
        reader.end()?;
        Ok(clock)
    }

    fn encode_entries(&self, bytes: &mut Vec<u8>) {
        // At most NODES_MAX, which 16 bits hold.
        bytes.extend_from_slice(&(self.len() as u16).to_be_bytes());
        for (node, counter) in self.iter() {
            bytes.extend_from_slice(&node.0);
            bytes.extend_from_slice(&counter.to_be_bytes());
        }
    }
}

impl DottedVersionVector {
    /// The most bytes that the wire form has.
    pub const BYTES_MAX: usize = VectorClock::BYTES_MAX + ENTRY_BYTES;

    /// The wire form: 27 bytes and 24 for each node of the context.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(3 + (1 + self.context().len()) * ENTRY_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.dot().node.0);
        bytes.extend_from_slice(&self.dot().counter.to_be_bytes());
        self.context().encode_entries(&mut bytes);
        bytes
    }

    /// Reads the wire form.
    ///
    /// # Errors
    ///
    /// [`ClockError::Encoding`] unless the bytes are exactly the wire form of a dotted version vector;
    /// [`ClockError::InvalidDot`] if its dot counts from 0 or is in its context.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClockError> {
        let mut reader = Reader::new(DOTTED, bytes)?;
        let (node, counter) = reader.entry()?;
        let context = reader.clock()?;
        reader.end()?;
        Self::new(Dot { node, counter }, context)
    }
}

/// Bytes, and how far they were read.
struct Reader<'a> {
    thing: &'static str,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn new(thing: &'static str, bytes: &'a [u8]) -> Result<Self, ClockError> {
        let mut reader = Self { thing, bytes, position: 0 };
        match reader.take::<1>()? {
            [VERSION] => Ok(reader),
            [found] => Err(reader.error(0, format!("format version {found} is not known here, only {VERSION} is"))),
        }
    }

    fn clock(&mut self) -> Result<VectorClock, ClockError> {
        let start = self.position;
        let count = usize::from(u16::from_be_bytes(self.take()?));
        if count > VectorClock::NODES_MAX {
            let most = VectorClock::NODES_MAX;
            return Err(self.error(start, format!("it announces {count} nodes, but may have at most {most}")));
        }
        let left = self.bytes.len() - self.position;
        if left != count * ENTRY_BYTES {
            let expected = count * ENTRY_BYTES;
            return Err(self.error(start, format!("{count} nodes need {expected} bytes, but {left} follow")));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let start = self.position;
            let entry = self.entry()?;
            if entry.1 == 0 {
                return Err(self.error(start, "a counter of 0 is not written".to_owned()));
            }
            if entries.last().is_some_and(|last| key(last) >= key(&entry)) {
                return Err(self.error(start, "nodes are sorted, and none comes twice".to_owned()));
            }
            entries.push(entry);
        }
        Ok(VectorClock::from_sorted(entries.into_iter()))
    }

    fn entry(&mut self) -> Result<Entry, ClockError> {
        Ok((NodeId(self.take()?), u64::from_be_bytes(self.take()?)))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ClockError> {
        let left = &self.bytes[self.position..];
        let Some(taken) = left.first_chunk::<N>() else {
            return Err(self.error(self.position, format!("{N} bytes are expected, but {} follow", left.len())));
        };
        self.position += N;
        Ok(*taken)
    }

    fn end(self) -> Result<(), ClockError> {
        match self.bytes.len() - self.position {
            0 => Ok(()),
            left => Err(self.error(self.position, format!("nothing is expected any more, but {left} bytes follow"))),
        }
    }

    #[cold]
    fn error(&self, position: usize, reason: String) -> ClockError {
        ClockError::Encoding { thing: self.thing, position, reason }
    }
}
