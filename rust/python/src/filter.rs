//! Filters of subscriptions: a formula over the fields of events, judged by the publisher, or a Python callable, asked by the
//! receiver.
//!
//! A formula is one without temporal operators. Of a table it keeps the rows at which it holds; where all of them do, the
//! table stays the very same. What cannot be judged (a field that is not there, or is no number) does not match, and is
//! counted.

use crate::columns::{Selected, Table};
use crate::errors;
use crate::event_type::{self, attached};
use crate::field::{Field, Glance, is_transparent};
use crate::logic::{Formula, condition_of};
use crate::node::{Counted, Event, lock};
use crate::payload::{Content, View};
use chronofabric_bus::{ContentFilter, Failures, Filters, Judgement, Predicate, RateLimit, Values};
use chronofabric_logic::Condition;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Tables of more rows are filtered without the interpreter.
const ROWS_ATTACHED_MAX: usize = 1 << 16;

/// Counts what could not be judged. Why is kept of the first time, and each time that their number has doubled: finding the
/// words costs more than the judgement.
#[derive(Default)]
struct Tally {
    count: AtomicU64,
    reason: Mutex<Option<Box<str>>>,
}

impl Tally {
    #[cold]
    fn fail(&self, reason: impl FnOnce() -> String) {
        if (self.count.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
            let reason = reason().into();
            *lock(&self.reason) = Some(reason);
        }
    }

    fn failures(&self) -> Failures {
        Failures { count: self.count.load(Ordering::Relaxed), reason: lock(&self.reason).clone() }
    }
}

/// A formula that events must satisfy.
struct Where {
    condition: Condition,
    signals: Vec<String>,
    fields: Vec<Field>,
    tally: Tally,
}

impl Where {
    fn judge_values(&self, values: &[f64]) -> Judgement<Content> {
        match self.condition.holds(values) {
            Some(true) => Judgement::Matches,
            Some(false) => Judgement::Differs,
            None => {
                self.tally.fail(|| "a field is not a number (NaN), or the arithmetic has no answer".to_owned());
                Judgement::Differs
            }
        }
    }

    fn judge_numbers(&self, number: impl Fn(&str) -> Option<f64>) -> Judgement<Content> {
        let mut values = Values::new();
        for field in &self.fields {
            let Some(value) = number(&field.name) else {
                self.tally.fail(|| format!("there is no number '{}'", field.name));
                return Judgement::Differs;
            };
            values.push(value);
        }
        self.judge_values(&values)
    }

    /// # Safety
    /// The object lives, and the thread is attached.
    unsafe fn judge_object(&self, object: *mut ffi::PyObject) -> Judgement<Content> {
        let mut values = Values::new();
        for field in &self.fields {
            // SAFETY: passed on.
            match unsafe { field.glance(object) } {
                Glance::Number(value) => values.push(value),
                // SAFETY: passed on.
                Glance::Missing => return unsafe { self.missing(object, &field.name) },
                // SAFETY: passed on.
                Glance::Unsure => return unsafe { self.judge_closely(object) },
            }
        }
        self.judge_values(&values)
    }

    /// # Safety
    /// As for [`Where::judge_object`].
    #[cold]
    unsafe fn missing(&self, object: *mut ffi::PyObject, name: &str) -> Judgement<Content> {
        self.tally.fail(|| {
            attached(|py| {
                // SAFETY: passed on.
                let object = unsafe { Borrowed::from_ptr(py, object) };
                format!("there is no field '{name}'{}", nearest(&object, name).unwrap_or_default())
            })
        });
        Judgement::Differs
    }

    /// # Safety
    /// As for [`Where::judge_object`].
    #[cold]
    unsafe fn judge_closely(&self, object: *mut ffi::PyObject) -> Judgement<Content> {
        attached(|py| {
            let _calling = Counted::calling();
            // SAFETY: passed on.
            let object = unsafe { Bound::from_borrowed_ptr(py, object) };
            if let Ok(table) = object.cast_exact::<Table>() {
                return self.judge_table(table);
            }
            let mut values = Values::new();
            for field in &self.fields {
                match field.read(&object) {
                    Ok(value) => values.push(value),
                    Err(reason) => {
                        self.tally.fail(|| reason);
                        return Judgement::Differs;
                    }
                }
            }
            self.judge_values(&values)
        })
    }

    fn judge_table(&self, table: &Bound<'_, Table>) -> Judgement<Content> {
        let (py, rows) = (table.py(), table.get());
        let select = || rows.select(&self.condition, &self.signals);
        let selected = if rows.num_rows() > ROWS_ATTACHED_MAX { py.detach(select) } else { select() };
        match selected {
            Ok(Selected::All) => Judgement::Matches,
            Ok(Selected::None) => Judgement::Differs,
            Ok(Selected::Some(part)) => match Py::new(py, part) {
                Ok(part) => Judgement::MatchesInPart(Content::of_object(part.into_any())),
                Err(error) => {
                    self.tally.fail(|| error.to_string());
                    Judgement::Differs
                }
            },
            Err(refusal) => {
                self.tally.fail(|| refusal.describe(py, rows));
                Judgement::Differs
            }
        }
    }
}

/// The key that was perhaps meant.
fn nearest(object: &Bound<'_, PyAny>, name: &str) -> Option<String> {
    let fields = object.cast::<PyDict>().ok()?;
    let known: Vec<String> = fields.keys().iter().filter_map(|key| key.extract().ok()).collect();
    let near = object.py().import("difflib").ok()?.call_method1("get_close_matches", (name, known, 1)).ok()?;
    let near = near.extract::<Vec<String>>().ok()?.pop()?;
    Some(format!("; did you mean '{near}'?"))
}

impl ContentFilter<Content> for Where {
    fn judge(&self, payload: &Content, place: Option<usize>) -> Judgement<Content> {
        match (payload.view(), place) {
            // SAFETY: only who holds the interpreter publishes Python's objects; the payload keeps them alive.
            (View::Object(object), _) => unsafe { self.judge_object(object.as_ptr()) },
            // SAFETY: as above; the tuple keeps its items.
            (View::Batch(all), place) => unsafe {
                self.judge_object(ffi::PyTuple_GetItem(all, place.unwrap_or(0) as ffi::Py_ssize_t))
            },
            (View::Record(record), _) => self.judge_numbers(|name| record.number(name)),
            (View::Held(held), _) => self.judge_numbers(|name| held.number(name)),
        }
    }

    #[inline]
    fn glance(&self, payload: &Content) -> Option<bool> {
        let View::Object(object) = payload.view() else { return None };
        let object = object.as_ptr();
        let mut values = Values::new();
        // SAFETY: only who holds the interpreter publishes Python's objects, or subscribes; the payload keeps them alive.
        unsafe {
            if !is_transparent(object) {
                return None;
            }
            for field in &self.fields {
                let Glance::Number(value) = field.glance(object) else { return None };
                values.push(value);
            }
        }
        Some(matches!(self.judge_values(&values), Judgement::Matches))
    }

    fn failures(&self) -> Failures {
        self.tally.failures()
    }
}

/// A Python callable that events must satisfy.
struct Callable {
    function: Py<PyAny>,
    /// The subscription that it is for.
    name: Box<str>,
    tally: Tally,
}

impl Callable {
    fn admits(&self, py: Python<'_>, event: &Event) -> bool {
        let asked = || self.function.bind(py).call1((event_type::create(py, event.clone())?,))?.is_truthy();
        asked().unwrap_or_else(|error| {
            self.failed(py, event, &error);
            false
        })
    }

    #[cold]
    fn failed(&self, py: Python<'_>, event: &Event, error: &PyErr) {
        self.tally.fail(|| error.to_string());
        if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            // Meant for whoever receives, who looks for it next.
            // SAFETY: has no precondition.
            return unsafe { ffi::PyErr_SetInterrupt() };
        }
        let logged = || {
            let logger = py.import("logging")?.call_method1("getLogger", ("chronofabric.filter",))?;
            let with = PyDict::new(py);
            with.set_item("exc_info", error.value(py))?;
            let values = ("filter of %s failed on %s", &*self.name, event.topic().name());
            logger.call_method("error", values, Some(&with)).map(drop)
        };
        if let Err(error) = logged() {
            error.write_unraisable(py, Some(self.function.bind(py)));
        }
    }
}

impl Predicate<Content> for Callable {
    fn retain(&self, events: &mut Vec<Event>) {
        attached(|py| {
            let _calling = Counted::calling();
            events.retain(|event| self.admits(py, event));
        });
    }

    fn failures(&self) -> Failures {
        self.tally.failures()
    }
}

/// What was asked for, so far as two can be compared that ask for it.
#[derive(PartialEq)]
pub(crate) struct Terms {
    pub(crate) condition: Option<Asked>,
    pub(crate) sample: Option<u64>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) throttle_ns: Option<i64>,
    pub(crate) debounce_ns: Option<i64>,
}

/// What was given for `where`.
pub(crate) enum Asked {
    Formula(String),
    /// The address is its own as long as the filter keeps the callable.
    Callable {
        address: usize,
        shown: String,
    },
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Formula(one), Self::Formula(other)) => one == other,
            (Self::Callable { address: one, .. }, Self::Callable { address: other, .. }) => one == other,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Formula(text) => write!(formatter, "'{text}'"),
            Self::Callable { shown, .. } => formatter.write_str(shown),
        }
    }
}

/// The filters of a subscription, as Python gives them.
pub(crate) fn filters_of(
    condition: Option<&Bound<'_, PyAny>>,
    sample: Option<u64>,
    rate_limit: Option<(i64, u32)>,
    throttle_ns: Option<i64>,
    debounce_ns: Option<i64>,
    name: &str,
) -> PyResult<(Filters<Content>, Terms)> {
    let rate_limit = rate_limit.map(|(period_ns, burst)| RateLimit { period_ns, burst });
    let mut filters = Filters { sample, rate_limit, throttle_ns, debounce_ns, ..Filters::default() };
    let mut terms = Terms { condition: None, sample, rate_limit, throttle_ns, debounce_ns };
    let Some(condition) = condition else { return Ok((filters, terms)) };
    let tally = Tally::default();
    if condition.is_instance_of::<PyString>() || condition.is_instance_of::<Formula>() {
        let (condition, text) = where_of(condition, tally)?;
        filters.content = Some(Arc::new(condition));
        terms.condition = Some(Asked::Formula(text));
    } else if condition.is_callable() {
        let function = condition.clone().unbind();
        terms.condition =
            Some(Asked::Callable { address: condition.as_ptr().addr(), shown: condition.repr()?.to_string() });
        filters.predicate = Some(Arc::new(Callable { function, name: name.into(), tally }));
    } else {
        let hint = "it must be a formula such as 'value > 50', or a callable of one event";
        return Err(errors::argument(condition.py(), "where", condition, hint));
    }
    Ok((filters, terms))
}

/// A condition, and the text of its formula.
fn where_of(given: &Bound<'_, PyAny>, tally: Tally) -> PyResult<(Where, String)> {
    let py = given.py();
    let (formula, condition) = condition_of(given)?;
    let signals = formula.signals().to_vec();
    let fields = signals.iter().map(|name| Field::new(py, name)).collect();
    Ok((Where { condition, signals, fields, tally }, formula.to_string()))
}
