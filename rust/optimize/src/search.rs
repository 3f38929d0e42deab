//! The annealed search.
//!
//! A large-step Markov chain (O. Martin, S. W. Otto and E. W. Felten, "Large-Step Markov Chains for the Traveling Salesman
//! Problem", Complex Systems 5, 1991): a step moves a few random jobs, descends to a local optimum, and keeps it by
//! Metropolis' rule at a temperature that falls within each round of steps; a round begins at the best order so far.

use crate::batch::Batch;
use crate::dynasearch::Sequence;
use crate::random::Random;

/// How many steps a round of annealing has.
const ROUND_STEPS: u64 = 100;
/// The temperature at the start of a round, as a share of the mean tardiness of a job in the best order.
const HEAT: f64 = 0.2;
/// What the temperature falls to within a round, as a share of that.
const COOLED: f64 = 0.02;
/// Steps without a better order after which the search ends, and how many more for each job. On the 125 instances of 40 jobs
/// of the OR-Library the best of all comes within 100 steps.
const PATIENCE: u64 = 200;
const PATIENCE_PER_JOB: u64 = 20;
/// After how much work, in values of a move, the search asks whether it shall end.
const POLL_WORK: usize = 4_096;

/// From which random numbers, and how long, to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The same batch, seed and number of steps give the same order.
    pub seed: u64,
    /// How many steps are taken, unless the tardiness is zero before. By default the search ends by itself when
    /// [`Search::patience`] steps have brought no better order.
    pub steps: Option<u64>,
}

impl Search {
    /// How many steps without a better order are enough for that many jobs.
    pub fn patience(jobs: usize) -> u64 {
        PATIENCE + PATIENCE_PER_JOB * jobs as u64
    }
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Completed steps.
    pub steps: u64,
    /// The total weighted tardiness of the best order so far.
    pub tardiness: i64,
}

/// Told by the caller that it shall end.
pub(crate) struct Stopped;

/// Asks the caller from time to time whether to end.
pub(crate) struct Poll<'a> {
    should_stop: &'a mut dyn FnMut(Progress) -> bool,
    progress: Progress,
    work: usize,
}

impl<'a> Poll<'a> {
    /// Begins with an order of that tardiness.
    pub(crate) fn new(should_stop: &'a mut dyn FnMut(Progress) -> bool, tardiness: i64) -> Self {
        Self { should_stop, progress: Progress { steps: 0, tardiness }, work: 0 }
    }

    /// Says that so many values of moves were computed.
    pub(crate) fn work(&mut self, work: usize) -> Result<(), Stopped> {
        self.work += work;
        if self.work < POLL_WORK {
            return Ok(());
        }
        self.work = 0;
        if (self.should_stop)(self.progress) { Err(Stopped) } else { Ok(()) }
    }
}

/// Looks for a better order than `start` and returns the best one, its value, and the steps taken.
pub(crate) fn search(
    batch: &Batch,
    start: Vec<u32>,
    options: &Search,
    should_stop: &mut dyn FnMut(Progress) -> bool,
) -> (Vec<u32>, Progress) {
    let mut sequence = Sequence::new(batch, start);
    let mut poll = Poll::new(should_stop, sequence.tardiness);
    let mut best = sequence.order.clone();
    // Where the caller ends it amid a descent, what that has reached counts too.
    let _ = anneal(&mut sequence, &mut best, options, &mut poll);
    if sequence.tardiness < poll.progress.tardiness {
        poll.progress.tardiness = sequence.tardiness;
        best = sequence.order;
    }
    (best, poll.progress)
}

fn anneal(sequence: &mut Sequence, best: &mut Vec<u32>, options: &Search, poll: &mut Poll) -> Result<(), Stopped> {
    let mut random = Random::new(options.seed);
    sequence.descend(poll)?;
    let mut kept = Kept { order: sequence.order.clone(), tardiness: sequence.tardiness };
    let mut improved_at = 0;
    loop {
        if kept.tardiness < poll.progress.tardiness {
            poll.progress.tardiness = kept.tardiness;
            best.clone_from(&kept.order);
            improved_at = poll.progress.steps;
        }
        let Progress { steps, tardiness } = poll.progress;
        let ends = match options.steps {
            Some(most) => steps >= most,
            None => steps - improved_at >= Search::patience(sequence.order.len()),
        };
        if tardiness == 0 || ends {
            return Ok(());
        }
        let in_round = steps % ROUND_STEPS;
        if in_round == 0 && kept.tardiness != tardiness {
            kept.order.clone_from(best);
            kept.tardiness = tardiness;
        }
        sequence.take(&kept);
        sequence.kick(&mut random);
        sequence.descend(poll)?;
        poll.progress.steps += 1;
        let cooled = COOLED.powf(in_round as f64 / ROUND_STEPS as f64);
        let temperature = HEAT * cooled * tardiness as f64 / sequence.order.len() as f64;
        let worse = (sequence.tardiness - kept.tardiness) as f64;
        if worse <= 0.0 || random.unit() < (-worse / temperature).exp() {
            kept.order.clone_from(&sequence.order);
            kept.tardiness = sequence.tardiness;
        }
    }
}

/// The order that the chain stands at.
pub(crate) struct Kept {
    pub(crate) order: Vec<u32>,
    pub(crate) tardiness: i64,
}
