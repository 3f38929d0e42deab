#![allow(clippy::unwrap_used)]

use super::*;
use crate::cell::{Magazine, Pool, REFERENCES_MAX};
use crate::{Bus, BusOptions, Pattern, Receiver, SubscriptionOptions};
use chronofabric_clock::NodeId;

/// A batch of numbers, or one of them.
struct Numbers(std::ops::Range<usize>);

static POOL: Pool<Numbers> = Pool::new(64);
thread_local! {
    static MAGAZINE: Magazine<Numbers> = const { Magazine::new() };
}

impl Payload for Numbers {
    type Headers = ();
    type Face = ();
    type Reply = ();
    fn pool() -> &'static Pool<Self> {
        &POOL
    }
    fn magazine<R>(_access: impl Access, function: impl FnOnce(&Magazine<Self>) -> R) -> Option<R> {
        MAGAZINE.try_with(function).ok()
    }
    fn measure(&mut self) {}
    fn bytes(&self) -> usize {
        0
    }
    fn part(&self, place: usize) -> Self {
        Self(self.0.start + place..self.0.start + place + 1)
    }
    fn share_headers(_headers: &()) {}
}

#[test]
fn a_batch_whose_references_one_cell_cannot_count_arrives_event_by_event() {
    let source = TimeSource::system();
    let clock = Arc::new(HybridLogicalClock::new(source.clone(), NodeId([1; 16])));
    let bus = Bus::new(source, clock, BusOptions::default());
    let topic = bus.topic("a").unwrap();
    let subscribe = |_| bus.subscribe(Pattern::parse("a").unwrap(), SubscriptionOptions::default()).unwrap();
    let receivers: Vec<_> = (0..4).map(subscribe).collect();
    let me = Receiver { token: 1, number: || 1 };
    for count in [REFERENCES_MAX / 4, REFERENCES_MAX / 4 + 1] {
        let batch = NewEvent::new(Numbers(0..count));
        let mut outcome = Outcome::default();
        topic.publish_batch(Concurrent, batch, count, &mut outcome).unwrap();
        assert!(outcome.is_settled());
        for receiver in &receivers {
            let shares = receiver.try_receive_many(Concurrent, me, usize::MAX, || 0);
            let together = count * 4 <= REFERENCES_MAX;
            assert_eq!(shares.len(), if together { 1 } else { count });
            assert_eq!(shares.iter().map(Share::len).sum::<usize>(), count);
            let firsts = shares.iter().map(|share| share.payload().unwrap().0.start);
            assert!(together || firsts.eq(0..count));
            assert!(shares.is_sorted_by(|one, other| one.stamp() < other.stamp()));
            assert_eq!(receiver.books().balance(), 0);
        }
    }
}
