//! Topic patterns, as Python has them.

use crate::errors;
use chronofabric_bus::Pattern as BusPattern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

/// A compiled topic pattern.
#[pyclass(module = "chronofabric._core.bus", frozen, eq, hash)]
pub(crate) struct Pattern(pub(crate) BusPattern);

impl Pattern {
    /// What makes two patterns the same: the kind and text of each of their parts.
    fn identity(&self) -> impl Iterator<Item = (bool, &str)> {
        self.0.parts().iter().map(|part| (part.is_regex(), part.text()))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.identity().eq(other.identity())
    }
}

impl std::hash::Hash for Pattern {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity().for_each(|part| part.hash(state));
    }
}

#[pymethods]
impl Pattern {
    #[new]
    fn new(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        pattern_of(text).map(Self)
    }

    /// The text it was made from.
    #[getter]
    fn text(&self) -> &str {
        self.0.text()
    }

    /// Whether it is a regular expression.
    #[getter]
    fn is_regex(&self) -> bool {
        self.0.is_regex()
    }

    /// Whether a topic belongs to the set.
    fn matches(&self, topic: &str) -> bool {
        self.0.matches(topic)
    }

    fn __str__(&self) -> &str {
        self.0.text()
    }

    fn __repr__(&self) -> String {
        let parts: Vec<_> = self
            .identity()
            .map(|(is_regex, text)| format!("{}({text:?})", if is_regex { "regex" } else { "Pattern" }))
            .collect();
        if parts.len() == 1 { parts.concat() } else { format!("union([{}])", parts.join(", ")) }
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let module = py.import("chronofabric._core")?.getattr("bus")?;
        let parts = self.0.parts();
        if parts.len() == 1 {
            let maker = if self.0.is_regex() { "regex" } else { "Pattern" };
            return Ok((module.getattr(maker)?, PyTuple::new(py, [self.0.text()])?));
        }
        let parts: Vec<_> = parts.iter().map(|part| Self(part.clone())).collect();
        Ok((module.getattr("union")?, PyTuple::new(py, [PyList::new(py, parts)?])?))
    }
}

/// The union of several patterns: each matching event once.
#[pyfunction]
pub(crate) fn union(patterns: &Bound<'_, PyAny>) -> PyResult<Pattern> {
    pattern_of(patterns).map(Pattern)
}

/// A pattern from a regular expression that must match whole topics.
#[pyfunction]
pub(crate) fn regex(text: &Bound<'_, PyAny>) -> PyResult<Pattern> {
    let py = text.py();
    BusPattern::regex(&pattern_text(text)?).map(Pattern).map_err(|error| errors::from_bus(py, &error))
}

/// The text of a pattern.
fn pattern_text(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let hint = "it must be a text such as 'plant/*/temperature' or cf.regex('...')";
    object.extract().map_err(|_| errors::argument(object.py(), "pattern", object, hint))
}

/// A pattern, its text, or several of either, which together are one.
pub(crate) fn pattern_of(object: &Bound<'_, PyAny>) -> PyResult<BusPattern> {
    if let Ok(pattern) = object.cast::<Pattern>() {
        return Ok(pattern.get().0.clone());
    }
    let py = object.py();
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let patterns = object.try_iter()?.map(|each| pattern_of(&each?)).collect::<PyResult<Vec<_>>>()?;
        return BusPattern::any(patterns)
            .ok_or_else(|| errors::argument(py, "pattern", object, "give at least one pattern; '**' is every topic"));
    }
    BusPattern::parse(&pattern_text(object)?).map_err(|error| errors::from_bus(py, &error))
}
