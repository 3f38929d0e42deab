//! The cost of a sample: monitors beside what one would write by hand.
//!
//! Each group gives its monitor a trace in which the windows span 100 or 1 000 samples. The peer of a window is the
//! plain monotone queue over timestamps and floats, written for this one formula; the peer of `since` is the
//! aggregation of its maps with two stacks.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::hint::black_box;

use chronofabric_logic::{Formula, Monitor, MonitorOptions, naive};
use criterion::{BenchmarkId, Criterion, Throughput};

const PERIOD_NS: i64 = 1_000_000;
const SAMPLES: usize = 100_000;

/// Three signals: a sawtooth with noise, a slow wave with noise, and rare pulses.
fn trace() -> Vec<(i64, [f64; 3])> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..SAMPLES)
        .map(|i| {
            let saw = (i % 250) as f64 / 2.5 + noise();
            let wave = 50.0 + 40.0 * (i as f64 / 900.0).sin() + 10.0 * noise();
            let pulse = f64::from(u8::from(noise() < 0.01));
            (i as i64 * PERIOD_NS, [saw, wave, pulse])
        })
        .collect()
}

/// The largest `value - threshold` of the last `length_ns`, by hand.
struct MonotoneQueue {
    length_ns: i64,
    queue: VecDeque<(i64, f64)>,
}

impl MonotoneQueue {
    fn push(&mut self, time_ns: i64, margin: f64) -> f64 {
        while self.queue.front().is_some_and(|(oldest_ns, _)| time_ns - oldest_ns > self.length_ns) {
            self.queue.pop_front();
        }
        while self.queue.back().is_some_and(|(_, candidate)| *candidate <= margin) {
            self.queue.pop_back();
        }
        self.queue.push_back((time_ns, margin));
        self.queue[0].1
    }
}

/// The map `v -> max(min(v, left), right)` of a run of samples.
#[derive(Clone, Copy)]
struct Map {
    left: f64,
    right: f64,
}

impl Map {
    const IDENTITY: Self = Self { left: f64::INFINITY, right: f64::NEG_INFINITY };

    fn then(self, newer: Self) -> Self {
        Self { left: self.left.min(newer.left), right: self.right.min(newer.left).max(newer.right) }
    }
}

/// `since[0, length_ns]` by two stacks: `front` holds suffix aggregates of the older samples, `back` the newer ones.
struct TwoStacks {
    length_ns: i64,
    front: Vec<(i64, Map)>,
    back: Vec<(i64, Map)>,
    back_total: Map,
}

impl TwoStacks {
    fn push(&mut self, time_ns: i64, left: f64, right: f64) -> f64 {
        let map = Map { left, right };
        self.back.push((time_ns, map));
        self.back_total = self.back_total.then(map);
        loop {
            if self.front.is_empty() {
                let mut total = Map::IDENTITY;
                while let Some((newest_ns, map)) = self.back.pop() {
                    total = map.then(total);
                    self.front.push((newest_ns, total));
                }
                self.back_total = Map::IDENTITY;
            }
            match self.front.last() {
                Some((oldest_ns, _)) if time_ns - oldest_ns > self.length_ns => self.front.pop(),
                _ => break,
            };
        }
        let older = self.front.last().map_or(Map::IDENTITY, |(_, map)| *map);
        older.then(self.back_total).right
    }
}

fn monitored(criterion: &mut Criterion, group: &str, text: &str, peer: &mut dyn FnMut(i64, &[f64; 3]) -> f64) {
    let trace = trace();
    let formula = Formula::parse(text).unwrap();
    let columns: Vec<usize> = formula
        .signals()
        .iter()
        .map(|signal| ["saw", "wave", "pulse"].iter().position(|name| name == signal).unwrap())
        .collect();
    let rows: Vec<(i64, Vec<f64>)> =
        trace.iter().map(|(time, values)| (*time, columns.iter().map(|column| values[*column]).collect())).collect();
    agree(text, &formula, &rows, &trace, peer);

    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(SAMPLES as u64)).sample_size(20);
    group.bench_function(BenchmarkId::new("monitor", text), |bencher| {
        let mut monitor = Monitor::new(&formula, MonitorOptions::default());
        let mut offset_ns = 0;
        bencher.iter(|| {
            for (time_ns, values) in &rows {
                black_box(monitor.update(time_ns + offset_ns, values).unwrap());
            }
            offset_ns += SAMPLES as i64 * PERIOD_NS;
        });
    });
    let mut offset_ns = SAMPLES as i64 * PERIOD_NS;
    group.bench_function(BenchmarkId::new("by hand", text), |bencher| {
        bencher.iter(|| {
            for (time_ns, values) in &trace {
                black_box(peer(time_ns + offset_ns, values));
            }
            offset_ns += SAMPLES as i64 * PERIOD_NS;
        });
    });
    group.finish();
}

/// The peer answers the same question, or the comparison means nothing.
fn agree(
    text: &str,
    formula: &Formula,
    rows: &[(i64, Vec<f64>)],
    trace: &[(i64, [f64; 3])],
    peer: &mut dyn FnMut(i64, &[f64; 3]) -> f64,
) {
    let checked = 3_000;
    let verdicts = naive::verdicts(formula, &rows[..checked]).unwrap();
    for ((time_ns, values), verdict) in trace.iter().zip(verdicts) {
        let by_hand = peer(*time_ns, values);
        if let Some(robustness) = verdict.robustness() {
            assert_eq!(robustness, by_hand, "{text} at {time_ns} ns");
        }
    }
    for (time_ns, values) in &trace[checked..] {
        peer(*time_ns, values);
    }
}

fn queue(samples: i64) -> MonotoneQueue {
    MonotoneQueue { length_ns: (samples - 1) * PERIOD_NS, queue: VecDeque::new() }
}

fn stacks(samples: i64) -> TwoStacks {
    let length_ns = (samples - 1) * PERIOD_NS;
    TwoStacks { length_ns, front: Vec::new(), back: Vec::new(), back_total: Map::IDENTITY }
}

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("figures of a debug build mean nothing: run `cargo bench`");
        std::process::exit(2);
    }
    let mut criterion = Criterion::default().configure_from_args();
    for samples in [100, 1_000] {
        let end = format!("{} ms", samples - 1);

        let mut maximum = queue(samples);
        monitored(&mut criterion, "one window", &format!("once[0, {end}](saw > 80)"), &mut |time_ns, values| {
            maximum.push(time_ns, values[0] - 80.0)
        });

        let (mut first, mut second, mut third) = (queue(samples), queue(samples), queue(samples));
        let text = format!(
            "historically[0, {end}](saw > 5) or once[0, {end}](wave > 90) and historically[0, {end}](pulse < 1)"
        );
        monitored(&mut criterion, "three windows", &text, &mut |time_ns, values| {
            let saw = -first.push(time_ns, 5.0 - values[0]);
            let wave = second.push(time_ns, values[1] - 90.0);
            let pulse = -third.push(time_ns, values[2] - 1.0);
            saw.max(wave.min(pulse))
        });

        let mut since = stacks(samples);
        let text = format!("wave > 30 since[0, {end}] saw > 80");
        monitored(&mut criterion, "since", &text, &mut |time_ns, values| {
            since.push(time_ns, values[1] - 30.0, values[0] - 80.0)
        });
    }
    criterion.final_summary();
}
