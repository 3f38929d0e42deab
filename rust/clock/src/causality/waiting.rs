//! The messages that wait, as a list in order of arrival whose places are used again.

use super::vector::{Entry, VectorClock};
use crate::NodeId;

/// Where a message waits. Given to another one after it is taken out.
pub(super) type Place = u32;

const NOWHERE: Place = Place::MAX;

#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) sender: NodeId,
    pub(super) counter: u64,
    pub(super) clock: VectorClock,
    /// The entry of the clock that is not met yet; those before it are.
    pub(super) unmet: usize,
    pub(super) since_ns: i64,
    pub(super) message: T,
}

impl<T> Waiting<T> {
    /// What D of the node of an entry has to reach.
    pub(super) fn need(&self, entry: Entry) -> u64 {
        if entry.0 == self.sender { entry.1 - 1 } else { entry.1 }
    }

    pub(super) fn needs(&self) -> impl Iterator<Item = Entry> + '_ {
        self.clock.iter().map(|entry| (entry.0, self.need(entry)))
    }
}

#[derive(Debug)]
pub(super) struct WaitingList<T> {
    slots: Vec<Slot<T>>,
    free: Vec<Place>,
    first: Place,
    last: Place,
}

#[derive(Debug)]
struct Slot<T> {
    waiting: Option<Waiting<T>>,
    previous: Place,
    next: Place,
}

impl<T> WaitingList<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), first: NOWHERE, last: NOWHERE }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first == NOWHERE
    }

    /// Where the one waits that has waited longest.
    pub(super) fn first(&self) -> Option<Place> {
        (self.first != NOWHERE).then_some(self.first)
    }

    pub(super) fn get(&self, place: Place) -> Option<&Waiting<T>> {
        self.slots.get(place as usize)?.waiting.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Waiting<T>> {
        self.slots.get_mut(place as usize)?.waiting.as_mut()
    }

    pub(super) fn push(&mut self, waiting: Waiting<T>) -> Place {
        let slot = Slot { waiting: Some(waiting), previous: self.last, next: NOWHERE };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as Place
            }
        };
        match self.slots.get_mut(self.last as usize) {
            Some(last) => last.next = place,
            None => self.first = place,
        }
        self.last = place;
        place
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Waiting<T>> {
        let slot = self.slots.get_mut(place as usize)?;
        let waiting = slot.waiting.take()?;
        let (previous, next) = (slot.previous, slot.next);
        match self.slots.get_mut(previous as usize) {
            Some(slot) => slot.next = next,
            None => self.first = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(slot) => slot.previous = previous,
            None => self.last = previous,
        }
        self.free.push(place);
        Some(waiting)
    }

    /// All of them, in order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting<T>> {
        let mut place = self.first;
        std::iter::from_fn(move || {
            let slot = self.slots.get(place as usize)?;
            place = slot.next;
            slot.waiting.as_ref()
        })
    }

    /// All of them, in order of arrival.
    pub(super) fn into_iter(mut self) -> impl Iterator<Item = Waiting<T>> {
        std::iter::from_fn(move || self.remove(self.first))
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_list_in_order_of_arrival(moves in prop::collection::vec(prop::option::of(0_usize..10), 0..60)) {
            let mut list = WaitingList::new();
            let mut model: Vec<(Place, usize)> = Vec::new();
            let mut most = 0;
            for (number, remove) in moves.into_iter().enumerate() {
                if let Some(index) = remove {
                    if index < model.len() {
                        let (place, message) = model.remove(index);
                        prop_assert_eq!(list.remove(place).unwrap().message, message);
                        prop_assert!(list.get(place).is_none() && list.remove(place).is_none());
                    }
                } else {
                    let (sender, clock) = (NodeId([0; 16]), VectorClock::new());
                    let waiting = Waiting { sender, counter: 1, clock, unmet: 0, since_ns: 0, message: number };
                    model.push((list.push(waiting), number));
                }
                most = most.max(model.len());
                prop_assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(list.first(), model.first().map(|(place, _)| *place));
                for (place, message) in &model {
                    prop_assert_eq!(list.get(*place).unwrap().message, *message);
                }
                prop_assert!(list.iter().map(|waiting| waiting.message).eq(model.iter().map(|(_, message)| *message)));
                prop_assert!(list.slots.len() <= most, "places are used again");
            }
            prop_assert!(list.into_iter().map(|waiting| waiting.message).eq(model.into_iter().map(|(_, message)| message)));
        }
    }
}
