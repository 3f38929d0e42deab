//! A payload that counts how many of it exist.
#![allow(dead_code)]

use chronofabric_bus::{
    Access, Bus, BusOptions, Concurrent, Magazine, NewEvent, Outcome, Payload, Pool, Receiver, Topic,
};
use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub const ME: Receiver = Receiver { token: 1, number: || 1 };
pub static ALIVE: AtomicI64 = AtomicI64::new(0);
thread_local! {
    static MAGAZINE: Magazine<Counted> = const { Magazine::new() };
}
static POOL: Pool<Counted> = Pool::new(64);

#[derive(Debug, PartialEq, Eq)]
pub struct Counted {
    pub number: u64,
    pub size: usize,
}

impl Counted {
    pub fn new(number: u64) -> Self {
        Self::sized(number, 8)
    }

    pub fn sized(number: u64, size: usize) -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Self { number, size }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Payload for Counted {
    type Headers = ();
    type Reply = ();
    type Face = ();
    fn pool() -> &'static Pool<Self> {
        &POOL
    }
    fn magazine<R>(_access: impl Access, function: impl FnOnce(&Magazine<Self>) -> R) -> Option<R> {
        MAGAZINE.try_with(function).ok()
    }
    fn measure(&mut self) {}
    fn bytes(&self) -> usize {
        self.size
    }
    fn part(&self, place: usize) -> Self {
        Self::sized(self.number + place as u64, self.size)
    }
    fn share_headers(_headers: &()) {}
}

pub fn bus() -> Bus<Counted> {
    let source = TimeSource::system();
    let clock = Arc::new(HybridLogicalClock::new(source.clone(), NodeId([1; 16])));
    Bus::new(source, clock, BusOptions { topics_max: 32, ..Default::default() })
}

pub fn publish(topic: &Arc<Topic<Counted>>, number: u64, priority: u8) -> Outcome<Counted> {
    let mut outcome = Outcome::default();
    topic.publish(Concurrent, NewEvent { priority, ..NewEvent::new(Counted::new(number)) }, &mut outcome).unwrap();
    outcome
}
