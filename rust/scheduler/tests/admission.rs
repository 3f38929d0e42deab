//! Admission held against execution: sets of tasks are run, in whole numbers and without noise, by earliest deadline first,
//! one job at a time. What was admitted never misses, whenever its jobs come; what was refused misses on the pattern of
//! arrivals that the refusal names.
#![allow(clippy::unwrap_used, missing_docs)]

use chronofabric_scheduler::{Cause, DeadlineQueue, TaskTimes, fits};
use chronofabric_sim::Random;

/// In the numbers of the tests, one unit is a microsecond.
const MS: u64 = 1_000;

/// How many admitted sets are run: all of them in a proof, enough to be worth it otherwise.
fn sets() -> usize {
    if std::env::var_os("CHRONOFABRIC_PROOF").is_some() { 10_000 } else { 300 }
}

/// UUniFast (Bini and Buttazzo, *Measuring the performance of schedulability tests*, 2005): shares of a utilisation, each
/// way of dividing it as likely as any other. Periods are log-uniform from 10 to 100 ms.
fn uunifast(random: &mut Random, count: usize, utilisation: f64) -> Vec<TaskTimes> {
    let mut left = utilisation;
    let uniform = |random: &mut Random| random.below(1 << 52) as f64 / (1_u64 << 52) as f64;
    (0..count)
        .map(|index| {
            let rest =
                if index + 1 == count { 0.0 } else { left * uniform(random).powf(1.0 / (count - index - 1) as f64) };
            let share = left - rest;
            left = rest;
            let period_ns = (10.0 * MS as f64 * 10_f64.powf(uniform(random))) as u64;
            let budget_ns = ((share * period_ns as f64) as u64).max(1);
            TaskTimes { period_ns, deadline_ns: period_ns, budget_ns }
        })
        .collect()
}

/// One job: when it comes, and of which task.
type Arrival = (u64, usize);

/// Runs jobs, earliest deadline first, one at a time; says how many were done too late.
fn run(tasks: &[TaskTimes], arrivals: &[Arrival]) -> usize {
    let (mut queue, mut now, mut missed) = (DeadlineQueue::new(usize::MAX), 0, 0);
    let mut coming = arrivals.iter().peekable();
    loop {
        while let Some((at, task)) = coming.next_if(|(at, _)| *at <= now) {
            queue.push((at + tasks[*task].deadline_ns) as i64, 0, *task).unwrap();
        }
        match (queue.pop(), coming.peek()) {
            (Some((deadline, task)), _) => {
                now += tasks[task].budget_ns;
                missed += usize::from(now as i64 > deadline);
            }
            (None, Some((at, _))) => now = *at,
            (None, None) => return missed,
        }
    }
}

/// Jobs of all tasks from phases of their own, each as soon as it may come or somewhat later.
fn arrivals(random: &mut Random, tasks: &[TaskTimes], until: u64, late: bool) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for (task, times) in tasks.iter().enumerate() {
        let mut at = random.below(times.period_ns);
        while at < until {
            arrivals.push((at, task));
            at += times.period_ns + if late { random.below(times.period_ns / 4) } else { 0 };
        }
    }
    arrivals.sort_unstable();
    arrivals
}

#[test]
fn admitted_sets_never_miss() {
    let mut random = Random::new(20_260_101, "admitted");
    let mut admitted = 0;
    while admitted < sets() {
        let count = 2 + random.below(9) as usize;
        let utilisation = 0.3 + random.below(60) as f64 / 100.0;
        let mut tasks = uunifast(&mut random, count, utilisation);
        if random.below(2) == 0 {
            for task in &mut tasks {
                task.deadline_ns -= random.below(task.period_ns.saturating_sub(task.budget_ns).max(1) / 2 + 1);
            }
        }
        if fits(&tasks, 0).is_err() {
            continue;
        }
        admitted += 1;
        for late in [false, true] {
            let arrivals = arrivals(&mut random, &tasks, 1_000 * MS, late);
            assert_eq!(run(&tasks, &arrivals), 0, "{tasks:?}");
        }
    }
}

#[test]
fn refused_sets_miss_on_the_pattern_that_the_refusal_names() {
    let mut random = Random::new(7, "refused");
    let mut refused = 0;
    while refused < sets() {
        let tasks = uunifast(&mut random, 10, 0.9);
        let Err(misfit) = fits(&tasks, 0) else { continue };
        refused += 1;
        let Cause::Demand { interval_ns, .. } = misfit.cause else { panic!("{misfit}") };
        // The blocking job begins; a moment later everybody comes whose deadline lies within the interval.
        let mut pattern = vec![(0, misfit.task)];
        for (task, times) in tasks.iter().enumerate().filter(|(_, times)| times.deadline_ns <= interval_ns) {
            pattern.extend((0..).map(|k| (1 + k * times.period_ns, task)).take_while(|(at, _)| *at <= interval_ns));
        }
        pattern.sort_unstable();
        assert!(run(&tasks, &pattern) > 0, "{tasks:?}: {misfit}");
    }
}

#[test]
fn sets_that_ask_for_more_than_there_is_miss_when_all_begin_at_once() {
    let mut random = Random::new(11, "too much");
    for _ in 0..100 {
        let tasks = uunifast(&mut random, 5, 1.1);
        let Err(misfit) = fits(&tasks, 0) else { panic!("{tasks:?}") };
        assert_eq!(misfit.cause, Cause::Utilisation);
        let mut pattern: Vec<Arrival> = tasks
            .iter()
            .enumerate()
            .flat_map(|(task, times)| {
                (0..).map(move |k| (k * times.period_ns, task)).take_while(|(at, _)| *at < 3_000 * MS)
            })
            .collect();
        pattern.sort_unstable();
        assert!(run(&tasks, &pattern) > 0, "{tasks:?}");
    }
}
