//! Every operator against values computed by hand.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_logic::{Formula, Monitor, MonitorError, MonitorOptions, Verdict};

const S: i64 = 1_000_000_000;

fn monitor(text: &str) -> Monitor {
    Monitor::new(&Formula::parse(text).unwrap(), MonitorOptions::default())
}

/// Robustness at every sample of a trace in seconds; `None` while unknown.
fn robustness<const N: usize>(text: &str, trace: &[(i64, [f64; N])]) -> Vec<Option<f64>> {
    let mut monitor = monitor(text);
    trace.iter().map(|(seconds, values)| monitor.update(seconds * S, values).unwrap().robustness()).collect()
}

/// The verdict of a formula over one sample.
fn at_once(text: &str, values: &[f64]) -> Verdict {
    monitor(text).update(0, values).unwrap()
}

fn known(robustness: f64) -> Verdict {
    Verdict::Known { robustness, satisfied: robustness.is_sign_positive() }
}

fn assert_zero(verdict: Verdict, satisfied: bool) {
    let Verdict::Known { robustness, satisfied: found } = verdict else { panic!("unknown") };
    assert_eq!(robustness, 0.0);
    assert_eq!((found, robustness.is_sign_positive()), (satisfied, satisfied));
}

#[test]
fn a_comparison_is_its_signed_margin() {
    assert_eq!(at_once("x > 3", &[5.0]), known(2.0));
    assert_eq!(at_once("x >= 3", &[1.0]), known(-2.0));
    assert_eq!(at_once("x < 3", &[5.0]), known(-2.0));
    assert_eq!(at_once("x <= 3", &[1.0]), known(2.0));
    assert_eq!(at_once("x == 3", &[5.0]), known(-2.0));
    assert_eq!(at_once("x != 3", &[5.0]), known(2.0));
}

#[test]
fn truth_is_exact_at_margin_zero() {
    for (text, satisfied) in
        [("x > 3", false), ("x >= 3", true), ("x < 3", false), ("x <= 3", true), ("x == 3", true), ("x != 3", false)]
    {
        assert_zero(at_once(text, &[3.0]), satisfied);
        assert_zero(at_once(&format!("not ({text})"), &[3.0]), !satisfied);
        assert_zero(at_once(&format!("once[0, 0]({text})"), &[3.0]), satisfied);
        assert_zero(at_once(&format!("historically[0, 0]({text})"), &[3.0]), satisfied);
        assert_zero(at_once(&format!("true since[0, 0] {text}"), &[3.0]), satisfied);
    }
    assert_zero(at_once("x > 3 and x >= 3", &[3.0]), false);
    assert_zero(at_once("x > 3 or x >= 3", &[3.0]), true);
    assert_zero(at_once("x >= 3 implies x > 3", &[3.0]), false);
    assert_zero(at_once("x > 3 implies x > 3", &[3.0]), true);
}

#[test]
fn zeros_of_both_signs_are_equal_numbers() {
    assert_zero(at_once("x == y", &[0.0, -0.0]), true);
    assert_zero(at_once("x < y", &[-0.0, 0.0]), false);
}

#[test]
fn infinities_compare_as_values() {
    assert_zero(at_once("x >= y", &[f64::INFINITY, f64::INFINITY]), true);
    assert_zero(at_once("x > y", &[f64::INFINITY, f64::INFINITY]), false);
    assert_eq!(at_once("x > y", &[f64::INFINITY, f64::NEG_INFINITY]), known(f64::INFINITY));
}

#[test]
fn arithmetic_groups_as_in_school() {
    assert_eq!(at_once("1 + 2 * x - 8 / 4 / 2 > 0", &[3.0]), known(6.0));
    assert_eq!(at_once("-x * 2 - -1 > 0", &[3.0]), known(-5.0));
    assert_eq!(at_once("abs(x - 7) + min(x, 2) * max(x, 4) > 0", &[3.0]), known(12.0));
    assert_eq!(at_once("(1 + 2) * x > 0", &[3.0]), known(9.0));
}

#[test]
fn connectives_take_minima_and_maxima() {
    assert_eq!(at_once("x > 3 and y > 3", &[5.0, 4.0]), known(1.0));
    assert_eq!(at_once("x > 3 or y > 3", &[5.0, 4.0]), known(2.0));
    assert_eq!(at_once("x > 3 implies y > 3", &[5.0, 1.0]), known(-2.0));
    assert_eq!(at_once("x > 3 -> y > 3", &[2.0, 1.0]), known(1.0));
    assert_eq!(at_once("true", &[]), known(f64::INFINITY));
    assert_eq!(at_once("not true", &[]), known(f64::NEG_INFINITY));
}

#[test]
fn implication_groups_to_the_right() {
    // false -> (true -> false) holds; (false -> true) -> false does not.
    assert_eq!(at_once("false implies true implies false", &[]).satisfied(), Some(true));
}

#[test]
fn once_is_the_window_maximum_and_unknown_until_covered() {
    let trace = [(0, [5.0]), (1, [1.0]), (2, [2.0]), (3, [0.0]), (6, [-1.0])];
    assert_eq!(robustness("once[0, 2 s](x > 0)", &trace), [None, None, Some(5.0), Some(2.0), Some(-1.0)]);
}

#[test]
fn historically_is_the_window_minimum_and_unknown_until_covered() {
    let trace = [(0, [5.0]), (1, [1.0]), (2, [2.0]), (3, [9.0]), (6, [7.0])];
    assert_eq!(robustness("historically[0, 2 s](x > 0)", &trace), [None, None, Some(1.0), Some(1.0), Some(7.0)]);
}

#[test]
fn a_covered_window_without_samples_is_empty() {
    let trace = [(0, [5.0]), (10, [1.0])];
    assert_eq!(robustness("once[1 s, 2 s](x > 0)", &trace), [None, Some(f64::NEG_INFINITY)]);
    assert_eq!(robustness("historically[1 s, 2 s](x > 0)", &trace), [None, Some(f64::INFINITY)]);
    assert_eq!(robustness("true since[1 s, 2 s] x > 0", &trace), [None, Some(f64::NEG_INFINITY)]);
}

#[test]
fn a_delayed_window_is_closed_at_both_ends() {
    let trace = [(0, [5.0]), (1, [1.0]), (2, [2.0]), (3, [9.0]), (4, [7.0])];
    assert_eq!(robustness("once[1 s, 3 s](x > 0)", &trace), [None, None, None, Some(5.0), Some(9.0)]);
    assert_eq!(robustness("historically[1 s, 3 s](x > 0)", &trace), [None, None, None, Some(1.0), Some(1.0)]);
}

#[test]
fn since_reads_left_after_the_sample_of_right() {
    // The mirror image of `x until[0, 1] y` with x = (5, -1, 7) and y = (-2, 5, -9), which is 5 in sampled time.
    let trace = [(0, [7.0, -9.0]), (1, [-1.0, 5.0]), (2, [5.0, -2.0])];
    assert_eq!(robustness("x > 0 since[0, 1 s] y > 0", &trace), [None, Some(5.0), Some(5.0)]);
}

#[test]
fn since_without_an_interval_looks_back_over_the_whole_trace() {
    let trace = [(0, [0.0, 4.0]), (1, [9.0, -5.0]), (2, [3.0, -5.0]), (3, [9.0, -5.0]), (4, [-8.0, -5.0])];
    let expected = [4.0, 4.0, 3.0, 3.0, -5.0].map(Some);
    assert_eq!(robustness("x > 0 since y > 0", &trace), expected);
}

#[test]
fn windows_without_an_interval_look_back_over_the_whole_trace() {
    let trace = [(0, [1.0]), (1, [5.0]), (2, [-3.0])];
    assert_eq!(robustness("once(x > 0)", &trace), [1.0, 5.0, 5.0].map(Some));
    assert_eq!(robustness("historically(x > 0)", &trace), [1.0, 1.0, -3.0].map(Some));
}

#[test]
fn a_window_without_an_interval_begins_where_its_operand_is_known() {
    // once[0, 1 s] is unknown at 0; its clipped value there, -4, is no part of the minimum.
    let trace = [(0, [-4.0]), (1, [2.0]), (2, [1.0])];
    assert_eq!(robustness("historically(once[0, 1 s](x > 0))", &trace), [None, Some(2.0), Some(2.0)]);
}

#[test]
fn horizons_of_nested_windows_add_up() {
    let formula = Formula::parse("once[0, 2 s](historically[1 s, 3 s](x > 0)) or once[0, 4 s](x > 0)").unwrap();
    assert_eq!(formula.horizon_ns(), 5 * S);
    let trace: Vec<_> = (0..8).map(|second| (second, [second as f64])).collect();
    let known = robustness(&formula.to_string(), &trace).iter().filter(|robustness| robustness.is_some()).count();
    assert_eq!(known, 3);
}

#[test]
fn samples_of_one_instant_apply_in_order() {
    let trace = [(0, [5.0]), (0, [1.0]), (1, [2.0]), (1, [7.0]), (2, [3.0])];
    let once = robustness("once[0, 0](x > 0)", &trace);
    assert_eq!(once, [5.0, 5.0, 2.0, 7.0, 3.0].map(Some));
    // The second sample of the first instant already lowers what the first one contributed.
    let trace = [(0, [9.0, 8.0]), (0, [3.0, -1.0]), (1, [9.0, -1.0])];
    assert_eq!(robustness("x > 0 since y > 0", &trace), [8.0, 3.0, 3.0].map(Some));
}

#[test]
fn a_sample_out_of_order_is_refused_and_changes_nothing() {
    let mut monitor = monitor("once[0, 5 s](x > 0)");
    monitor.update(10 * S, &[1.0]).unwrap();
    let error = monitor.update(9 * S, &[99.0]).unwrap_err();
    assert_eq!(error, MonitorError::TimeWentBack { time_ns: 9 * S, newest_ns: 10 * S });
    assert!(error.to_string().contains("9000000000 ns is older than the newest at 10000000000 ns"));
    assert_eq!(monitor.update(15 * S, &[0.5]).unwrap(), known(1.0));
}

#[test]
fn a_nan_is_refused_by_the_name_of_its_signal() {
    let mut monitor = monitor("plant.x > 0 and y > 0");
    let error = monitor.update(0, &[1.0, f64::NAN]).unwrap_err();
    assert_eq!(error, MonitorError::NotANumber { signal: "y".into() });
    assert_eq!(monitor.update(-5, &[1.0, 2.0]).unwrap(), known(1.0));
}

#[test]
fn arithmetic_without_a_value_is_refused_by_the_name_of_its_comparison() {
    for (text, values) in [
        ("x / y > 1", [1.0, 0.0]),
        ("min(1, x / y) > 1", [0.0, -0.0]),
        ("max(x - y, 1) > 1", [f64::INFINITY, f64::INFINITY]),
        ("x * y <= 1", [f64::INFINITY, 0.0]),
    ] {
        let mut monitor = monitor(&format!("once[0, 1 s](true) and once[0, 1 s]({text})"));
        let error = monitor.update(0, &values).unwrap_err();
        assert_eq!(error, MonitorError::Undefined { comparison: text.into() });
        assert_eq!(monitor.memory_samples(), 0);
    }
}

#[test]
fn a_sample_with_too_few_or_too_many_values_is_refused() {
    let mut monitor = monitor("x > 0");
    assert_eq!(monitor.update(0, &[]), Err(MonitorError::WrongNumberOfValues { expected: 1, given: 0 }));
    assert_eq!(monitor.update(0, &[1.0, 2.0]), Err(MonitorError::WrongNumberOfValues { expected: 1, given: 2 }));
}

#[test]
fn a_full_operator_refuses_samples_until_its_window_moves_on() {
    for operator in
        ["once[0, 10 s](x < 0)", "historically[0, 10 s](x > 0)", "once[20 s, 30 s](x > 0)", "true since[0, 10 s] x < 0"]
    {
        let formula = Formula::parse(&format!("once[0, 1 s](x > 5) or {operator}")).unwrap();
        let mut monitor = Monitor::new(&formula, MonitorOptions { max_samples: 4 });
        for second in 0..4 {
            monitor.update(second * S, &[second as f64]).unwrap();
        }
        let held = monitor.memory_samples();
        let error = monitor.update(4 * S, &[9.0]).unwrap_err();
        let canonical = Formula::parse(operator).unwrap().to_string();
        assert_eq!(error, MonitorError::TooManySamples { operator: canonical, limit: 4 });
        assert!(error.to_string().contains("raise max_samples"), "{error}");
        assert_eq!(monitor.memory_samples(), held);
        monitor.update(31 * S, &[9.0]).unwrap();
        assert!(monitor.memory_samples() <= 8);
    }
}

#[test]
fn reset_forgets_the_trace() {
    let mut monitor = monitor("once[0, 1 s](x > 0)");
    monitor.update(5 * S, &[8.0]).unwrap();
    monitor.reset();
    assert_eq!(monitor.update(0, &[1.0]).unwrap(), Verdict::Unknown);
    assert_eq!(monitor.update(S, &[2.0]).unwrap(), known(2.0));
}
