//! The hierarchical timing wheel of Varghese and Lauck (*Hashed and Hierarchical Timing Wheels*, SOSP 1987, scheme 7), with
//! 64 slots to a level and a finest slot of one nanosecond.
//!
//! Level `l` tells apart instants that differ from the wheel's own position in bits `6 l` to `6 l + 5` and in none above.
//! Eleven levels hold all 64 bits, so no instant is too far. A timer moves down as the wheel reaches the slot that it is in,
//! at most once a level, and on the lowest every timer of a slot is due in the same nanosecond: nothing is ever sorted.
//!
//! Invariants:
//! - The position never decreases unless the clock is set back, and never passes a timer that is held.
//! - A timer at level `l` agrees with the position in all bits above that level's, and is ahead of it in the level's own. So
//!   all of level `l` is due before any of level `l + 1`, and the first occupied slot of the lowest occupied level is next.
//! - A slot keeps the order in which its timers were armed, and is emptied downwards before anything is armed below it: who
//!   is due in the same nanosecond fires in the order of arming.
//! - Slots are rings through the slab of nodes; the first nodes are the slots themselves, so linking has no branches.
//! - A handle holds the generation of its node. Generations of nodes in use are odd, and rise when a node is taken or given
//!   back, so a handle is good for one arming only, until 2^31 later ones in the same place.
//!
//! The wheel knows no clock and no thread: `now` is passed in, and what is due is handed out.

use crate::{SchedulerError, memory};

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 11;
const HEADS: u32 = (LEVELS * SLOTS) as u32;
const NONE: u32 = u32::MAX;
/// The most timers that links of 32 bits can tell apart.
const TIMERS_MAX: usize = (u32::MAX - HEADS - 1) as usize;

/// Names one arming of a timer. It may outlive the timer: then it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerHandle {
    index: u32,
    generation: u32,
}

impl TimerHandle {
    /// As one word.
    pub(crate) fn bits(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self { index: (bits >> 32) as u32, generation: bits as u32 }
    }
}

/// A timer whose instant has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// When it was to fire.
    pub due_ns: i64,
    /// What it was armed with.
    pub value: T,
}

/// With a value of one word, 32 bytes, and never on two cache lines.
#[derive(Debug)]
#[repr(align(32))]
struct Node<T> {
    due_ns: i64,
    next: u32,
    previous: u32,
    generation: u32,
    value: Option<T>,
}

/// Timers, each with a value that is handed out when it fires.
///
/// ```
/// use chronofabric_scheduler::{Due, Wheel};
///
/// let mut wheel = Wheel::new(0, 1_000);
/// let late = wheel.arm(2_000, "late")?;
/// wheel.arm(1_000, "early")?;
/// assert_eq!(wheel.next_due_ns(), Some(1_000));
/// assert_eq!(wheel.pop_due(1_500), Some(Due { due_ns: 1_000, value: "early" }));
/// assert_eq!(wheel.pop_due(1_500), None);
/// assert_eq!(wheel.cancel(late), Some("late"));
/// assert!(wheel.is_empty());
/// # Ok::<(), chronofabric_scheduler::SchedulerError>(())
/// ```
#[derive(Debug)]
pub struct Wheel<T> {
    nodes: Vec<Node<T>>,
    /// For each level, which slots hold a timer.
    occupied: [u64; LEVELS],
    /// Which levels hold one.
    levels: u32,
    /// The first unused node, linked by `next`.
    free: u32,
    /// In the order of instants as unsigned numbers.
    position: u64,
    held: usize,
    limit: usize,
}

/// Instants as unsigned numbers in the same order.
fn ordered(instant_ns: i64) -> u64 {
    instant_ns as u64 ^ (1 << 63)
}

fn instant(ordered: u64) -> i64 {
    (ordered ^ (1 << 63)) as i64
}

impl<T> Wheel<T> {
    /// A wheel that stands at an instant and holds at most `timers_max` timers.
    pub fn new(now_ns: i64, timers_max: usize) -> Self {
        let mut nodes = Vec::with_capacity(HEADS as usize + timers_max.min(64));
        nodes.extend((0..HEADS).map(|head| Node { due_ns: 0, next: head, previous: head, generation: 0, value: None }));
        Self {
            nodes,
            occupied: [0; LEVELS],
            levels: 0,
            free: NONE,
            position: ordered(now_ns),
            held: 0,
            limit: timers_max.min(TIMERS_MAX),
        }
    }

    /// How many timers are held.
    pub fn len(&self) -> usize {
        self.held
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Arms a timer. One for the past fires at once, after those that are due already.
    ///
    /// # Errors
    ///
    /// [`SchedulerError::TimerLimit`] when as many timers are held as may be; nothing has changed then.
    #[inline]
    pub fn arm(&mut self, due_ns: i64, value: T) -> Result<TimerHandle, SchedulerError> {
        if self.held >= self.limit {
            return Err(SchedulerError::TimerLimit { limit: self.limit });
        }
        let index = self.take();
        let node = &mut self.nodes[index as usize];
        node.due_ns = due_ns;
        node.value = Some(value);
        node.generation = node.generation.wrapping_add(1);
        let generation = node.generation;
        self.held += 1;
        self.link(index, due_ns);
        Ok(TimerHandle { index, generation })
    }

    /// Takes a timer back, and returns its value, unless it has fired or was cancelled.
    #[inline]
    pub fn cancel(&mut self, handle: TimerHandle) -> Option<T> {
        self.find(handle)?;
        self.unlink(handle.index);
        self.give_back(handle.index)
    }

    /// Moves a timer that is held to another instant; its handle stays good. Says whether it was held.
    #[inline]
    pub fn rearm(&mut self, handle: TimerHandle, due_ns: i64) -> bool {
        if self.find(handle).is_none() {
            return false;
        }
        self.unlink(handle.index);
        self.nodes[handle.index as usize].due_ns = due_ns;
        self.link(handle.index, due_ns);
        true
    }

    /// When a timer that is held fires.
    pub fn due_ns(&self, handle: TimerHandle) -> Option<i64> {
        self.find(handle).map(|node| node.due_ns)
    }

    /// What a timer that is held was armed with.
    pub fn value(&self, handle: TimerHandle) -> Option<&T> {
        self.find(handle).and_then(|node| node.value.as_ref())
    }

    /// The next timer that is due at `now_ns`, if there is one: in the order of instants, then of arming.
    pub fn pop_due(&mut self, now_ns: i64) -> Option<Due<T>> {
        let now = ordered(now_ns);
        while self.levels != 0 {
            let (level, slot, start) = self.first_slot();
            if start > now {
                break;
            }
            let head = (level * SLOTS + slot) as u32;
            let Node { next: index, previous: last, .. } = self.nodes[head as usize];
            let due_ns = self.nodes[index as usize].due_ns;
            // A timer alone in its slot is next without being moved down first.
            let next = if level == 0 { start } else { ordered(due_ns) };
            if level == 0 || (index == last && next <= now) {
                self.position = self.position.max(next);
                self.unlink(index);
                return self.give_back(index).map(|value| Due { due_ns, value });
            }
            self.position = self.position.max(start);
            self.move_down(head);
        }
        // No slot begins in between, so everybody keeps its place.
        self.position = self.position.max(now);
        None
    }

    /// Follows a clock that was set back: timers keep their instants, and new ones may come before where the wheel stood.
    /// Looks at every timer; an instant that is not earlier changes nothing.
    pub fn set_back(&mut self, now_ns: i64) {
        let now = ordered(now_ns);
        if now >= self.position {
            return;
        }
        let mut held = Vec::with_capacity(self.held);
        for head in 0..HEADS {
            let mut index = self.nodes[head as usize].next;
            while index != head {
                held.push(index);
                index = self.nodes[index as usize].next;
            }
            self.nodes[head as usize].next = head;
            self.nodes[head as usize].previous = head;
        }
        self.occupied = [0; LEVELS];
        self.levels = 0;
        self.position = now;
        // Who is due in the same nanosecond was in the same slot, in the order of arming.
        for index in held {
            self.link(index, self.nodes[index as usize].due_ns);
        }
    }

    /// When to look next at the latest: no timer is due before. A timer that is far is looked at a few times on its way,
    /// because this costs the same however many timers are held; [`Wheel::next_due_ns`] is exact.
    pub fn wake_at_ns(&self) -> Option<i64> {
        if self.levels == 0 {
            return None;
        }
        let (level, slot, start) = self.first_slot();
        let Node { next, previous, .. } = self.nodes[level * SLOTS + slot];
        let alone = level > 0 && next == previous;
        Some(if alone { self.nodes[next as usize].due_ns } else { instant(start) })
    }

    /// What the next timer was armed with, where that is known without looking at several.
    pub fn first(&self) -> Option<&T> {
        if self.levels == 0 {
            return None;
        }
        let (level, slot, _) = self.first_slot();
        let Node { next, previous, .. } = self.nodes[level * SLOTS + slot];
        if level == 0 || next == previous { self.nodes[next as usize].value.as_ref() } else { None }
    }

    /// When the next timer is due; looks at the timers of one slot.
    pub fn next_due_ns(&self) -> Option<i64> {
        if self.levels == 0 {
            return None;
        }
        let (level, slot, start) = self.first_slot();
        let head = (level * SLOTS + slot) as u32;
        let mut index = self.nodes[head as usize].next;
        let mut next_ns = if index == head { None } else { Some(i64::MAX) };
        while index != head {
            let node = &self.nodes[index as usize];
            next_ns = next_ns.min(Some(node.due_ns.max(instant(start))));
            if level == 0 {
                break;
            }
            index = node.next;
        }
        next_ns
    }

    /// Takes all timers back, in no order.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        for head in 0..HEADS as usize {
            self.nodes[head].next = head as u32;
            self.nodes[head].previous = head as u32;
        }
        self.occupied = [0; LEVELS];
        self.levels = 0;
        self.held = 0;
        (HEADS..self.nodes.len() as u32).filter_map(|index| {
            self.nodes[index as usize].value.as_ref()?;
            self.put_on_free_list(index)
        })
    }

    /// The first occupied slot: its level, its place there, and the instant at which it begins.
    #[inline]
    fn first_slot(&self) -> (usize, usize, u64) {
        let level = self.levels.trailing_zeros() as usize;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = BITS * level as u32;
        // The highest level has less than six bits.
        let above = self.position.checked_shr(shift + BITS).unwrap_or(0).checked_shl(shift + BITS).unwrap_or(0);
        (level, slot, above | (slot as u64) << shift)
    }

    /// Links a node where its instant belongs, as the last of its slot.
    #[inline]
    fn link(&mut self, index: u32, due_ns: i64) {
        let due = ordered(due_ns).max(self.position);
        // The level of the highest bit in which the two differ.
        let level = (63 - ((due ^ self.position) | 1).leading_zeros()) / BITS;
        let slot = (due >> (BITS * level)) as usize % SLOTS;
        let level = level as usize;
        let head = (level * SLOTS + slot) as u32;
        self.occupied[level] |= 1 << slot;
        self.levels |= 1 << level;
        let last = std::mem::replace(&mut self.nodes[head as usize].previous, index);
        self.nodes[last as usize].next = index;
        let node = &mut self.nodes[index as usize];
        node.next = head;
        node.previous = last;
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        let Node { next, previous, .. } = self.nodes[index as usize];
        self.nodes[next as usize].previous = previous;
        self.nodes[previous as usize].next = next;
        // Only a slot is on both sides of its last timer.
        if next == previous {
            self.mark_empty(next);
        }
    }

    #[inline]
    fn mark_empty(&mut self, head: u32) {
        let (level, slot) = (head as usize / SLOTS, head as usize % SLOTS);
        self.occupied[level] &= !(1 << slot);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// Spreads the timers of a slot that the wheel has reached over the levels below, in their order.
    fn move_down(&mut self, head: u32) {
        let Node { next: mut index, previous: mut ahead, .. } = self.nodes[head as usize];
        self.nodes[head as usize].next = head;
        self.nodes[head as usize].previous = head;
        self.mark_empty(head);
        while index != head {
            let Node { next, due_ns, .. } = self.nodes[index as usize];
            if next == ahead || index == ahead {
                // All that follow have been met from the other end.
                ahead = head;
            }
            // Each node is found by the one before it, so the memory of one is waited for after that of another. From the end
            // of the list others are asked for at the same time, for later.
            ahead = std::hint::black_box(self.nodes[ahead as usize].previous);
            self.link(index, due_ns);
            index = next;
        }
    }

    #[inline]
    fn find(&self, handle: TimerHandle) -> Option<&Node<T>> {
        self.nodes
            .get(handle.index as usize)
            .filter(|node| node.generation == handle.generation && node.value.is_some())
    }

    #[inline]
    fn take(&mut self) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            return index;
        }
        let index = self.nodes.len() as u32;
        if self.nodes.len() == self.nodes.capacity() {
            // The advice has to come before the memory is used.
            let mut more = Vec::with_capacity(2 * self.nodes.len());
            memory::prefer_huge_pages(more.spare_capacity_mut());
            more.append(&mut self.nodes);
            self.nodes = more;
        }
        self.nodes.push(Node { due_ns: 0, next: NONE, previous: NONE, generation: 0, value: None });
        index
    }

    #[inline]
    fn give_back(&mut self, index: u32) -> Option<T> {
        self.held -= 1;
        self.put_on_free_list(index)
    }

    #[inline]
    fn put_on_free_list(&mut self, index: u32) -> Option<T> {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        self.free = index;
        node.value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_timer_of_one_word_takes_half_a_cache_line() {
        assert!(size_of::<Node<std::sync::Arc<u8>>>() <= 32);
    }

    #[test]
    fn a_million_timers_for_one_instant_fire_in_the_order_of_arming() {
        let count = if cfg!(miri) { 300 } else { 1_000_000 };
        let mut wheel = Wheel::new(0, count);
        for number in 0..count {
            wheel.arm(123_456_789, number).unwrap();
        }
        assert_eq!(wheel.pop_due(123_456_788), None);
        for number in 0..count {
            assert_eq!(wheel.pop_due(123_456_789), Some(Due { due_ns: 123_456_789, value: number }));
        }
        assert!(wheel.is_empty());
    }

    #[test]
    fn the_first_is_known_where_it_is_alone_or_its_slot_holds_one_instant() {
        let mut wheel = Wheel::new(0, 10);
        assert_eq!(wheel.first(), None);
        wheel.arm(5, "a").unwrap();
        wheel.arm(5, "b").unwrap();
        let far = wheel.arm(1_000_000, "c").unwrap();
        assert_eq!(wheel.first(), Some(&"a"));
        assert_eq!(wheel.pop_due(5).map(|due| due.value), Some("a"));
        assert_eq!(wheel.first(), Some(&"b"));
        assert_eq!(wheel.pop_due(5).map(|due| due.value), Some("b"));
        assert_eq!(wheel.first(), Some(&"c"));
        wheel.arm(1_000_001, "d").unwrap();
        assert_eq!(wheel.first(), None);
        assert_eq!(wheel.cancel(far), Some("c"));
        assert_eq!(wheel.first(), Some(&"d"));
    }

    #[test]
    fn the_limit_is_named_and_refusing_changes_nothing() {
        let mut wheel = Wheel::new(0, 2);
        let first = wheel.arm(1, 1).unwrap();
        wheel.arm(2, 2).unwrap();
        let error = wheel.arm(3, 3).unwrap_err();
        assert_eq!(error, SchedulerError::TimerLimit { limit: 2 });
        assert!(error.to_string().contains("2 timers"));
        assert_eq!(wheel.len(), 2);
        assert_eq!(wheel.cancel(first), Some(1));
        assert!(wheel.arm(3, 3).is_ok());
    }

    #[test]
    fn instants_at_both_ends_of_the_range_are_held() {
        let mut wheel = Wheel::new(i64::MIN, 10);
        for due_ns in [i64::MAX, 0, i64::MIN, -1, i64::MAX - 1] {
            wheel.arm(due_ns, due_ns).unwrap();
        }
        let fired: Vec<_> = std::iter::from_fn(|| wheel.pop_due(i64::MAX)).map(|due| due.value).collect();
        assert_eq!(fired, [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX]);
        wheel.arm(0, 7).unwrap();
        assert_eq!(wheel.pop_due(i64::MAX), Some(Due { due_ns: 0, value: 7 }));
    }

    #[test]
    fn a_handle_is_good_for_one_arming_only() {
        let mut wheel = Wheel::new(0, 10);
        let first = wheel.arm(10, 'a').unwrap();
        assert_eq!(wheel.cancel(first), Some('a'));
        let second = wheel.arm(20, 'b').unwrap();
        assert_eq!(wheel.cancel(first), None);
        assert!(!wheel.rearm(first, 5));
        assert_eq!((wheel.due_ns(first), wheel.due_ns(second)), (None, Some(20)));
        assert_eq!(wheel.pop_due(20).unwrap().value, 'b');
        assert_eq!(wheel.cancel(second), None);
    }

    #[test]
    fn draining_hands_out_everything_and_makes_all_handles_stale() {
        let mut wheel = Wheel::new(0, 100);
        let handles: Vec<_> = (0..50).map(|number| wheel.arm(number * 977, number).unwrap()).collect();
        wheel.cancel(handles[7]);
        assert_eq!(wheel.drain().count(), 49);
        assert!(wheel.is_empty() && wheel.next_due_ns().is_none());
        assert!(handles.into_iter().all(|handle| wheel.cancel(handle).is_none()));
        wheel.arm(5, 1).unwrap();
        assert_eq!(wheel.pop_due(5).unwrap().value, 1);
    }

    /// The same by a sorted map: who is late counts as due where the wheel stands.
    #[derive(Default)]
    struct Model {
        timers: BTreeMap<(i64, u64), (i64, usize)>,
        position_ns: i64,
        armings: u64,
    }

    impl Model {
        fn arm(&mut self, due_ns: i64, number: usize) -> (i64, u64) {
            self.armings += 1;
            let key = (due_ns.max(self.position_ns), self.armings);
            self.timers.insert(key, (due_ns, number));
            key
        }

        fn pop_due(&mut self, now_ns: i64) -> Option<Due<usize>> {
            match self.timers.first_key_value() {
                Some((key, _)) if key.0 <= now_ns => {
                    let (key, (due_ns, value)) = self.timers.pop_first()?;
                    self.position_ns = self.position_ns.max(key.0);
                    Some(Due { due_ns, value })
                }
                _ => {
                    self.position_ns = self.position_ns.max(now_ns);
                    None
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(i64),
        Cancel(usize),
        Rearm(usize, i64),
        Advance(i64),
        Pop(i64),
    }

    fn delay() -> impl Strategy<Value = i64> {
        // Every level, and the borders between them, as often as any other.
        (0_u32..62, any::<u64>(), prop::bool::weighted(0.2)).prop_map(|(bits, random, late)| {
            let delay = (random & ((1 << bits) - 1)) as i64;
            if late { -(delay % 1_000) } else { delay }
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => delay().prop_map(Step::Arm),
            2 => any::<usize>().prop_map(Step::Cancel),
            2 => (any::<usize>(), delay()).prop_map(|(which, delay)| Step::Rearm(which, delay)),
            2 => delay().prop_map(|delay| Step::Advance(delay.abs())),
            1 => delay().prop_map(|delay| Step::Pop(delay.abs())),
        ]
    }

    proptest! {
        #[test]
        fn set_back_it_fires_what_a_new_one_would(
            ahead in 1..i64::MAX / 4, delays in prop::collection::vec(delay(), 1..60), later in delay(),
        ) {
            let mut wheel = Wheel::new(0, 1_000);
            let mut anew = Wheel::new(0, 1_000);
            prop_assert!(wheel.pop_due(ahead).is_none());
            for (number, delay) in delays.iter().map(|delay| ahead.saturating_add(delay.abs())).enumerate() {
                wheel.arm(delay, number).unwrap();
                anew.arm(delay, number).unwrap();
            }
            wheel.set_back(0);
            wheel.arm(later, usize::MAX).unwrap();
            anew.arm(later, usize::MAX).unwrap();
            wheel.set_back(1);
            prop_assert_eq!(wheel.len(), anew.len());
            for now_ns in [later.max(0), ahead, ahead.saturating_mul(2), i64::MAX] {
                while let Some(due) = anew.pop_due(now_ns) {
                    prop_assert_eq!(wheel.pop_due(now_ns), Some(due));
                }
                prop_assert!(wheel.pop_due(now_ns).is_none());
            }
            prop_assert!(wheel.is_empty());
        }

        #[test]
        fn it_fires_what_a_sorted_map_fires_in_the_same_order(
            start_ns in any::<i32>(), steps in prop::collection::vec(step(), 1..120),
        ) {
            let mut now_ns = i64::from(start_ns);
            let mut wheel = Wheel::new(now_ns, 1_000);
            let mut model = Model { position_ns: now_ns, ..Model::default() };
            let mut held: Vec<(TimerHandle, (i64, u64))> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Arm(delay) => {
                        let due_ns = now_ns.saturating_add(delay);
                        held.push((wheel.arm(due_ns, number).unwrap(), model.arm(due_ns, number)));
                    }
                    Step::Cancel(which) if !held.is_empty() => {
                        let (handle, key) = held[which % held.len()];
                        prop_assert_eq!(wheel.cancel(handle), model.timers.remove(&key).map(|timer| timer.1));
                    }
                    Step::Rearm(which, delay) if !held.is_empty() => {
                        let which = which % held.len();
                        let due_ns = now_ns.saturating_add(delay);
                        let was = model.timers.remove(&held[which].1);
                        prop_assert_eq!(wheel.rearm(held[which].0, due_ns), was.is_some());
                        if let Some((_, value)) = was {
                            held[which].1 = model.arm(due_ns, value);
                        }
                    }
                    Step::Advance(delay) => {
                        now_ns = now_ns.saturating_add(delay);
                        loop {
                            let due = wheel.pop_due(now_ns);
                            prop_assert_eq!(&due, &model.pop_due(now_ns));
                            if due.is_none() { break; }
                        }
                    }
                    Step::Pop(delay) => {
                        now_ns = now_ns.saturating_add(delay);
                        prop_assert_eq!(wheel.pop_due(now_ns), model.pop_due(now_ns));
                    }
                    Step::Cancel(_) | Step::Rearm(..) => {}
                }
                prop_assert_eq!(wheel.len(), model.timers.len());
                let next_ns = model.timers.keys().next().map(|key| key.0);
                prop_assert_eq!(wheel.next_due_ns(), next_ns);
                prop_assert!(wheel.wake_at_ns() <= next_ns && wheel.wake_at_ns().is_some() == next_ns.is_some());
            }
        }
    }
}
