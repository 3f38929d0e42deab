//! Orders beside the exact ones: by dynamic programming over all sets of jobs, and those of the OR-Library.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_optimize::{Batch, Job, JobOrder, Kept, Progress, Search, order};
use proptest::prelude::*;
use std::path::PathBuf;

fn search(batch: &Batch, seed: u64, steps: Option<u64>) -> JobOrder {
    order(batch, &Search { seed, steps }, &mut |_| false)
}

/// The least total weighted tardiness of all feasible orders (Held and Karp, 1962; with precedence, Schrage and Baker,
/// 1978): the last job of a set is tried in turn, its end being the sum of the set.
fn least(jobs: &[Job], precedence: &[(usize, usize)]) -> i64 {
    let mut before = vec![0_usize; jobs.len()];
    for &(first, second) in precedence {
        before[second] |= 1 << first;
    }
    let mut least = vec![None; 1 << jobs.len()];
    least[0] = Some(0);
    for set in 0..1_usize << jobs.len() {
        let Some(so_far): Option<i64> = least[set] else { continue };
        let start: u64 = (0..jobs.len()).filter(|job| set >> job & 1 == 1).map(|job| jobs[job].processing).sum();
        for (index, job) in jobs.iter().enumerate() {
            if set >> index & 1 == 1 || before[index] & !set != 0 {
                continue;
            }
            let late = (start + job.processing).saturating_sub(job.due) as i64;
            let value = so_far + i64::from(job.weight) * late;
            let known = &mut least[set | 1 << index];
            *known = Some(known.map_or(value, |known: i64| known.min(value)));
        }
    }
    least[(1 << jobs.len()) - 1].unwrap()
}

fn jobs(most: usize) -> impl Strategy<Value = Vec<Job>> {
    // Due dates in the range that makes the choice hard: less than all processing together.
    let job = (1_u64..=20, 0_u64..=10_000, 0_u32..=10);
    (prop::collection::vec(job, 0..=most), 1_u64..=12).prop_map(|(jobs, tightness)| {
        let total: u64 = jobs.iter().map(|job| job.0).sum();
        jobs.into_iter()
            .map(|(processing, due, weight)| Job { processing, due: due * total * tightness / 100_000, weight })
            .collect()
    })
}

/// Jobs, and pairs that go from earlier to later ones in a hidden order.
fn batches(most: usize) -> impl Strategy<Value = (Vec<Job>, Vec<(usize, usize)>)> {
    jobs(most).prop_flat_map(|jobs| {
        let count = jobs.len();
        let hidden = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
        let pairs = prop::collection::vec((0..count.max(1), 0..count.max(1)), 0..=2 * count);
        (Just(jobs), hidden, pairs).prop_map(|(jobs, hidden, pairs)| {
            let pairs = pairs.iter().filter(|(first, second)| first < second);
            let precedence = pairs.map(|&(first, second)| (hidden[first], hidden[second])).collect();
            (jobs, precedence)
        })
    })
}

fn agrees_with_itself(batch: &Batch, found: &JobOrder) -> Result<(), TestCaseError> {
    prop_assert_eq!(batch.tardiness(&found.order), Ok(found.tardiness));
    let best_rule = found.edf.min(found.atc);
    prop_assert!(found.tardiness <= best_rule);
    prop_assert_eq!(found.kept == Kept::Search, found.tardiness < best_rule);
    prop_assert!(found.kept != Kept::Edf || found.tardiness == found.edf);
    prop_assert!(found.kept != Kept::Atc || (found.tardiness == found.atc && found.atc < found.edf));
    Ok(())
}

proptest! {
    #[test]
    fn up_to_twelve_jobs_with_precedence_are_ordered_exactly(
        (jobs, precedence) in batches(if cfg!(debug_assertions) { 9 } else { 12 }),
        seed in any::<u64>(),
    ) {
        let batch = Batch::new(&jobs, &precedence).unwrap();
        let found = search(&batch, seed, None);
        agrees_with_itself(&batch, &found)?;
        prop_assert_eq!(found.tardiness, least(&jobs, &precedence));
    }

    #[test]
    fn every_order_is_feasible_and_worth_what_it_says_wherever_the_search_is_ended(
        (jobs, precedence) in batches(60),
        seed in any::<u64>(),
        questions in 0_u32..20,
    ) {
        let batch = Batch::new(&jobs, &precedence).unwrap();
        let mut left = questions;
        let mut seen = i64::MAX;
        let mut stop = |progress: Progress| {
            assert!(progress.tardiness <= seen, "the best grew worse");
            seen = progress.tardiness;
            left = left.saturating_sub(1);
            left == 0
        };
        let found = order(&batch, &Search { seed, steps: Some(50) }, &mut stop);
        agrees_with_itself(&batch, &found)?;
        prop_assert!(found.tardiness <= seen);
    }

    #[test]
    fn the_same_seed_gives_the_same_order_and_more_steps_never_a_worse_one(
        (jobs, precedence) in batches(30),
        seed in any::<u64>(),
    ) {
        let batch = Batch::new(&jobs, &precedence).unwrap();
        let mut before = None;
        for steps in [0, 1, 5, 20] {
            let found = search(&batch, seed, Some(steps));
            prop_assert_eq!(&found, &search(&batch, seed, Some(steps)));
            prop_assert!(found.steps == steps || found.tardiness == 0);
            prop_assert!(before.is_none_or(|before| found.tardiness <= before));
            before = Some(found.tardiness);
        }
    }
}

#[test]
fn precedence_that_leaves_one_order_gets_it() {
    let jobs: Vec<Job> = (0..50).map(|job| Job { processing: 3, due: 200 - 4 * job, weight: 1 + job as u32 }).collect();
    let chain: Vec<_> = (1..50).map(|job| (job - 1, job)).collect();
    let found = search(&Batch::new(&jobs, &chain).unwrap(), 0, Some(20));
    assert_eq!(found.order, (0..50).collect::<Vec<_>>());
    assert_eq!((found.tardiness, found.kept), (found.edf, Kept::Edf));
}

#[test]
fn a_batch_without_jobs_has_an_order_without_jobs() {
    let found = search(&Batch::new(&[], &[]).unwrap(), 0, Some(u64::MAX));
    assert_eq!((found.order.len(), found.tardiness, found.steps), (0, 0, 0));
}

#[test]
fn ended_at_once_it_answers_with_the_better_rule() {
    let jobs: Vec<Job> = (0..3_000_u64)
        .map(|job| Job { processing: 1 + job * 7919 % 97, due: job * 104_729 % 60_000, weight: 1 + (job % 9) as u32 })
        .collect();
    let batch = Batch::new(&jobs, &[]).unwrap();
    let mut asked = 0;
    let found = order(&batch, &Search::default(), &mut |_| {
        asked += 1;
        true
    });
    assert_eq!((asked, found.steps, found.tardiness), (1, 0, found.edf.min(found.atc)));
    assert_ne!(found.kept, Kept::Search);
}

/// The 125 instances of 40 jobs of the OR-Library (J. E. Beasley), with their least total weighted tardiness.
fn or_library() -> Option<Vec<(Vec<Job>, i64)>> {
    let Some(folder) = std::env::var_os("CHRONOFABRIC_TEST_DATA") else {
        eprintln!("skipped: needs recorded data: set CHRONOFABRIC_TEST_DATA to its folder");
        return None;
    };
    let numbers = |file: &str| -> Vec<u64> {
        let text = std::fs::read_to_string(PathBuf::from(&folder).join("wt").join(file)).unwrap();
        text.split_whitespace().map(|number| number.parse().unwrap()).collect()
    };
    let job = |of: &[u64], job: usize| Job { processing: of[job], weight: of[40 + job] as u32, due: of[80 + job] };
    let instances = numbers("wt40.txt");
    let instances = instances.chunks_exact(120).map(|of| (0..40).map(|index| job(of, index)).collect());
    Some(instances.zip(numbers("wtopt40.txt").into_iter().map(|least| least as i64)).collect())
}

#[test]
fn every_instance_of_the_or_library_is_ordered_at_its_known_optimum_within_a_thousand_steps() {
    let Some(instances) = or_library() else { return };
    assert_eq!(instances.len(), 125);
    let seeds = if std::env::var_os("CHRONOFABRIC_PROOF").is_some() { 100 } else { 1 };
    for seed in 0..seeds {
        for (number, (jobs, least)) in instances.iter().enumerate() {
            let batch = Batch::new(jobs, &[]).unwrap();
            let search = Search { seed, steps: Some(Search::patience(jobs.len())) };
            let found = order(&batch, &search, &mut |progress| progress.tardiness <= *least);
            assert_eq!(found.tardiness, *least, "instance {number}, seed {seed}");
            assert_eq!(batch.tardiness(&found.order), Ok(*least));
            assert!(found.edf >= *least && found.atc >= *least);
        }
    }
}

#[test]
fn the_or_library_with_random_precedence_is_ordered_feasibly_and_better_than_by_rules() {
    let Some(instances) = or_library() else { return };
    let mut better = 0;
    for (number, (jobs, least)) in instances.iter().enumerate().step_by(5) {
        let precedence: Vec<_> = (0..40).map(|job| (job, (job * 7 + number) % 40)).filter(|(a, b)| a < b).collect();
        let batch = Batch::new(jobs, &precedence).unwrap();
        let found = search(&batch, 0, Some(20));
        assert_eq!(batch.tardiness(&found.order), Ok(found.tardiness), "instance {number}");
        assert!(*least <= found.tardiness && found.tardiness <= found.edf.min(found.atc), "instance {number}");
        better += usize::from(found.kept == Kept::Search);
    }
    assert!(better >= 15, "the search was better than the rules {better} times of 25");
}
