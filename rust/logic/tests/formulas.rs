//! Formula text: what it means, what is refused and how, and that nothing makes the parser panic.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod generate;

use chronofabric_logic::{DEPTH_MAX, Formula, Monitor, MonitorOptions, NODES_MAX, TEXT_BYTES_MAX, naive};
use proptest::prelude::*;

/// The place, the message and the way out of a refused text.
fn refused(text: &str) -> (String, String, String) {
    let error = Formula::parse(text).expect_err(text);
    (text[error.start..error.end].to_owned(), error.message, error.suggestion.unwrap_or_default())
}

#[test]
fn two_spellings_of_one_formula_are_equal() {
    for (left, right) in [
        ("historically[0, 2 s](value > 80)", "historically [ 0 , 2000ms ] value > 80"),
        ("not x > 1 and y > 2", "(not (x > 1)) and (y > 2)"),
        ("once[0, 1] x > 1 or y > 2", "(once[0, 1 s](x > 1)) or y > 2"),
        ("x > 1 or y > 2 and z > 3", "x > 1 or (y > 2 and z > 3)"),
        ("x > 1 and y > 2 since[0, 1 min] z > 3", "x > 1 and (y > 2 since[0, 60 s] z > 3)"),
        ("not x > 1 since y > 2", "(not (x > 1)) since (y > 2)"),
        ("x > 1 or y > 2 -> z > 3 implies true", "(x > 1 or y > 2) implies (z > 3 implies true)"),
        ("-x * 2 + 1 > y", "(((-x) * 2) + 1) > y"),
        ("once\n\t(x > 1)", "once x > 1"),
    ] {
        assert_eq!(Formula::parse(left).unwrap(), Formula::parse(right).unwrap(), "{left}");
    }
}

#[test]
fn signals_are_named_once_in_the_order_of_their_appearance() {
    let formula = Formula::parse("b.c > a and max(a, _d9) < b.c and min > max and not.x == 1").unwrap();
    assert_eq!(formula.signals(), ["b.c", "a", "_d9", "min", "max", "not.x"]);
}

#[test]
fn future_operators_are_refused_by_name() {
    for word in ["always", "eventually", "until", "next", "weak_next"] {
        for text in [format!("{word}[0, 1 s](x > 0)"), format!("(x > 0 {word}[0, 1] y > 0)"), word.to_owned()] {
            let (place, message, advice) = refused(&text);
            assert_eq!(place, word);
            assert_eq!(message, format!("future operator '{word}' is not in this version"));
            assert_eq!(advice, "the past forms are once, historically, since");
        }
    }
}

#[test]
fn a_mistake_is_answered_with_its_place_and_the_way_out() {
    for (text, place, message, advice) in [
        ("histrically[0, 2 s](x > 1)", "histrically", "unknown operator 'histrically'", "did you mean 'historically'?"),
        ("ONCE(x > 1)", "ONCE", "unknown operator 'ONCE'", "did you mean 'once'?"),
        ("sqrt(x) > 1", "sqrt", "unknown operator 'sqrt'", "the operators are"),
        ("x > 1 AND y > 2", "AND", "found 'AND' where an operator is expected", "did you mean 'and'?"),
        ("(x > 1 y > 2)", "y", "found 'y' where an operator is expected", "join conditions with"),
        ("x = 1", "=", "'=' is not part of a formula", "write '=='"),
        ("0 < x < 10", "<", "comparisons do not chain", "'0 < x and x < 10'"),
        ("true since true since true", "since", "'since' does not chain", "group with parentheses"),
        ("x and y > 1", "x", "the left of 'and' is a number, not a condition", "'x > 0'"),
        ("once[0, 1] x", "x", "what 'once' looks back at is a number, not a condition", "'x > 0'"),
        ("x + 1", "x + 1", "the formula is a number, not a condition", "'x + 1 > 0'"),
        ("(x > 1) + 1 > 0", "(x > 1)", "the left of '+' is a condition, not a number", "compare numbers"),
        ("-true > 0", "true", "what '-' negates is a condition, not a number", "compare numbers"),
        ("(x > 1", "(", "'(' is never closed", "write ')'"),
        ("x > 1)", ")", "')' closes nothing", "leave it out"),
        ("x >", "", "the formula ends where a condition or a number is expected", ""),
        ("", "", "the formula ends where a condition or a number is expected", ""),
        ("x > * 2", "*", "found '*' where a condition or a number is expected", ""),
        ("and x > 1", "and", "'and' has nothing on its left", "between two conditions"),
        ("abs(x, y) > 1", ",", "'abs' takes one number", "abs(a)"),
        ("min(x) > 1", ")", "'min' takes two numbers", "min(a, b)"),
        ("max(x, y, z) > 1", ",", "'max' takes two numbers", "max(a, max(b, c))"),
        ("once[0, 2 sec](x > 1)", "sec", "unknown unit 'sec'", "did you mean 's'?"),
        ("once[0, 2 parsec](x > 1)", "parsec", "unknown unit 'parsec'", "the units are ns, us, ms, s, min and h"),
        ("once[2 s](x > 1)", "]", "an interval has two bounds with a comma between them", "write '[0, 2 s]'"),
        ("once[2 s, 1 s](x > 1)", "[2 s, 1 s]", "the interval ends before it starts", "swap its bounds"),
        ("once[-1, 1 s](x > 1)", "-", "an interval bound is never negative", "bounds are ages"),
        ("once[0, inf](x > 1)", "inf", "an interval is bounded in this version", "leave the interval out"),
        ("once[0, 0.5 ns](x > 1)", "0.5 ns", "an interval bound is a whole number of nanoseconds", ""),
        ("once[0, 1e30 h](x > 1)", "1e30 h", "an interval reaches back 292 years at most", ""),
        ("once[0, x](x > 1)", "x", "an interval bound is a duration", "write '[0, 2 s]'"),
        ("once[0, 1 s(x > 1)", "(", "the interval is not closed", "write ']'"),
        ("x > 1 [0, 2 s]", "[", "found '[' where no interval belongs", "an interval follows"),
        ("x.1 > 2", ".", "'.' is not part of a formula", "nested fields as 'a.b'"),
        ("x > 1e999", "1e999", "the number is too large", "magnitudes reach"),
    ] {
        let found = refused(text);
        assert_eq!((found.0.as_str(), found.1.as_str()), (place, message), "{text}");
        assert!(found.2.contains(advice) && found.2.is_empty() == advice.is_empty(), "{text}: {}", found.2);
    }
}

#[test]
fn windows_that_add_up_beyond_the_range_of_time_are_refused() {
    let text = "once[0, 2000000 h](once[0, 2000000 h](x > 1))";
    let (place, message, _) = refused(text);
    assert_eq!(
        (place.as_str(), message.as_str()),
        (text, "the nested windows together reach back more than 292 years")
    );
}

#[test]
fn text_longer_than_its_bound_is_refused_without_being_kept_whole() {
    let text = format!("x > 1{}", "\u{e9}".repeat(TEXT_BYTES_MAX));
    let error = Formula::parse(&text).unwrap_err();
    assert!(error.message.contains("the limit is 16384"), "{}", error.message);
    assert!(error.text.len() <= TEXT_BYTES_MAX);
    assert!(error.to_string().len() < 1_000);
}

#[test]
fn a_formula_whose_canonical_text_is_too_long_to_be_read_back_is_refused() {
    let one_blank_each = |name_bytes: usize| format!("{}>1", "x".repeat(name_bytes));
    let longest = Formula::parse(&one_blank_each(TEXT_BYTES_MAX - 4)).unwrap();
    assert_eq!(longest.to_string().len(), TEXT_BYTES_MAX);
    assert_eq!(Formula::parse(&longest.to_string()).unwrap(), longest);
    for text in [one_blank_each(TEXT_BYTES_MAX - 3), vec!["1e15<1e15"; 500].join("or ")] {
        assert!(text.len() < TEXT_BYTES_MAX);
        let (place, message, advice) = refused(&text);
        assert_eq!((place, advice), (text, "split it into several formulas".to_owned()));
        assert!(message.starts_with("its canonical text has ") && message.ends_with("the limit is 16384"), "{message}");
    }
}

#[test]
fn nesting_beyond_its_bound_is_refused_whatever_it_is_made_of() {
    for (open, middle, close) in [
        ("(", "x > 1", ")"),
        ("not ", "x > 1", ""),
        ("once[0, 1](", "x > 1", ")"),
        ("once[0, 1] ", "x > 1", ""),
        ("historically ", "x > 1", ""),
        ("true implies ", "x > 1", ""),
        ("true since (", "x > 1", ")"),
        ("true and (", "x > 1", ")"),
    ] {
        let nested = |depth: usize| format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
        let deepest = Formula::parse(&nested(DEPTH_MAX)).unwrap();
        assert_eq!(Formula::parse(&deepest.to_string()).unwrap(), deepest, "{open}");
        for depth in [DEPTH_MAX + 1, 1_000] {
            let error = Formula::parse(&nested(depth)).unwrap_err();
            assert_eq!(error.message, "nested deeper than 64 levels", "{open}");
        }
    }
    for (open, close) in [("-", ""), ("abs(", ")"), ("min(1, ", ")")] {
        let nested = |depth: usize| format!("{}x{} > 1", open.repeat(depth), close.repeat(depth));
        assert!(Formula::parse(&nested(DEPTH_MAX)).is_ok(), "{open}");
        assert!(Formula::parse(&nested(1_000)).unwrap_err().message.contains("nested deeper"), "{open}");
    }
}

#[test]
fn a_long_chain_is_no_nesting_and_is_bounded_by_its_parts() {
    let chain = |parts: usize| format!("true{}", " and true".repeat(parts / 2));
    let formula = Formula::parse(&chain(NODES_MAX - 1)).unwrap();
    assert_eq!(Formula::parse(&formula.to_string()).unwrap(), formula);
    assert!(Formula::parse(&chain(NODES_MAX)).unwrap_err().message.contains("more than 2048 parts"));
}

proptest! {
    #![proptest_config(generate::cases(2_000))]

    #[test]
    fn canonical_text_parses_back_to_the_same_formula(text in generate::formula()) {
        let formula = Formula::parse(&text).unwrap();
        let canonical = formula.to_string();
        let again = Formula::parse(&canonical).unwrap();
        prop_assert_eq!(&again, &formula, "{}", canonical);
        prop_assert_eq!(again.to_string(), canonical);
    }

    #[test]
    fn arbitrary_text_gives_a_formula_or_an_error_within_the_text(text in any::<String>()) {
        holds_together(&text)?;
    }

    #[test]
    fn arbitrary_words_of_the_language_give_a_formula_or_an_error_within_the_text(
        words in proptest::collection::vec(proptest::sample::select(&[
            "x", "y.z", "1", "2.5", "1e5", "s", "ms", "[", "]", "(", ")", ",", "+", "-", "*", "/", "<", "<=", "==",
            "->", "not", "and", "or", "implies", "once", "historically", "since", "until", "abs", "min", "max", "true",
            "=", "!", "\u{b5}s", "\n", "e", ".", "inf",
        ][..]), 0..40),
        separator in proptest::sample::select(&["", " "][..]),
    ) {
        holds_together(&words.join(separator))?;
    }
}

/// An error lies within its text and can be shown; a formula can be shown and read back.
fn holds_together(text: &str) -> Result<(), TestCaseError> {
    match Formula::parse(text) {
        Ok(formula) => prop_assert_eq!(Formula::parse(&formula.to_string()).unwrap(), formula),
        Err(error) => {
            prop_assert!(error.start <= error.end && error.end <= error.text.len());
            prop_assert!(error.text.is_char_boundary(error.start) && error.text.is_char_boundary(error.end));
            prop_assert!(error.character_range().end <= text.chars().count());
            prop_assert_eq!(error.to_string().lines().count(), 3);
        }
    }
    Ok(())
}

#[test]
fn the_deepest_formulas_fit_a_small_stack() {
    let nested = format!("{}true{}", "true or true and true since not (".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
    let arithmetic = format!("0 < {}x{}", "1 + 2 * -(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
    let chain = format!("true{}", " and true".repeat(NODES_MAX / 2 - 1));
    let work = move || {
        for (text, values) in [(&nested, &[][..]), (&arithmetic, &[1.0]), (&chain, &[])] {
            let formula = Formula::parse(text).unwrap();
            assert_eq!(Formula::parse(&formula.to_string()).unwrap(), formula);
            let verdict = Monitor::new(&formula, MonitorOptions::default()).update(0, values).unwrap();
            assert_eq!(naive::verdicts(&formula, &[(0, values)]).unwrap(), [verdict]);
        }
    };
    let stack_kib = if cfg!(debug_assertions) { 2_048 } else { 512 };
    std::thread::Builder::new().stack_size(stack_kib << 10).spawn(work).unwrap().join().unwrap();
}
