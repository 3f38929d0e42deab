//! Any text is a formula or is refused at a place within it; a formula reads back from its canonical text, and a
//! monitor of it answers like the reference evaluator.
//!
//! An input is a text, a zero byte (which no formula contains) and bytes that choose the samples of a trace.

#![no_main]

use chronofabric_logic::{Formula, Monitor, MonitorOptions, Verdict, naive};
use libfuzzer_sys::fuzz_target;

/// The stack that a parser may use: a formula may arrive in a thread that has little.
const STACK_BYTES: u64 = 512 << 10;
/// The reference evaluator's cost grows with the square of these, for each operator.
const SAMPLES_MAX: usize = 24;
/// Margins must meet, zeros of both signs and infinities included, so values are few.
const VALUES: [f64; 16] = [
    0.0,
    1.0,
    2.0,
    3.0,
    80.0,
    -1.0,
    -2.0,
    -3.0,
    -0.0,
    0.5,
    2.5,
    1e308,
    5e-324,
    f64::MAX,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

fuzz_target!(init: bound_the_stack(), |input: &[u8]| {
    let (text, choices) = match input.iter().position(|byte| *byte == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let text = String::from_utf8_lossy(text);
    match Formula::parse(&text) {
        Ok(formula) => {
            assert_reads_back(&formula);
            assert_monitored_as_defined(&formula, choices);
        }
        Err(error) => {
            assert!(error.start <= error.end && text.starts_with(&error.text), "{error:?}");
            assert!(error.text.get(error.start..error.end).is_some(), "{error:?}");
            assert!(error.character_range().end <= text.chars().count());
            assert_eq!(error.to_string().split('\n').count(), 3);
        }
    }
});

fn assert_reads_back(formula: &Formula) {
    let canonical = formula.to_string();
    match Formula::parse(&canonical) {
        Ok(again) => {
            assert_eq!(&again, formula, "{canonical}");
            assert_eq!(again.to_string(), canonical);
        }
        Err(error) => panic!("the canonical text is refused: {error}"),
    }
}

/// Samples that a monitor refuses change nothing, so the reference evaluator is given the others.
fn assert_monitored_as_defined(formula: &Formula, choices: &[u8]) {
    let mut monitor = Monitor::new(formula, MonitorOptions::default());
    let (mut verdicts, mut accepted) = (Vec::new(), Vec::new());
    for (time_ns, values) in trace(formula, choices) {
        if let Ok(verdict) = monitor.update(time_ns, &values) {
            verdicts.push(bits(verdict));
            accepted.push((time_ns, values));
        }
    }
    let expected = naive::verdicts(formula, &accepted).expect("a monitor took these samples");
    assert_eq!(verdicts, expected.into_iter().map(bits).collect::<Vec<_>>(), "'{formula}' over {accepted:?}");
}

/// Each sample takes one byte for the time since the one before, and one for each signal.
fn trace(formula: &Formula, choices: &[u8]) -> Vec<(i64, Vec<f64>)> {
    let horizon_ns = formula.horizon_ns();
    let steps_ns = [0, 1, 2, 500_000_000, 1_000_000_000, horizon_ns / 3, horizon_ns, horizon_ns.saturating_add(1)];
    let mut choices = choices.iter().copied().chain(0..=u8::MAX);
    let mut next = |bound: usize| usize::from(choices.next().unwrap_or_default()) % bound;
    let mut time_ns = [0, i64::MIN, -1][next(3)];
    let samples = 1 + next(SAMPLES_MAX);
    let mut sample = || {
        time_ns = time_ns.saturating_add(steps_ns[next(steps_ns.len())]);
        (time_ns, formula.signals().iter().map(|_| VALUES[next(VALUES.len())]).collect())
    };
    (0..samples).map(|_| sample()).collect()
}

/// A verdict with its zero's sign and without a tolerance.
fn bits(verdict: Verdict) -> Option<(u64, bool)> {
    verdict.robustness().map(f64::to_bits).zip(verdict.satisfied())
}

/// The main thread's stack grows on use, up to the limit of the moment.
fn bound_the_stack() {
    #[cfg(unix)]
    {
        let limit = libc::rlimit { rlim_cur: STACK_BYTES, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the limit is a valid one, and the call keeps no reference to it.
        unsafe { libc::setrlimit(libc::RLIMIT_STACK, &limit) };
    }
}
