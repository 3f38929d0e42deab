//! Execution times as Python learns and reads them.

use crate::guard::percentiles;
use crate::node::lock;
use chronofabric_bus::Percentiles;
use chronofabric_scheduler::ExecutionTime as Core;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::num::NonZeroU32;
use std::sync::Mutex;

/// An execution weighs half as much as one so many executions later.
const HALF_LIFE: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

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

    /// How many executions were observed.
    #[getter]
    fn observations(&self) -> u64 {
        lock(&self.0).observations()
    }

    /// Its count and quantiles, and the longest.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let summary = {
            let learnt = lock(&self.0);
            // No quantile is beyond the longest, where its bucket may be.
            let longest_ns = learnt.longest_ns().unwrap_or(0);
            let quantile = |q| learnt.quantile_ns(q).unwrap_or(0).min(longest_ns);
            Percentiles {
                count: learnt.observations(),
                p50_ns: quantile(0.5),
                p90_ns: quantile(0.9),
                p99_ns: quantile(0.99),
                max_ns: longest_ns,
            }
        };
        percentiles(py, &summary)
    }
}
