//! The one error type of this crate.

use crate::{MAX_NAME_BYTES, MAX_SOURCES, NodeId, Stamp};
use std::path::PathBuf;
use std::{error, fmt, io};

/// What can go wrong with time. The text names the thing, its value, the limit and the way out.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClockError {
    /// A time source was to be registered under a name that cannot be one.
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// A time source of this name is registered already.
    DuplicateName {
        /// The name as given.
        name: String,
    },
    /// A time source that is always there was to be removed.
    BuiltinName {
        /// The name as given.
        name: String,
    },
    /// No time source of this name is registered.
    UnknownName {
        /// The name as given.
        name: String,
        /// The names that are.
        known: Vec<String>,
    },
    /// The registry holds as many time sources as it may.
    RegistryFull {
        /// The name that found no room.
        name: String,
    },
    /// Simulated time was to be set back.
    Backwards {
        /// Where simulated time stands.
        now_ns: i64,
        /// Where it was to go.
        requested_ns: i64,
    },
    /// Simulated time was to be advanced past the last nanosecond that 64 bits count, in the year 2262.
    OutOfRange {
        /// Where simulated time stands.
        now_ns: i64,
        /// By how much it was to be advanced.
        by_ns: i64,
    },
    /// A received stamp is further ahead of this node's time than accepted. The clock is unchanged.
    Drift {
        /// The stamp as received.
        remote: Stamp,
        /// How far it is ahead of the physical time of this node.
        ahead_ns: i64,
        /// The most that is accepted.
        limit_ns: i64,
    },
    /// The last stamp that 64 bits hold (in the year 2106) has been reached.
    Exhausted,
    /// The clock was closed.
    Closed,
    /// The clock was opened on a folder by the parent of this process, which alone may go on with it.
    Forked,
    /// An option of a clock is outside its limits.
    InvalidOption {
        /// The option.
        name: &'static str,
        /// Its value.
        value: i64,
        /// The least it may be.
        least: i64,
        /// The most it may be.
        most: i64,
    },
    /// An encoded value has the wrong number of bytes.
    Length {
        /// What was to be decoded.
        thing: &'static str,
        /// How many bytes it has.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// A text is not the hexadecimal form of a value.
    Text {
        /// What was to be read.
        thing: &'static str,
        /// How many hexadecimal digits it has.
        digits: usize,
        /// The text as given.
        text: String,
    },
    /// The operating system gave no random bytes for a node id.
    Randomness {
        /// Its reason.
        source: getrandom::Error,
    },
    /// Another clock, of this process or another, has the folder open.
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The operating system refused an operation on the clock's file or folder. No stamp was issued.
    Storage {
        /// What was to be done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The clock's file is damaged.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The clock's file has a format that this version does not know.
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u16,
        /// The version known here.
        known: u16,
    },
    /// A vector clock would know more nodes than it may.
    NodeLimit {
        /// The most it may know.
        limit: usize,
    },
    /// A vector clock counts the events of a node no further.
    CounterExhausted {
        /// The node.
        node: NodeId,
    },
    /// A dot counts from 0, or is among the events that its version had seen before.
    InvalidDot {
        /// The node of the dot.
        node: NodeId,
        /// Its counter.
        counter: u64,
        /// How many events of the node the version had seen.
        past: u64,
    },
    /// Bytes are not the wire form of a value.
    Encoding {
        /// What was to be decoded.
        thing: &'static str,
        /// The byte, from 0, at which they stop being one.
        position: usize,
        /// What is wrong there.
        reason: String,
    },
}

impl fmt::Display for ClockError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name } => write!(
                formatter,
                "{name:?} cannot name a time source: a name has 1 to {MAX_NAME_BYTES} bytes, no control characters, \
                 and no spaces at its ends"
            ),
            Self::DuplicateName { name } => write!(
                formatter,
                "a time source named {name:?} is registered already: choose another name, or remove that one first"
            ),
            Self::BuiltinName { name } => {
                write!(formatter, "the time source {name:?} is built in and cannot be removed")
            }
            Self::UnknownName { name, known } => write!(
                formatter,
                "no time source is named {name:?}: there are {}; register it first, or use one of these",
                known.join(", ")
            ),
            Self::RegistryFull { name } => write!(
                formatter,
                "no room for the time source {name:?}: {MAX_SOURCES} are registered, the most there may be; remove \
                 one first"
            ),
            Self::Backwards { now_ns, requested_ns } => write!(
                formatter,
                "simulated time never steps back: it stands at {now_ns} ns and {requested_ns} ns was requested; start \
                 another source for an earlier time"
            ),
            Self::OutOfRange { now_ns, by_ns } => write!(
                formatter,
                "simulated time cannot be advanced by {by_ns} ns from {now_ns} ns: the last instant is {} ns, in the \
                 year 2262",
                i64::MAX
            ),
            Self::Drift { remote, ahead_ns, limit_ns } => write!(
                formatter,
                "the received stamp {remote} is {ahead_ns} ns ahead of this node, more than the accepted drift of \
                 {limit_ns} ns: synchronise the clocks of the nodes, or accept a greater drift"
            ),
            Self::Exhausted => write!(
                formatter,
                "the last stamp that 64 bits hold, in the year 2106, has been reached: check the time source of this \
                 node"
            ),
            Self::Closed => write!(formatter, "the clock is closed and issues no more stamps: open it again"),
            Self::Forked => write!(
                formatter,
                "the clock belongs to the process that opened its folder, and this is a child forked from it: open a \
                 clock on another folder here"
            ),
            Self::InvalidOption { name, value, least, most } => {
                write!(formatter, "the clock option {name} is {value}, but has to be between {least} and {most}")
            }
            Self::Length { thing, expected, found } => {
                write!(formatter, "an encoded {thing} has {expected} bytes, not {found}: pass exactly its bytes")
            }
            Self::Text { thing, digits, text } => {
                write!(formatter, "{text:?} is not a {thing}: that is written as {digits} hexadecimal digits")
            }
            Self::Randomness { source } => write!(
                formatter,
                "the operating system gave no random bytes for a node id ({source}): give the node an id of its own"
            ),
            Self::FolderInUse { folder } => write!(
                formatter,
                "the clock in {} is in use by another node: close that one, or give this one a folder of its own",
                folder.display()
            ),
            Self::Storage { action, path, source } => write!(
                formatter,
                "could not {action} {}: {source}; the clock issues no stamp that it could not keep: make room, or set \
                 the permissions right, and try again",
                path.display()
            ),
            Self::Corrupt { path, reason } => write!(
                formatter,
                "the clock file {} is damaged ({reason}): restore it from a backup, or delete it, which gives the \
                 node a new id",
                path.display()
            ),
            Self::UnknownVersion { path, found, known } => write!(
                formatter,
                "the clock file {} has format version {found}, but this version of chronofabric knows only {known}: \
                 use the version that wrote it, or another folder",
                path.display()
            ),
            Self::NodeLimit { limit } => {
                write!(formatter, "a vector clock knows at most {limit} nodes: leave out those that are gone for good")
            }
            Self::CounterExhausted { node } => {
                write!(formatter, "the events of node {node} are counted to the end of 64 bits: give it a new id")
            }
            Self::InvalidDot { node, counter, past } => write!(
                formatter,
                "event {counter} of node {node} cannot be the dot of a version that had seen {past} events of this \
                 node: a dot comes after them"
            ),
            Self::Encoding { thing, position, reason } => {
                write!(formatter, "these bytes are no {thing}: at byte {position}, {reason}")
            }
        }
    }
}

impl error::Error for ClockError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Storage { source, .. } => Some(source),
            Self::Randomness { source } => Some(source),
            _ => None,
        }
    }
}
