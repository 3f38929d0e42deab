//! The order of a batch: both rules, then the search from the better of them, and which of the three is kept.

use crate::batch::Batch;
use crate::rules;
use crate::search::{self, Progress, Search};

/// Which order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// That of the search: it beats both rules.
    Search,
    /// That of earliest due dates.
    Edf,
    /// That by apparent tardiness cost.
    Atc,
}

/// An order of a batch, beside what the rules reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOrder {
    /// The jobs, first to last.
    pub order: Vec<usize>,
    /// Its total weighted tardiness.
    pub tardiness: i64,
    /// That of the order of earliest due dates.
    pub edf: i64,
    /// That of the best order by apparent tardiness cost.
    pub atc: i64,
    /// Whose order it is.
    pub kept: Kept,
    /// How many steps the search took.
    pub steps: u64,
}

/// Orders a batch so that its total weighted tardiness is small.
///
/// The search begins with the better of the rules, and its order is kept only where it beats both. `should_stop` is asked
/// every few microseconds; what was found until it says true is the answer, so that whoever passes it may keep a time
/// limit, cancel, or show progress. More time never makes an order worse, and time is all that it can change: for the same
/// batch, seed and number of steps the order is the same. (The rules themselves are not interrupted; they take a
/// millisecond for a thousand jobs.)
pub fn order(batch: &Batch, options: &Search, should_stop: &mut dyn FnMut(Progress) -> bool) -> JobOrder {
    let (by_edf, by_atc) = (rules::edf(batch), rules::atc(batch));
    let value = |order: &[u32]| batch.cost(order.iter().map(|&job| job as usize));
    let (edf, atc) = (value(&by_edf), value(&by_atc));
    let (kept, start) = if atc < edf { (Kept::Atc, by_atc) } else { (Kept::Edf, by_edf) };
    let (found, progress) = search::search(batch, start, options, should_stop);
    let kept = if progress.tardiness < edf.min(atc) { Kept::Search } else { kept };
    JobOrder {
        order: found.into_iter().map(|job| job as usize).collect(),
        tardiness: progress.tardiness,
        edf,
        atc,
        kept,
        steps: progress.steps,
    }
}
