//! Monitors answer like the definitions, bit for bit.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod generate;

use chronofabric_logic::{Formula, Monitor, MonitorError, MonitorOptions, Verdict, naive};
use proptest::prelude::*;

/// The values of a formula's signals, in its order.
fn row(formula: &Formula, values: &[f64; 3]) -> Vec<f64> {
    let place = |signal: &String| generate::SIGNALS.iter().position(|name| name == signal).unwrap();
    formula.signals().iter().map(|signal| values[place(signal)]).collect()
}

/// A verdict with its zero's sign and without a tolerance.
fn bits(verdict: &Verdict) -> Option<(u64, bool)> {
    match verdict {
        Verdict::Unknown => None,
        Verdict::Known { robustness, satisfied } => Some((robustness.to_bits(), *satisfied)),
    }
}

/// Runs a monitor over a trace: its verdicts, and the samples it accepted.
fn monitored(monitor: &mut Monitor, trace: &[(i64, Vec<f64>)]) -> (Vec<Verdict>, Vec<(i64, Vec<f64>)>) {
    trace
        .iter()
        .filter_map(|(time_ns, values)| {
            let verdict = monitor.update(*time_ns, values).ok()?;
            Some((verdict, (*time_ns, values.clone())))
        })
        .unzip()
}

proptest! {
    #![proptest_config(generate::cases(2_000))]

    #[test]
    fn monitor_and_reference_evaluator_agree_bit_for_bit(
        text in generate::formula(),
        trace in generate::trace(80),
    ) {
        let formula = Formula::parse(&text).unwrap();
        let trace: Vec<_> = trace.iter().map(|(time_ns, values)| (*time_ns, row(&formula, values))).collect();
        let mut monitor = Monitor::new(&formula, MonitorOptions::default());

        // Samples at which arithmetic has no value are refused; the reference evaluator never sees them.
        let (verdicts, accepted) = monitored(&mut monitor, &trace);
        let expected = naive::verdicts(&formula, &accepted).unwrap();
        for (i, (verdict, expected)) in verdicts.iter().zip(&expected).enumerate() {
            prop_assert_eq!(bits(verdict), bits(expected), "sample {} of '{}'", i, formula);
        }
        for verdict in &verdicts {
            if let Verdict::Known { robustness, satisfied } = verdict {
                prop_assert!(!robustness.is_nan());
                prop_assert_eq!(*satisfied, robustness.is_sign_positive());
            }
        }
        prop_assert_eq!(accepted.len() == trace.len(), naive::verdicts(&formula, &trace).is_ok());

        // A monitor that has been reset is a new one.
        monitor.reset();
        prop_assert_eq!(monitor.memory_samples(), 0);
        let (again, _) = monitored(&mut monitor, &trace);
        prop_assert!(verdicts.iter().map(bits).eq(again.iter().map(bits)));
    }

    #[test]
    fn refused_samples_change_nothing(
        text in generate::formula(),
        trace in generate::trace(60),
        faults in proptest::collection::vec(0..6_u8, 60),
        max_samples in 1..8_usize,
    ) {
        let formula = Formula::parse(&text).unwrap();
        let mut monitor = Monitor::new(&formula, MonitorOptions { max_samples });
        let mut undisturbed = monitor.clone();
        let mut newest_ns = None;
        for ((time_ns, values), fault) in trace.iter().zip(faults) {
            let values = row(&formula, values);
            // The same monitor with refused samples in between, and without them.
            let refused = match fault {
                0 => monitor.update(*time_ns, &[&values[..], &[0.0]].concat()),
                1 if !values.is_empty() => monitor.update(*time_ns, &vec![f64::NAN; values.len()]),
                2 if newest_ns > Some(i64::MIN) => monitor.update(newest_ns.unwrap() - 1, &values),
                _ => Err(MonitorError::WrongNumberOfValues { expected: 0, given: 0 }),
            };
            prop_assert!(refused.is_err());
            let expected = undisturbed.clone().update(*time_ns, &values);
            let verdict = monitor.update(*time_ns, &values);
            prop_assert_eq!(&verdict, &expected);
            if verdict.is_ok() {
                undisturbed.update(*time_ns, &values).unwrap();
                newest_ns = Some(*time_ns);
            }
            prop_assert_eq!(monitor.memory_samples(), undisturbed.memory_samples());
            let operators = text.matches("once").count() + text.matches("hist").count() + text.matches("since").count();
            prop_assert!(monitor.memory_samples() <= max_samples * operators);
        }
    }
}
