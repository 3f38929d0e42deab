//! Conditions answer like the definitions, one sample at a time and by columns.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod generate;

use chronofabric_logic::{Column, Condition, Formula, TemporalOperator, Verdict, naive};
use proptest::collection::vec;
use proptest::prelude::*;

/// A value, sometimes one that is missing.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![9 => generate::value(), 1 => Just(f64::NAN)]
}

/// What the reference evaluator says of one sample; nothing where it refuses it.
fn expected(formula: &Formula, values: &[f64]) -> Option<bool> {
    let verdicts = naive::verdicts(formula, &[(0, values)]).ok()?;
    match verdicts[..] {
        [Verdict::Known { satisfied, .. }] => Some(satisfied),
        _ => panic!("a formula of the present has a verdict at once"),
    }
}

/// A column that lies there, or one that is written anew.
struct Values(Vec<f64>, bool);

impl Column for Values {
    fn read<'a>(&'a self, first: usize, room: &'a mut [f64]) -> &'a [f64] {
        let values = &self.0[first..first + room.len()];
        if self.1 {
            return values;
        }
        room.copy_from_slice(values);
        room
    }
}

fn place(signal: &str) -> usize {
    generate::SIGNALS.iter().position(|name| *name == signal).unwrap()
}

proptest! {
    #![proptest_config(generate::cases(2_000))]

    #[test]
    fn condition_and_reference_evaluator_agree(
        text in generate::condition(),
        samples in vec((value(), value(), value()), 1..20),
    ) {
        let formula = Formula::parse(&text).unwrap();
        let condition = Condition::new(&formula).unwrap();
        for (x, y, z) in samples {
            let values: Vec<f64> = formula.signals().iter().map(|signal| [x, y, z][place(signal)]).collect();
            prop_assert_eq!(condition.holds(&values), expected(&formula, &values), "'{}' at {:?}", formula, values);
        }
    }
}

proptest! {
    #![proptest_config(generate::cases(300))]

    #[test]
    fn columns_are_judged_as_their_rows(
        text in generate::condition(),
        handful in vec((value(), value(), value()), 1..40),
        rows in prop_oneof![0..70_usize, 1000..1100_usize, 2040..2060_usize],
        there in any::<[bool; 3]>(),
    ) {
        let formula = Formula::parse(&text).unwrap();
        let condition = Condition::new(&formula).unwrap();
        // A few samples over and over, in another order at each turn.
        let row = |number: usize| handful[(number * 7 + number / handful.len()) % handful.len()];
        let columns = [
            Values((0..rows).map(|number| row(number).0).collect(), there[0]),
            Values((0..rows).map(|number| row(number).1).collect(), there[1]),
            Values((0..rows).map(|number| row(number).2).collect(), there[2]),
        ];
        let read: Vec<&dyn Column> =
            formula.signals().iter().map(|signal| &columns[place(signal)] as &dyn Column).collect();
        let found = condition.rows(&read, rows);
        let mut matching = 0;
        for number in 0..rows {
            let values: Vec<f64> =
                formula.signals().iter().map(|signal| columns[place(signal)].0[number]).collect();
            let holds = condition.holds(&values) == Some(true);
            matching += usize::from(holds);
            prop_assert_eq!(found.holds_at(number), holds, "row {} of '{}'", number, formula);
        }
        prop_assert_eq!((found.rows(), found.matching()), (rows, matching));
        let words = found.into_words();
        prop_assert_eq!(words.len(), rows.div_ceil(64));
        prop_assert_eq!(words.iter().map(|word| word.count_ones() as usize).sum::<usize>(), matching);
    }
}

#[test]
fn a_formula_that_looks_into_the_past_is_no_condition() {
    for (text, operator) in [
        ("x > 1 and once[0, 5 s](y > 2)", "once"),
        ("historically(x > 1)", "historically"),
        ("x > 1 since[0, 1] y > 2", "since"),
    ] {
        let refused = Condition::new(&Formula::parse(text).unwrap()).unwrap_err();
        assert_eq!(refused, TemporalOperator { operator });
        assert!(refused.to_string().contains(operator));
    }
}

#[test]
fn a_sample_of_another_number_of_values_has_no_answer() {
    let condition = Condition::new(&Formula::parse("x > 1 or y > 1").unwrap()).unwrap();
    assert_eq!(condition.holds(&[2.0]), None);
    assert_eq!(condition.holds(&[2.0, 0.0]), Some(true));
}

#[test]
fn a_condition_of_many_registers_is_evaluated_too() {
    let deep = (0..40).rev().fold("x > 40".to_owned(), |inner, bound| format!("x > {bound} and ({inner})"));
    let condition = Condition::new(&Formula::parse(&deep).unwrap()).unwrap();
    assert_eq!((condition.holds(&[41.0]), condition.holds(&[40.0])), (Some(true), Some(false)));
}
