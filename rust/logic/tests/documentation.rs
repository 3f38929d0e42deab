//! What `docs/formulas.md` shows is what the parser does.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_logic::Formula;

const TITLE: &str = "FormulaError: ";

/// The contents of the fenced `text` blocks: formulas, one in a line, or errors.
fn blocks() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formulas.md");
    let page = std::fs::read_to_string(path).unwrap();
    page.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn documented_formulas_are_formulas() {
    let formulas: Vec<String> = blocks()
        .iter()
        .filter(|block| !block.starts_with(TITLE))
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(formulas.len() >= 9);
    for formula in formulas {
        assert_eq!(Formula::parse(&formula).unwrap().to_string(), formula);
    }
}

#[test]
fn documented_errors_are_the_errors() {
    let block = blocks().into_iter().find(|block| block.starts_with(TITLE)).unwrap();
    let errors: Vec<&str> = block.trim_end().split("\n\n").collect();
    assert!(errors.len() >= 6);
    for shown in errors {
        let text = shown.lines().nth(1).unwrap().trim();
        assert_eq!(format!("{TITLE}{}", Formula::parse(text).unwrap_err()), shown);
    }
}

#[test]
fn the_documented_canonical_text_is_canonical() {
    let formula = Formula::parse("historically[0,2000ms] (x>1 -> ((y) <= 2))").unwrap();
    assert!(blocks().contains(&format!("{formula}\n")));
}
