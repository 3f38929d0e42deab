//! Execution times as Python learns and reads them.

use super::tasks::{HALF_LIFE, summary};
use crate::guard::percentiles;
use crate::node::lock;
use chronofabric_scheduler::ExecutionTime as Core;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Mutex;

/// The execution times of one function.
#[pyclass(module = "chronofabric._core.scheduler", frozen)]
pub(crate) struct ExecutionTime(Mutex<Core>);

#[pymethods]
impl ExecutionTime {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(Core::new(HALF_LIFE)))
    }

    /// Takes note of one execution; a clock that went back meanwhile counts as no time.
    fn observe(&self, duration_ns: i64) {
        lock(&self.0).observe(u64::try_from(duration_ns).unwrap_or(0));
    }

    /// The duration within which a share of the executions ended; none before the first.
    fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        lock(&self.0).quantile_ns(quantile)
    }

    /// Its count and quantiles, and the longest.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let summary = summary(&lock(&self.0));
        percentiles(py, &summary)
    }
}
