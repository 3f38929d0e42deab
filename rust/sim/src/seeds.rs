//! Running a test for many seeds.

use std::any::Any;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The environment variable whose number is the only seed that tests run with.
pub const SEED_VARIABLE: &str = "CHRONOFABRIC_SEED";

/// Runs a test for each seed, or for the one in [`SEED_VARIABLE`]. Where it panics, so does this, and names the seed.
pub fn for_each_seed(seeds: impl IntoIterator<Item = u64>, test: impl Fn(u64)) {
    let chosen = env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok());
    run(chosen, seeds, test);
}

fn run(chosen: Option<u64>, seeds: impl IntoIterator<Item = u64>, test: impl Fn(u64)) {
    let seeds: Vec<u64> = chosen.map_or_else(|| seeds.into_iter().collect(), |seed| vec![seed]);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            let message = format!("seed {seed} ({SEED_VARIABLE}={seed} runs it alone): {}", text(&*panic));
            eprintln!("{message}");
            resume_unwind(Box::new(message));
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or("a panic without a text"), String::as_str)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn the_seed_of_a_failing_run_is_named_and_no_later_one_is_run() {
        let seen = RefCell::new(Vec::new());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run(None, 5..10, |seed| {
                seen.borrow_mut().push(seed);
                assert!(seed != 7, "seven is wrong");
            });
        }));
        assert_eq!(seen.into_inner(), [5, 6, 7]);
        let message = text(&*outcome.unwrap_err()).to_owned();
        assert!(message.contains("CHRONOFABRIC_SEED=7") && message.contains("seven is wrong"), "{message}");
    }

    #[test]
    fn a_chosen_seed_is_the_only_one() {
        let seen = RefCell::new(Vec::new());
        run(Some(42), 0..10, |seed| seen.borrow_mut().push(seed));
        assert_eq!(seen.into_inner(), [42]);
    }
}
