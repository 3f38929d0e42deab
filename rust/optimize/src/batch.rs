//! A batch of jobs, checked once: what the rules and the search rely on.

use crate::error::BatchError;

/// How many jobs a batch may have.
pub const JOBS_MAX: usize = 65_536;

/// How many pairs of jobs may be given as precedence.
pub const PRECEDENCE_MAX: usize = 1 << 20;

/// One piece of work. Times are in any unit, the same for all jobs of a batch, and count from the start of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// How long it runs, without interruption; at least 1.
    pub processing: u64,
    /// When it should have ended.
    pub due: u64,
    /// What each unit of time costs by which it ends later than that.
    pub weight: u32,
}

/// Jobs that one machine runs one after the other, without pause, each after all those that precede it.
#[derive(Clone, Debug)]
pub struct Batch {
    jobs: Box<[Placeable]>,
    successors: Adjacency,
    predecessors: Adjacency,
}

/// A job in the signed arithmetic of the search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placeable {
    pub(crate) processing: i64,
    pub(crate) due: i64,
    pub(crate) weight: i64,
}

impl Placeable {
    /// What ending at a time costs.
    pub(crate) fn cost(&self, end: i64) -> i64 {
        self.weight * (end - self.due).max(0)
    }
}

/// The neighbours of each job in one direction.
#[derive(Clone, Debug)]
struct Adjacency {
    begins: Box<[u32]>,
    jobs: Box<[u32]>,
}

impl Adjacency {
    fn new(jobs: usize, pairs: impl Iterator<Item = (usize, usize)> + Clone) -> Self {
        let mut begins = vec![0; jobs + 1];
        for (from, _) in pairs.clone() {
            begins[from + 1] += 1;
        }
        for job in 0..jobs {
            begins[job + 1] += begins[job];
        }
        let mut free = begins.clone();
        let mut to = vec![0; begins[jobs] as usize];
        for (from, neighbour) in pairs {
            to[free[from] as usize] = neighbour as u32;
            free[from] += 1;
        }
        Self { begins: begins.into(), jobs: to.into() }
    }

    fn of(&self, job: usize) -> &[u32] {
        &self.jobs[self.begins[job] as usize..self.begins[job + 1] as usize]
    }
}

impl Batch {
    /// Checks jobs and the pairs of them of which the first has to end before the second begins.
    ///
    /// # Errors
    /// There are too many jobs or pairs, a job takes no time, a pair names a job that does not exist, the pairs form a
    /// cycle, or the weighted tardiness could leave what 64 bits hold.
    pub fn new(jobs: &[Job], precedence: &[(usize, usize)]) -> Result<Self, BatchError> {
        if jobs.len() > JOBS_MAX {
            return Err(BatchError::TooManyJobs { jobs: jobs.len() });
        }
        if precedence.len() > PRECEDENCE_MAX {
            return Err(BatchError::TooManyPairs { pairs: precedence.len() });
        }
        if let Some(job) = jobs.iter().position(|job| job.processing == 0) {
            return Err(BatchError::NoProcessing { job });
        }
        // Twice the weight of all by twice the latest time of all bounds every sum that the search forms.
        let total: u128 = jobs.iter().map(|job| u128::from(job.processing)).sum();
        let latest = total + jobs.iter().map(|job| u128::from(job.due)).max().unwrap_or(0);
        let weight = jobs.iter().map(|job| u128::from(job.weight)).sum::<u128>().max(1);
        let limit = i64::MAX as u128 / 4;
        if latest > limit / weight {
            return Err(BatchError::TooLong { latest, latest_max: (limit / weight) as u64 });
        }
        for &(before, after) in precedence {
            if let Some(job) = [before, after].into_iter().find(|&job| job >= jobs.len()) {
                return Err(BatchError::UnknownJob { job, jobs: jobs.len() });
            }
        }
        let batch = Self {
            jobs: jobs
                .iter()
                .map(|job| Placeable {
                    processing: job.processing.cast_signed(),
                    due: job.due.cast_signed(),
                    weight: i64::from(job.weight),
                })
                .collect(),
            successors: Adjacency::new(jobs.len(), precedence.iter().copied()),
            predecessors: Adjacency::new(jobs.len(), precedence.iter().map(|&(before, after)| (after, before))),
        };
        batch.refuse_cycle()?;
        Ok(batch)
    }

    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The total weighted tardiness of an order: for each job its weight by how much later than due it ends, summed.
    ///
    /// # Errors
    /// It does not have every job once, or a job comes before one that precedes it.
    pub fn tardiness(&self, order: &[usize]) -> Result<i64, BatchError> {
        let mut places = vec![None; self.len()];
        for (place, &job) in order.iter().enumerate() {
            match places.get_mut(job) {
                Some(free @ None) => *free = Some(place),
                _ => return Err(BatchError::NotAnOrder { job }),
            }
        }
        if let Some(job) = places.iter().position(Option::is_none) {
            return Err(BatchError::NotAnOrder { job });
        }
        for job in 0..self.len() {
            if let Some(&after) = self.successors(job).iter().find(|&&after| places[after as usize] < places[job]) {
                return Err(BatchError::AgainstPrecedence { before: job, after: after as usize });
            }
        }
        Ok(self.cost(order.iter().copied()))
    }

    /// The same of what is known to be an order.
    pub(crate) fn cost(&self, order: impl Iterator<Item = usize>) -> i64 {
        let mut end = 0;
        order
            .map(|job| {
                end += self.jobs[job].processing;
                self.jobs[job].cost(end)
            })
            .sum()
    }

    pub(crate) fn jobs(&self) -> &[Placeable] {
        &self.jobs
    }

    /// The jobs that a job is given to precede.
    pub(crate) fn successors(&self, job: usize) -> &[u32] {
        self.successors.of(job)
    }

    /// The jobs that are given to precede a job.
    pub(crate) fn predecessors(&self, job: usize) -> &[u32] {
        self.predecessors.of(job)
    }

    /// How many predecessors each job has, counted as often as they were given.
    pub(crate) fn waits_for(&self) -> Vec<usize> {
        (0..self.len()).map(|job| self.predecessors(job).len()).collect()
    }

    fn refuse_cycle(&self) -> Result<(), BatchError> {
        // Kahn's algorithm; a job that is never free lies on a cycle or behind one, and has such a predecessor.
        let mut waits_for = self.waits_for();
        let mut free: Vec<usize> = (0..self.len()).filter(|&job| waits_for[job] == 0).collect();
        while let Some(job) = free.pop() {
            for &after in self.successors(job) {
                waits_for[after as usize] -= 1;
                if waits_for[after as usize] == 0 {
                    free.push(after as usize);
                }
            }
        }
        let Some(mut job) = waits_for.iter().position(|&count| count > 0) else {
            return Ok(());
        };
        let mut walked = Vec::new();
        let mut seen = vec![None; self.len()];
        let begins = loop {
            if let Some(begins) = seen[job] {
                break begins;
            }
            seen[job] = Some(walked.len());
            walked.push(job);
            let stuck = self.predecessors(job).iter().map(|&before| before as usize).find(|&b| waits_for[b] > 0);
            let Some(before) = stuck else { return Ok(()) };
            job = before;
        };
        let mut cycle = walked.split_off(begins);
        cycle.reverse();
        Err(BatchError::Cycle { jobs: cycle })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(count: usize) -> Vec<Job> {
        vec![Job { processing: 1, due: 1, weight: 1 }; count]
    }

    #[test]
    fn a_cycle_is_named_in_its_order_and_without_what_only_leads_to_it_or_comes_behind_it() {
        let refused = Batch::new(&jobs(6), &[(0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (4, 5)]).unwrap_err();
        let BatchError::Cycle { jobs: mut cycle } = refused else { panic!("{refused}") };
        let least = cycle.iter().position(|&job| job == 1).unwrap();
        cycle.rotate_left(least);
        assert_eq!(cycle, [1, 2, 3]);
        assert_eq!(Batch::new(&jobs(1), &[(0, 0)]).unwrap_err(), BatchError::Cycle { jobs: vec![0] });
    }

    #[test]
    fn what_cannot_be_computed_exactly_is_refused_before_anything_is_computed() {
        let long = [Job { processing: u64::MAX, due: u64::MAX, weight: u32::MAX }; 2];
        assert!(matches!(Batch::new(&long, &[]), Err(BatchError::TooLong { latest_max: 268_435_456, .. })));
        let longest = |due| [Job { processing: 1, due, weight: 1 }];
        assert!(Batch::new(&longest(i64::MAX as u64 / 4 - 1), &[]).is_ok());
        assert!(Batch::new(&longest(i64::MAX as u64 / 4), &[]).is_err());
        assert_eq!(
            Batch::new(&[Job { processing: 0, due: 0, weight: 0 }], &[]).unwrap_err(),
            BatchError::NoProcessing { job: 0 }
        );
        assert_eq!(Batch::new(&jobs(2), &[(0, 2)]).unwrap_err(), BatchError::UnknownJob { job: 2, jobs: 2 });
        assert_eq!(Batch::new(&jobs(JOBS_MAX + 1), &[]).unwrap_err(), BatchError::TooManyJobs { jobs: JOBS_MAX + 1 });
        let pairs = vec![(0, 1); PRECEDENCE_MAX + 1];
        assert_eq!(Batch::new(&jobs(2), &pairs).unwrap_err(), BatchError::TooManyPairs { pairs: PRECEDENCE_MAX + 1 });
    }

    #[test]
    fn the_tardiness_of_an_order_is_the_sum_of_its_jobs() {
        let jobs = [
            Job { processing: 3, due: 2, weight: 10 },
            Job { processing: 4, due: 9, weight: 7 },
            Job { processing: 5, due: 5, weight: 2 },
        ];
        let batch = Batch::new(&jobs, &[(0, 1)]).unwrap();
        assert_eq!(batch.tardiness(&[0, 1, 2]), Ok(10 + 2 * 7));
        assert_eq!(batch.tardiness(&[2, 0, 1]), Ok(6 * 10 + 3 * 7));
        assert_eq!(batch.tardiness(&[1, 0, 2]), Err(BatchError::AgainstPrecedence { before: 0, after: 1 }));
        assert_eq!(batch.tardiness(&[0, 1]), Err(BatchError::NotAnOrder { job: 2 }));
        assert_eq!(batch.tardiness(&[0, 0, 1]), Err(BatchError::NotAnOrder { job: 0 }));
        assert_eq!(batch.tardiness(&[0, 1, 3]), Err(BatchError::NotAnOrder { job: 3 }));
    }
}
