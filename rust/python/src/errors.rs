//! The one map from the errors of the crates to the exceptions of `chronofabric.errors`.

use chronofabric_bus::{BusError, SyntaxError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};

/// Makes an exception of `chronofabric.errors` with its message and its attributes.
#[cold]
pub(crate) fn exception<'py>(
    py: Python<'py>,
    class: &str,
    message: &str,
    fill: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<()>,
) -> PyErr {
    let made = || {
        let attributes = PyDict::new(py);
        fill(&attributes)?;
        PyModule::import(py, "chronofabric.errors")?.getattr(class)?.call((message,), Some(&attributes))
    };
    made().map_or_else(|error| error, PyErr::from_value)
}

/// An argument with a value that cannot be used.
#[cold]
pub(crate) fn argument(py: Python<'_>, name: &str, value: &Bound<'_, PyAny>, hint: &str) -> PyErr {
    let shown = value.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string());
    exception(py, "ArgumentError", &format!("{name} is {shown}; {hint}"), |attributes| {
        attributes.set_item("argument", name)?;
        attributes.set_item("value", value)?;
        attributes.set_item("hint", hint)
    })
}

fn syntax(py: Python<'_>, class: &str, error: &SyntaxError) -> PyErr {
    exception(py, class, &error.to_string(), |attributes| {
        attributes.set_item("text", &*error.text)?;
        attributes.set_item("span", (error.column, error.column + error.width))?;
        attributes.set_item("hint", &*error.hint)
    })
}

/// What the bus refused, as the exception that users catch.
#[cold]
pub(crate) fn from_bus(py: Python<'_>, error: &BusError) -> PyErr {
    let message = error.to_string();
    match error {
        BusError::Topic(error) => syntax(py, "TopicError", error),
        BusError::Pattern(error) => syntax(py, "PatternError", error),
        BusError::TopicLimit { topic, limit } => exception(py, "TopicLimitError", &message, |attributes| {
            attributes.set_item("topic", &**topic)?;
            attributes.set_item("limit", *limit)
        }),
        BusError::Option { name, value, allowed } => exception(py, "ArgumentError", &message, |attributes| {
            attributes.set_item("argument", *name)?;
            attributes.set_item("value", &**value)?;
            attributes.set_item("hint", *allowed)
        }),
        BusError::GuardLoop { topic } => {
            exception(py, "GuardError", &message, |attributes| attributes.set_item("topic", &**topic))
        }
        BusError::Closed => exception(py, "ClosedError", &message, |_| Ok(())),
        _ => exception(py, "ClockError", &message, |_| Ok(())),
    }
}
