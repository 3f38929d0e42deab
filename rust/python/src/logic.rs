//! Formulas and their monitors.

use crate::errors;
use crate::node::lock;
use chronofabric_logic::{
    Condition, Formula as Parsed, FormulaError, Monitor as Online, MonitorOptions, Verdict as Answer,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::Mutex;

#[cold]
fn formula_error(py: Python<'_>, error: &FormulaError) -> PyErr {
    let span = error.character_range();
    errors::exception(py, "FormulaError", &error.to_string(), |attributes| {
        attributes.set_item("text", &error.text)?;
        attributes.set_item("span", (span.start, span.end))?;
        attributes.set_item("hint", error.suggestion.as_deref())
    })
}

/// A formula of signal temporal logic.
#[pyclass(module = "chronofabric._core.logic", frozen, eq)]
#[derive(PartialEq)]
pub(crate) struct Formula(pub(crate) Parsed);

/// A formula or its text.
pub(crate) fn formula_of(value: &Bound<'_, PyAny>) -> PyResult<Parsed> {
    if let Ok(formula) = value.cast::<Formula>() {
        return Ok(formula.get().0.clone());
    }
    let py = value.py();
    let text: String = value.extract().map_err(|_| {
        errors::argument(py, "formula", value, "it must be a text such as 'value > 80' or a cf.logic.Formula")
    })?;
    Parsed::parse(&text).map_err(|error| formula_error(py, &error))
}

#[pymethods]
impl Formula {
    #[new]
    fn new(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        formula_of(text).map(Self)
    }

    /// The names it reads, in order of first appearance.
    #[getter]
    fn signals(&self) -> Vec<String> {
        self.0.signals().to_vec()
    }

    /// How far into the past it looks, in nanoseconds.
    #[getter]
    fn horizon_ns(&self) -> i64 {
        self.0.horizon_ns()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Formula({:?})", self.0.to_string())
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.0.to_string().hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, (String,)) {
        (py.get_type::<Self>().into_any(), (self.0.to_string(),))
    }
}

/// What a formula says at a sample.
#[pyclass(module = "chronofabric._core.logic", frozen, eq)]
#[derive(PartialEq)]
pub(crate) struct Verdict(Answer);

#[pymethods]
impl Verdict {
    /// Whether the formula's windows are covered.
    #[getter]
    fn known(&self) -> bool {
        self.0.is_known()
    }

    /// Whether the formula holds; None while that is not known.
    #[getter]
    fn satisfied(&self) -> Option<bool> {
        self.0.satisfied()
    }

    /// How far the signals are from changing the verdict; None while that is not known.
    #[getter]
    fn robustness(&self) -> Option<f64> {
        self.0.robustness()
    }

    fn __repr__(&self) -> String {
        match self.0 {
            Answer::Unknown => "Verdict(unknown)".to_owned(),
            Answer::Known { robustness, satisfied } => {
                let satisfied = if satisfied { "True" } else { "False" };
                format!("Verdict(satisfied={satisfied}, robustness={robustness:?})")
            }
        }
    }
}

/// A formula, evaluated as samples arrive.
#[pyclass(module = "chronofabric._core.logic", frozen)]
pub(crate) struct Monitor {
    monitor: Mutex<Online>,
    formula: Parsed,
    names: Vec<Py<PyString>>,
}

#[pymethods]
impl Monitor {
    #[new]
    #[pyo3(signature = (formula, *, max_samples = 65_536))]
    fn new(py: Python<'_>, formula: &Bound<'_, PyAny>, max_samples: usize) -> PyResult<Self> {
        let formula = formula_of(formula)?;
        let names = formula.signals().iter().map(|name| PyString::intern(py, name).unbind()).collect();
        Ok(Self { monitor: Mutex::new(Online::new(&formula, MonitorOptions { max_samples })), formula, names })
    }

    /// Takes one sample: a value for each signal, at a time in nanoseconds.
    #[pyo3(signature = (time, /, **values))]
    fn update(&self, py: Python<'_>, time: i64, values: Option<&Bound<'_, PyDict>>) -> PyResult<Verdict> {
        let given = values.map_or(0, |values| values.len());
        let mut sample = Vec::with_capacity(self.names.len());
        for name in &self.names {
            if let Some(value) = values.map(|values| values.get_item(name)).transpose()?.flatten() {
                sample.push(value.extract::<f64>()?);
            }
        }
        if sample.len() != self.names.len() || given != sample.len() {
            let wanted = self.formula.signals().join(", ");
            let message =
                format!("the formula reads {wanted}, but {given} values were given; give exactly these by name");
            return Err(errors::exception(py, "ArgumentError", &message, |attributes| {
                attributes.set_item("argument", "values")?;
                attributes.set_item("value", values)
            }));
        }
        let verdict = lock(&self.monitor).update(time, &sample);
        verdict.map(Verdict).map_err(|error| errors::exception(py, "ArgumentError", &error.to_string(), |_| Ok(())))
    }

    /// The formula.
    #[getter]
    fn formula(&self) -> Formula {
        Formula(self.formula.clone())
    }

    /// Forgets every sample.
    fn reset(&self) {
        lock(&self.monitor).reset();
    }
}

/// A formula that a filter can judge each event by.
pub(crate) fn condition_of(value: &Bound<'_, PyAny>) -> PyResult<(Parsed, Condition)> {
    let formula = formula_of(value)?;
    let condition = Condition::new(&formula).map_err(|refused| {
        let text = formula.to_string();
        let start = text.find(refused.operator).unwrap_or(0);
        let hint = "watch it by a guard, which looks into the past";
        let message = format!("where='{text}' {refused}; {hint}");
        errors::exception(value.py(), "FormulaError", &message, |attributes| {
            attributes.set_item("span", (start, start + refused.operator.len()))?;
            attributes.set_item("text", text)?;
            attributes.set_item("hint", hint)
        })
    })?;
    Ok((formula, condition))
}

/// Raises `FormulaError` unless a formula is one that a filter can judge each event by.
#[pyfunction]
fn check_condition(formula: &Bound<'_, PyAny>) -> PyResult<()> {
    condition_of(formula).map(drop)
}

/// Adds the submodule `logic`.
pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let module = PyModule::new(parent.py(), "logic")?;
    module.add_class::<Formula>()?;
    module.add_class::<Verdict>()?;
    module.add_class::<Monitor>()?;
    module.add_function(wrap_pyfunction!(check_condition, &module)?)?;
    parent.add_submodule(&module)
}
