//! The descent of the search: dynasearch (R. K. Congram, C. N. Potts and S. L. van de Velde, "An Iterated Dynasearch
//! Algorithm for the Single-Machine Total Weighted Tardiness Scheduling Problem", INFORMS Journal on Computing 14(1), 2002)
//! over the enlarged neighbourhood of A. Grosso, F. Della Croce and R. Tadei ("An Enhanced Dynasearch Neighborhood for the
//! Single-Machine Total Weighted Tardiness Scheduling Problem", Operations Research Letters 32(1), 2004): exchanges of two
//! jobs, and insertions of one in either direction. Moves that lie apart do not change each other's value, so a dynamic
//! program finds the best set of them, one of exponentially many, in one pass.
//!
//! Within a pass an insertion is valued in constant time, because passing one more job changes the value by what that job
//! gains or loses. Exchanges, whose value takes the jobs between, are left out unvalued where a bound shows that they
//! cannot help. Only feasible orders are visited: a job moves no further than to its next successor or predecessor. The
//! given pairs suffice for that: where a job precedes another through a third, that lies between them, and in the way.

use crate::batch::Batch;
use crate::random::Random;
use crate::search::{Kept, Poll, Stopped};

/// How many jobs a step moves, at least and at most.
const KICKS: (usize, usize) = (6, 12);
/// About how many exchanges one pass may have within its reach: with more jobs it looks less far.
const PASS_WORK: usize = 40_000_000;

/// An order, and what a pass over it needs, by position.
pub(crate) struct Sequence<'a> {
    batch: &'a Batch,
    pub(crate) order: Vec<u32>,
    pub(crate) tardiness: i64,
    /// The position of each job.
    places: Vec<usize>,
    spots: Vec<Spot>,
    /// The costs of all positions before each, summed; the weights too.
    costs_before: Vec<i64>,
    weights_before: Vec<i64>,
    /// For each position, what the jobs that a move to the right of its job has passed by gain.
    passed: Vec<i64>,
    /// The best change of value by moves within the positions before each, and the last of these moves.
    changes: Vec<i64>,
    moves: Vec<Option<Move>>,
    /// How far apart the ends of a move may be.
    reach: usize,
}

/// A position of an order.
#[derive(Clone, Copy, Default)]
struct Spot {
    processing: i64,
    weight: i64,
    due: i64,
    end: i64,
    cost: i64,
    /// How far its job may move to the left and to the right.
    left: usize,
    right: usize,
}

impl Spot {
    fn cost_at(&self, end: i64) -> i64 {
        self.weight * (end - self.due).max(0)
    }
}

/// A move whose last position is the one it is kept for.
#[derive(Clone, Copy)]
struct Move {
    first: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// The first job goes last.
    Right,
    /// The last job goes first.
    Left,
    /// Both change places.
    Exchange,
}

impl<'a> Sequence<'a> {
    /// Begins at a feasible order.
    pub(crate) fn new(batch: &'a Batch, order: Vec<u32>) -> Self {
        let jobs = order.len();
        let mut sequence = Self {
            batch,
            tardiness: 0,
            places: vec![0; jobs],
            spots: vec![Spot::default(); jobs],
            costs_before: vec![0; jobs + 1],
            weights_before: vec![0; jobs + 1],
            passed: vec![0; jobs],
            changes: vec![0; jobs + 1],
            moves: vec![None; jobs + 1],
            reach: (PASS_WORK / jobs.max(1)).isqrt(),
            order,
        };
        sequence.lay_out();
        sequence.tardiness = sequence.costs_before[jobs];
        sequence
    }

    /// Goes to another order.
    pub(crate) fn take(&mut self, kept: &Kept) {
        self.order.clone_from(&kept.order);
        self.tardiness = kept.tardiness;
    }

    /// Moves a few random jobs, each as far as precedence and reach let it go at random.
    pub(crate) fn kick(&mut self, random: &mut Random) {
        self.place();
        let (least, most) = KICKS;
        for _ in 0..least + random.below(most - least + 1) {
            let from = random.below(self.order.len());
            let (left, right) = self.room(from);
            let to = left + random.below(right - left + 1);
            if from < to {
                self.order[from..=to].rotate_left(1);
            } else {
                self.order[to..=from].rotate_right(1);
            }
            for place in from.min(to)..=from.max(to) {
                self.places[self.order[place] as usize] = place;
            }
        }
        self.tardiness = self.batch.cost(self.order.iter().map(|&job| job as usize));
    }

    /// Applies the best sets of moves until there is none that helps.
    pub(crate) fn descend(&mut self, poll: &mut Poll) -> Result<(), Stopped> {
        loop {
            self.lay_out();
            let change = self.pass(poll)?;
            if change >= 0 {
                return Ok(());
            }
            self.apply();
            self.tardiness += change;
        }
    }

    fn place(&mut self) {
        for (place, &job) in self.order.iter().enumerate() {
            self.places[job as usize] = place;
        }
    }

    /// The least and the greatest position that the job at a position may move to.
    fn room(&self, place: usize) -> (usize, usize) {
        let job = self.order[place] as usize;
        let place_of = |other: &u32| self.places[*other as usize];
        let left = self.batch.predecessors(job).iter().map(place_of).max().map_or(0, |before| before + 1);
        let right = self.batch.successors(job).iter().map(place_of).min().unwrap_or(self.order.len()) - 1;
        (left.max(place.saturating_sub(self.reach)), right.min(place + self.reach))
    }

    /// Fills in what depends on the order.
    fn lay_out(&mut self) {
        self.place();
        let mut end = 0;
        for place in 0..self.order.len() {
            let job = self.batch.jobs()[self.order[place] as usize];
            end += job.processing;
            let (left, right) = self.room(place);
            let cost = job.cost(end);
            self.spots[place] =
                Spot { processing: job.processing, weight: job.weight, due: job.due, end, cost, left, right };
            self.costs_before[place + 1] = self.costs_before[place] + cost;
            self.weights_before[place + 1] = self.weights_before[place] + job.weight;
        }
    }

    /// Finds the best set of moves that lie apart, and says by how much it changes the tardiness.
    fn pass(&mut self, poll: &mut Poll) -> Result<i64, Stopped> {
        for last in 0..self.order.len() {
            self.passed[last] = 0;
            let mut best = Best { change: self.changes[last], r#move: None };
            let first = last.saturating_sub(self.reach);
            poll.work(last - first + 1)?;
            self.leftwards(last, &mut best);
            self.rightwards(first, last, &mut best);
            self.exchanges(last, &mut best);
            self.changes[last + 1] = best.change;
            self.moves[last + 1] = best.r#move;
        }
        Ok(self.changes[self.order.len()])
    }

    /// Values the insertions of a job further left.
    fn leftwards(&self, last: usize, best: &mut Best) {
        let moved = self.spots[last];
        let mut passed = -moved.cost;
        for first in (moved.left..last).rev() {
            // Going on, neither grows less: what was passed by only loses, and fewer moves fit before.
            if self.changes[first] + passed >= best.change {
                return;
            }
            let spot = self.spots[first];
            passed += spot.cost_at(spot.end + moved.processing) - spot.cost;
            let own = moved.cost_at(spot.end - spot.processing + moved.processing);
            best.offer(self.changes[first] + passed + own, first, Kind::Left);
        }
    }

    /// Values the insertions of jobs from the left behind a job, which gains by each.
    fn rightwards(&mut self, first: usize, last: usize, best: &mut Best) {
        let passed_by = self.spots[last];
        for first in first..last {
            let moved = self.spots[first];
            if moved.right < last {
                continue;
            }
            self.passed[first] += passed_by.cost_at(passed_by.end - moved.processing) - passed_by.cost;
            let own = moved.cost_at(passed_by.end) - moved.cost;
            best.offer(self.changes[first] + self.passed[first] + own, first, Kind::Right);
        }
    }

    /// Values the exchanges of a job with those further left; exchanges of neighbours are insertions.
    fn exchanges(&self, last: usize, best: &mut Best) {
        let behind = self.spots[last];
        for first in behind.left..last.saturating_sub(1) {
            let ahead = self.spots[first];
            if ahead.right < last {
                continue;
            }
            let shift = behind.processing - ahead.processing;
            let own = ahead.cost_at(behind.end) - ahead.cost + behind.cost_at(ahead.end + shift) - behind.cost;
            let between = self.costs_before[last] - self.costs_before[first + 1];
            // What lies between cannot gain more than all it costs, nor more than the shift for each unit of weight.
            let gain = if shift < 0 {
                between.min(-shift * (self.weights_before[last] - self.weights_before[first + 1]))
            } else {
                0
            };
            let known = self.changes[first] + own;
            if known - gain >= best.change {
                continue;
            }
            let shifted: i64 = self.spots[first + 1..last].iter().map(|spot| spot.cost_at(spot.end + shift)).sum();
            best.offer(known + shifted - between, first, Kind::Exchange);
        }
    }

    /// Makes the moves that the last pass has found.
    fn apply(&mut self) {
        let mut after = self.order.len();
        while after > 0 {
            let Some(Move { first, kind }) = self.moves[after] else {
                after -= 1;
                continue;
            };
            let within = &mut self.order[first..after];
            match kind {
                Kind::Right => within.rotate_left(1),
                Kind::Left => within.rotate_right(1),
                Kind::Exchange => within.swap(0, after - first - 1),
            }
            after = first;
        }
    }
}

/// The best that ends at a position.
struct Best {
    change: i64,
    r#move: Option<Move>,
}

impl Best {
    #[inline]
    fn offer(&mut self, change: i64, first: usize, kind: Kind) {
        if change < self.change {
            *self = Self { change, r#move: Some(Move { first, kind }) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Job;
    use crate::search::Progress;
    use proptest::prelude::*;

    /// The best of all sets of moves that lie apart, each made and valued as a whole.
    fn best_of_all(batch: &Batch, order: &[usize], from: usize) -> i64 {
        let mut best = batch.tardiness(order).unwrap_or(i64::MAX);
        for first in from..order.len() {
            for last in first + 1..order.len() {
                for kind in [Kind::Right, Kind::Left, Kind::Exchange] {
                    let mut moved = order.to_vec();
                    match kind {
                        Kind::Right => moved[first..=last].rotate_left(1),
                        Kind::Left => moved[first..=last].rotate_right(1),
                        Kind::Exchange => moved.swap(first, last),
                    }
                    best = best.min(best_of_all(batch, &moved, last + 1));
                }
            }
        }
        best
    }

    fn batches() -> impl Strategy<Value = Batch> {
        let job = (1_u64..10, 0_u64..30, 0_u32..5);
        (prop::collection::vec(job, 1..=7), prop::collection::vec((0_usize..7, 0_usize..7), 0..6)).prop_map(
            |(jobs, pairs)| {
                let jobs: Vec<Job> =
                    jobs.into_iter().map(|(processing, due, weight)| Job { processing, due, weight }).collect();
                let pairs: Vec<_> =
                    pairs.into_iter().filter(|&(first, second)| first < second && second < jobs.len()).collect();
                Batch::new(&jobs, &pairs).unwrap()
            },
        )
    }

    proptest! {
        #[test]
        fn a_pass_finds_the_best_set_of_moves_and_leaves_none_unvalued_that_would_be_better(batch in batches()) {
            // Pairs go from lower to higher numbers, so this order is feasible.
            let order: Vec<usize> = (0..batch.len()).collect();
            let mut sequence = Sequence::new(&batch, (0..batch.len() as u32).collect());
            let before = sequence.tardiness;
            prop_assert_eq!(Ok(before), batch.tardiness(&order));
            let change = sequence.pass(&mut Poll::new(&mut |_: Progress| false, before));
            let change = change.unwrap_or_else(|Stopped| panic!("nobody said stop"));
            sequence.apply();
            let moved: Vec<usize> = sequence.order.iter().map(|&job| job as usize).collect();
            prop_assert_eq!(batch.tardiness(&moved), Ok(before + change));
            prop_assert_eq!(before + change, best_of_all(&batch, &order, 0));
        }

        #[test]
        fn a_kick_leaves_a_feasible_order_and_its_value(batch in batches(), seed in any::<u64>()) {
            let mut sequence = Sequence::new(&batch, (0..batch.len() as u32).collect());
            sequence.kick(&mut Random::new(seed));
            let order: Vec<usize> = sequence.order.iter().map(|&job| job as usize).collect();
            prop_assert_eq!(batch.tardiness(&order), Ok(sequence.tardiness));
        }
    }
}
