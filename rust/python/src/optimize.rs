//! Orders of jobs: the search, run without the interpreter, and what it found.

use crate::errors;
use crate::node::detached;
use crate::waiting::in_main_thread;
use chronofabric_optimize::{Batch, BatchError, Job, Kept, Progress, Search, order};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a search looks for signals.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);
/// How often a search says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Whether the interpreter is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// An order of jobs, beside what the rules reach.
#[pyclass(module = "chronofabric._core.optimize", frozen)]
pub(crate) struct JobOrder {
    /// The jobs, first to last.
    #[pyo3(get)]
    order: Py<PyTuple>,
    /// Its total weighted tardiness, in nanoseconds.
    #[pyo3(get)]
    tardiness: i64,
    /// That of the order of earliest due dates.
    #[pyo3(get)]
    edf: i64,
    /// That of the best order by apparent tardiness cost.
    #[pyo3(get)]
    atc: i64,
    kept: Kept,
    /// How many steps the search took.
    #[pyo3(get)]
    steps: u64,
}

#[pymethods]
impl JobOrder {
    /// Whose order it is.
    #[getter]
    fn kept(&self) -> &'static str {
        match self.kept {
            Kept::Search => "search",
            Kept::Edf => "edf",
            Kept::Atc => "atc",
        }
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Self>() else { return Ok(false) };
        let other = other.get();
        let values = |of: &Self| (of.tardiness, of.edf, of.atc, of.kept, of.steps);
        Ok(values(self) == values(other) && self.order.bind(py).eq(&other.order)?)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let order = self.order.bind(py).repr()?;
        let Self { tardiness, edf, atc, steps, .. } = self;
        let kept = self.kept();
        Ok(format!(
            "JobOrder(order={order}, tardiness={tardiness}, edf={edf}, atc={atc}, kept='{kept}', steps={steps})"
        ))
    }
}

/// What was refused, with jobs under the names that the caller has for them.
#[cold]
fn refused(names: &Bound<'_, PyList>, error: &BatchError) -> PyErr {
    let py = names.py();
    let name = |job: &usize| names.get_item(*job).unwrap_or_else(|_| py.None().into_bound(py));
    let shown = |job: &usize| name(job).repr().map_or_else(|_| "?".to_owned(), |text| text.to_string());
    match error {
        BatchError::Cycle { jobs } => {
            let around: Vec<String> = jobs.iter().chain(jobs.first()).map(shown).collect();
            let message = format!("precedence is a cycle: {}", around.join(" before "));
            errors::exception(py, "ArgumentError", &format!("{message}; take one of these pairs out"), |attributes| {
                attributes.set_item("argument", "precedence")?;
                attributes.set_item("value", PyTuple::new(py, jobs.iter().map(name))?)?;
                attributes.set_item("hint", "take one of these pairs out")
            })
        }
        BatchError::TooManyPairs { pairs } => {
            errors::exception(py, "ArgumentError", &error.to_string(), |attributes| {
                attributes.set_item("argument", "precedence")?;
                attributes.set_item("value", *pairs)
            })
        }
        BatchError::TooManyJobs { jobs } => errors::exception(py, "ArgumentError", &error.to_string(), |attributes| {
            attributes.set_item("argument", "jobs")?;
            attributes.set_item("value", *jobs)
        }),
        _ => errors::exception(py, "ArgumentError", &error.to_string(), |attributes| {
            attributes.set_item("argument", "jobs")
        }),
    }
}

/// Where a search asks whether to end, and why it did.
struct Watch {
    started: Instant,
    budget: Duration,
    progress: Option<Py<PyAny>>,
    told: Duration,
    /// When to look for signals, which only the main thread does.
    looks: Option<Duration>,
    raised: Option<PyErr>,
}

impl Watch {
    fn should_stop(&mut self, so_far: Progress) -> bool {
        let elapsed = self.started.elapsed();
        if elapsed >= self.budget || ENDING.load(Ordering::Relaxed) {
            return true;
        }
        let tell = self.progress.as_ref().filter(|_| elapsed - self.told >= PROGRESS_EVERY);
        if tell.is_none() && self.looks.is_none_or(|looks| elapsed < looks) {
            return false;
        }
        let share = elapsed.as_secs_f64() / self.budget.as_secs_f64();
        let with_interpreter = |py: Python<'_>| {
            py.check_signals()?;
            tell.map_or(Ok(()), |tell| tell.call1(py, (share, so_far.tardiness)).map(drop))
        };
        // Where there is no interpreter any more there is nobody to search for.
        let answer = Python::try_attach(with_interpreter).unwrap_or(Ok(()));
        if tell.is_some() {
            self.told = elapsed;
        }
        self.looks = self.looks.map(|_| elapsed + SIGNALS_EVERY);
        self.raised = answer.err();
        self.raised.is_some()
    }
}

/// Ends all searches, for good: the interpreter is about to.
#[pyfunction]
fn end() {
    ENDING.store(true, Ordering::Relaxed);
}

/// Orders jobs, given as (processing in ns, due in ns, weight), whose names are in the list.
#[pyfunction]
#[pyo3(name = "order", signature = (names, jobs, precedence, *, budget_ns, steps, seed, progress))]
#[allow(clippy::too_many_arguments)]
fn order_jobs(
    py: Python<'_>,
    names: &Bound<'_, PyList>,
    jobs: Vec<(u64, u64, u32)>,
    precedence: Vec<(usize, usize)>,
    budget_ns: u64,
    steps: Option<u64>,
    seed: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<JobOrder> {
    let jobs: Vec<Job> = jobs.into_iter().map(|(processing, due, weight)| Job { processing, due, weight }).collect();
    let batch = Batch::new(&jobs, &precedence).map_err(|error| refused(names, &error))?;
    let mut watch = Watch {
        // The budget is of real time: it is the machine that is kept busy, whatever clock a node has.
        started: Instant::now(),
        budget: Duration::from_nanos(budget_ns),
        progress,
        told: Duration::ZERO,
        looks: in_main_thread().then_some(SIGNALS_EVERY),
        raised: None,
    };
    let search = Search { seed, steps };
    let ordered = detached(py, || order(&batch, &search, &mut |so_far| watch.should_stop(so_far)));
    if let Some(raised) = watch.raised {
        return Err(raised);
    }
    let named = ordered.order.iter().map(|&job| names.get_item(job)).collect::<PyResult<Vec<_>>>()?;
    Ok(JobOrder {
        order: PyTuple::new(py, named)?.unbind(),
        tardiness: ordered.tardiness,
        edf: ordered.edf,
        atc: ordered.atc,
        kept: ordered.kept,
        steps: ordered.steps,
    })
}

pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let module = PyModule::new(parent.py(), "optimize")?;
    module.add_class::<JobOrder>()?;
    module.add_function(wrap_pyfunction!(order_jobs, &module)?)?;
    module.add_function(wrap_pyfunction!(end, &module)?)?;
    parent.add_submodule(&module)
}
