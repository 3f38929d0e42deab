//! The event bus of chronofabric.
//!
//! An event is published on a topic, stamped once, and its one cell in memory is put into the ring of every subscription
//! whose pattern matches the topic. Routes are immutable snapshots, made when a topic or a subscription appears; a publish
//! reads the snapshot, fills a cell, pushes a reference to it into each ring, passes one full fence and wakes who sleeps.
//! It takes no lock, unless a receiver asks for causal order or that of deadlines, and, once the pool of cells is warm, allocates nothing. A
//! topic that a guard watches has one short critical section in which its event is evaluated and enqueued, in this order.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod ring;
mod signal;
#[allow(unsafe_code)]
mod snapshot;
#[allow(unsafe_code)]
mod sync;

#[cfg(not(loom))]
mod books;
#[cfg(not(loom))]
mod bus;
#[cfg(not(loom))]
#[allow(unsafe_code)]
mod cell;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod histogram;
#[cfg(not(loom))]
#[allow(unsafe_code)]
mod publish;
#[cfg(not(loom))]
mod retained;
mod rules;
#[cfg(not(loom))]
mod subscription;
#[cfg(not(loom))]
mod topic;

pub use ring::{Access, Concurrent, Consumer, Exclusive, Many, Producer, Ring, Side, Sole};
pub use signal::{Signal, Wake};

#[cfg(not(loom))]
pub use {
    books::{Books, Reason},
    bus::{Bus, BusOptions, TapFactory, TapId},
    cell::{Contents, Extras, Magazine, Payload, Pool, Provenance, Share},
    error::{BusError, SyntaxError},
    histogram::{Histogram, Percentiles},
    publish::{BATCH_MAX, BURST, Blocked, Firing, NewEvent, Observed, Outcome, Tap, Topic, Unfinished, Values},
    retained::{RETAINED_MAX, RetentionCounts, RetentionRule},
    subscription::{
        CAPACITY_MAX, CausalCounts, ContentFilter, DeadLetter, Failures, Filters, Judgement, Late, Order, Overflow,
        Predicate, RateLimit, Receiver, Subscription, SubscriptionOptions, Waiting,
    },
    topic::{Pattern, TOPIC_BYTES_MAX, TopicInfo, validate_topic},
};

/// How many priorities there are: 0 to 3, 3 the most urgent.
pub const PRIORITIES: usize = 4;
/// The priority of an event whose publisher states none.
pub const PRIORITY_NORMAL: u8 = 1;

/// Events on their way out: dropped by the outermost caller, once it holds no slot and no lock, because dropping a payload
/// may run foreign code, which may publish.
#[cfg(not(loom))]
pub type Victims<P> = smallvec::SmallVec<[Share<P>; 4]>;
