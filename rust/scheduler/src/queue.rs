//! The queue of execution by deadline: the job with the earliest deadline first, then the one of higher priority, then the
//! older.
//!
//! A heap with four children to a node, because a pop compares more often than it moves and four keys lie on two cache
//! lines. Deadline, priority and age are one number, so comparing two jobs is one comparison. Each job knows its place in
//! the heap, so any can be taken out in logarithmic time.
//!
//! Invariants: `heap[jobs[heap[i].job].place]` is `heap[i]`; no node has a smaller key than the one above it; a handle holds
//! the generation of its job, which is odd while it waits.

use crate::SchedulerError;

const CHILDREN: usize = 4;
const NONE: u32 = u32::MAX;
/// Ages are told apart by this many bits: 2^56 jobs.
const AGE_BITS: u32 = 56;

/// Names one job. It may outlive it: then it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobHandle {
    job: u32,
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u128,
    job: u32,
}

#[derive(Debug)]
struct Job<T> {
    /// Where it stands in the heap; of an unused one, the next unused.
    place: u32,
    generation: u32,
    value: Option<T>,
}

/// Jobs by deadline.
///
/// ```
/// use chronofabric_scheduler::DeadlineQueue;
///
/// let mut queue = DeadlineQueue::new(1_000);
/// queue.push(20, 0, "later")?;
/// queue.push(10, 0, "sooner")?;
/// let urgent = queue.push(20, 5, "as soon, and more important")?;
/// assert_eq!(queue.cancel(urgent), Some("as soon, and more important"));
/// assert_eq!(queue.pop(), Some((10, "sooner")));
/// assert_eq!(queue.next_deadline_ns(), Some(20));
/// # Ok::<(), chronofabric_scheduler::SchedulerError>(())
/// ```
#[derive(Debug)]
pub struct DeadlineQueue<T> {
    heap: Vec<Entry>,
    jobs: Vec<Job<T>>,
    free: u32,
    age: u64,
    limit: usize,
}

impl<T> DeadlineQueue<T> {
    /// A queue of at most `jobs_max` jobs.
    pub fn new(jobs_max: usize) -> Self {
        let limit = jobs_max.min(NONE as usize - 1);
        Self { heap: Vec::new(), jobs: Vec::new(), free: NONE, age: 0, limit }
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Adds a job. Of two with the same deadline the one of higher priority comes first.
    ///
    /// # Errors
    ///
    /// [`SchedulerError::QueueLimit`] when as many wait as may; nothing has changed then.
    pub fn push(&mut self, deadline_ns: i64, priority: u8, value: T) -> Result<JobHandle, SchedulerError> {
        if self.heap.len() >= self.limit {
            return Err(SchedulerError::QueueLimit { limit: self.limit });
        }
        self.age += 1;
        let key = key(deadline_ns, priority, self.age);
        let job = self.take();
        let handle = {
            let slot = &mut self.jobs[job as usize];
            slot.generation = slot.generation.wrapping_add(1);
            slot.value = Some(value);
            JobHandle { job, generation: slot.generation }
        };
        let entry = Entry { key, job };
        self.heap.push(entry);
        self.rise(self.heap.len() - 1, entry);
        Ok(handle)
    }

    /// Takes the most urgent job, with its deadline.
    pub fn pop(&mut self) -> Option<(i64, T)> {
        let first = *self.heap.first()?;
        self.remove(0);
        Some((deadline_ns(first.key), self.give_back(first.job)?))
    }

    /// Takes the most urgent job of those that may be taken; the others stay as they are. Where the first one may not, all
    /// are looked at.
    pub fn pop_where(&mut self, may_be_taken: impl Fn(&T) -> bool) -> Option<(i64, T)> {
        let may = |entry: &&Entry| self.jobs[entry.job as usize].value.as_ref().is_some_and(&may_be_taken);
        let first = self.heap.first().filter(may);
        let Entry { key, job } = *first.or_else(|| self.heap.iter().filter(may).min_by_key(|entry| entry.key))?;
        self.remove(self.jobs[job as usize].place as usize);
        Some((deadline_ns(key), self.give_back(job)?))
    }

    /// Takes a job out, unless it was taken already.
    pub fn cancel(&mut self, handle: JobHandle) -> Option<T> {
        let job = self.jobs.get(handle.job as usize).filter(|job| job.generation == handle.generation)?;
        job.value.as_ref()?;
        self.remove(job.place as usize);
        self.give_back(handle.job)
    }

    /// Takes all jobs out of which something is true, in no order.
    pub fn cancel_where(&mut self, is_meant: impl Fn(&T) -> bool) -> Vec<T> {
        let meant = |job: &u32| self.jobs[*job as usize].value.as_ref().is_some_and(&is_meant);
        let jobs: Vec<u32> = self.heap.iter().map(|entry| entry.job).filter(meant).collect();
        let mut taken = Vec::with_capacity(jobs.len());
        for job in jobs {
            self.remove(self.jobs[job as usize].place as usize);
            taken.extend(self.give_back(job));
        }
        taken
    }

    /// The earliest deadline.
    pub fn next_deadline_ns(&self) -> Option<i64> {
        self.heap.first().map(|entry| deadline_ns(entry.key))
    }

    /// The most urgent job.
    pub fn first_mut(&mut self) -> Option<&mut T> {
        let first = self.heap.first()?.job;
        self.jobs[first as usize].value.as_mut()
    }

    /// Gives the most urgent job another deadline; its priority, its age and its handle stay.
    pub fn postpone(&mut self, deadline_ns: i64) {
        let Some(&Entry { key, job }) = self.heap.first() else { return };
        let key = instant_key(deadline_ns) | key & u128::from(u64::MAX);
        let gap = self.sink(0);
        self.rise(gap, Entry { key, job });
    }

    /// Takes the entry at a place out of the heap: the last one fills the gap.
    #[inline]
    fn remove(&mut self, place: usize) {
        let Some(last) = self.heap.pop() else { return };
        if place == self.heap.len() {
            return;
        }
        let gap = self.sink(place);
        self.rise(gap, last);
    }

    /// Puts an entry where it belongs, at a place or above.
    #[inline]
    fn rise(&mut self, mut place: usize, entry: Entry) {
        while place > 0 {
            let above = (place - 1) / CHILDREN;
            if self.heap[above].key <= entry.key {
                break;
            }
            self.put(place, self.heap[above]);
            place = above;
        }
        self.put(place, entry);
    }

    /// Moves a gap to the bottom, and says where it ended. What is to fill it comes from the bottom, and mostly belongs
    /// there: so it is not compared with on the way down, but on the way up.
    #[inline]
    fn sink(&mut self, mut place: usize) -> usize {
        loop {
            let first = place * CHILDREN + 1;
            let below = match self.heap.get(first..) {
                // Both halves at once, and without a branch that would be foretold wrongly half the time.
                Some([a, b, c, d, ..]) => {
                    let (left, left_key) = if b.key < a.key { (1, b.key) } else { (0, a.key) };
                    let (right, right_key) = if d.key < c.key { (3, d.key) } else { (2, c.key) };
                    if right_key < left_key { right } else { left }
                }
                Some(few) if !few.is_empty() => {
                    few.iter().enumerate().min_by_key(|(_, child)| child.key).map_or(0, |(below, _)| below)
                }
                _ => return place,
            };
            self.put(place, self.heap[first + below]);
            place = first + below;
        }
    }

    #[inline]
    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.jobs[entry.job as usize].place = place as u32;
    }

    #[inline]
    fn take(&mut self) -> u32 {
        if self.free != NONE {
            let job = self.free;
            self.free = self.jobs[job as usize].place;
            return job;
        }
        self.jobs.push(Job { place: NONE, generation: 0, value: None });
        self.jobs.len() as u32 - 1
    }

    #[inline]
    fn give_back(&mut self, job: u32) -> Option<T> {
        let slot = &mut self.jobs[job as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.place = self.free;
        self.free = job;
        slot.value.take()
    }
}

#[inline]
fn key(deadline_ns: i64, priority: u8, age: u64) -> u128 {
    let rest = u64::from(u8::MAX - priority) << AGE_BITS | age & ((1 << AGE_BITS) - 1);
    instant_key(deadline_ns) | u128::from(rest)
}

#[inline]
fn instant_key(deadline_ns: i64) -> u128 {
    u128::from(deadline_ns as u64 ^ (1 << 63)) << 64
}

#[inline]
fn deadline_ns(key: u128) -> i64 {
    ((key >> 64) as u64 ^ (1 << 63)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limit_is_named_and_refusing_changes_nothing() {
        let mut queue = DeadlineQueue::new(1);
        queue.push(1, 0, 'a').unwrap();
        assert_eq!(queue.push(0, 0, 'b'), Err(SchedulerError::QueueLimit { limit: 1 }));
        assert_eq!((queue.pop(), queue.pop()), (Some((1, 'a')), None));
    }

    #[test]
    fn what_is_postponed_keeps_its_priority_its_age_and_its_handle() {
        let mut queue = DeadlineQueue::new(64);
        let handles: Vec<_> = (0..40).map(|job| queue.push(job % 7, (job % 3) as u8, job).unwrap()).collect();
        let mut postponed = Vec::new();
        while queue.next_deadline_ns() < Some(3) {
            postponed.push(*queue.first_mut().unwrap());
            queue.postpone(5);
        }
        assert_eq!(queue.cancel(handles[0]), Some(0));
        let mut expected: Vec<_> = (1..40).map(|job| if job % 7 < 3 { (5, job) } else { (job % 7, job) }).collect();
        expected.sort_by_key(|(deadline, job)| (*deadline, u8::MAX - (job % 3) as u8, *job));
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), expected);
        assert_eq!(postponed.len(), (0..40).filter(|job| job % 7 < 3).count());
        queue.postpone(1);
        assert!(queue.is_empty() && queue.first_mut().is_none());
    }

    #[test]
    fn a_handle_is_good_for_one_job_only() {
        let mut queue = DeadlineQueue::new(4);
        let first = queue.push(1, 0, 'a').unwrap();
        assert_eq!(queue.pop(), Some((1, 'a')));
        let second = queue.push(2, 0, 'b').unwrap();
        assert_eq!((queue.cancel(first), queue.cancel(second), queue.cancel(second)), (None, Some('b'), None));
        assert!(queue.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(i64, u8),
        Pop,
        PopWhere(usize),
        Cancel(usize),
        CancelWhere(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let deadline = prop_oneof![3 => -5_i64..20, 1 => any::<i64>()];
        prop_oneof![
            4 => (deadline, 0_u8..4).prop_map(|(deadline_ns, priority)| Step::Push(deadline_ns, priority)),
            2 => Just(Step::Pop),
            1 => (1_usize..5).prop_map(Step::PopWhere),
            1 => any::<usize>().prop_map(Step::Cancel),
            1 => (3_usize..9).prop_map(Step::CancelWhere),
        ]
    }

    proptest! {
        #[test]
        fn it_hands_out_what_sorting_by_deadline_priority_and_age_would(
            steps in prop::collection::vec(step(), 1..300),
        ) {
            let mut queue = DeadlineQueue::new(1_000);
            let mut model: Vec<(i64, u8, usize)> = Vec::new();
            let mut handles = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(deadline_ns, priority) => {
                        handles.push((queue.push(deadline_ns, priority, number).unwrap(), number));
                        model.push((deadline_ns, u8::MAX - priority, number));
                        model.sort_unstable();
                    }
                    Step::Pop => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(queue.pop(), expected.map(|(deadline_ns, _, number)| (deadline_ns, number)));
                    }
                    Step::PopWhere(divisor) => {
                        let place = model.iter().position(|job| job.2 % divisor == 0);
                        let expected = place.map(|place| model.remove(place)).map(|(deadline_ns, _, job)| (deadline_ns, job));
                        prop_assert_eq!(queue.pop_where(|job| job % divisor == 0), expected);
                    }
                    Step::Cancel(which) if !handles.is_empty() => {
                        let (handle, number) = handles[which % handles.len()];
                        let place = model.iter().position(|job| job.2 == number);
                        prop_assert_eq!(queue.cancel(handle), place.map(|place| model.remove(place).2));
                    }
                    Step::CancelWhere(divisor) => {
                        let mut cancelled = queue.cancel_where(|job| job % divisor == 0);
                        cancelled.sort_unstable();
                        let mut expected: Vec<_> =
                            model.extract_if(.., |job| job.2 % divisor == 0).map(|job| job.2).collect();
                        expected.sort_unstable();
                        prop_assert_eq!(cancelled, expected);
                    }
                    Step::Cancel(_) => {}
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.next_deadline_ns(), model.first().map(|job| job.0));
            }
        }
    }
}
