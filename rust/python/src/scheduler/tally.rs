//! What became of the firings of one timer, or of several that are counted together.

use crate::guard::percentiles;
use chronofabric_bus::Histogram;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts. Native starts are those of the thread that fires, Python starts those of the interpreter.
#[derive(Default)]
pub(crate) struct Tally {
    fired: AtomicU64,
    /// Ticks left out because their time had passed before the thread came to them.
    missed_ticks: AtomicU64,
    /// Firings that joined one that waited for the interpreter already.
    coalesced: AtomicU64,
    /// Firings whose call waited when the timer was cancelled, or the timers closed.
    discarded: AtomicU64,
    called: AtomicU64,
    late_starts: AtomicU64,
    late_ends: AtomicU64,
    errors: AtomicU64,
    native: Histogram,
    python: Histogram,
    completion: Histogram,
}

impl Tally {
    pub(crate) fn fired(&self, lateness_ns: i64, missed: u64) {
        self.fired.fetch_add(1, Ordering::Relaxed);
        self.missed_ticks.fetch_add(missed, Ordering::Relaxed);
        self.native.record(lateness_ns);
    }

    pub(crate) fn coalesced(&self, count: u64) {
        self.coalesced.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn discarded(&self, count: u64) {
        self.discarded.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn called(&self, lateness_ns: i64) {
        self.called.fetch_add(1, Ordering::Relaxed);
        self.python.record(lateness_ns);
    }

    /// A start later than the tolerance.
    pub(crate) fn late_start(&self) {
        self.late_starts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn completed(&self, lateness_ns: i64, tolerance_ns: i64) -> bool {
        self.completion.record(lateness_ns);
        let late = lateness_ns > tolerance_ns;
        if late {
            self.late_ends.fetch_add(1, Ordering::Relaxed);
        }
        late
    }

    pub(crate) fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = PyDict::new(py);
        for (name, count) in [
            ("fired", &self.fired),
            ("missed_ticks", &self.missed_ticks),
            ("coalesced", &self.coalesced),
            ("discarded", &self.discarded),
            ("called", &self.called),
            ("late_starts", &self.late_starts),
            ("late_ends", &self.late_ends),
            ("errors", &self.errors),
        ] {
            report.set_item(name, count.load(Ordering::Relaxed))?;
        }
        report.set_item("native_start_ns", percentiles(py, &self.native.percentiles())?)?;
        report.set_item("python_start_ns", percentiles(py, &self.python.percentiles())?)?;
        report.set_item("completion_ns", percentiles(py, &self.completion.percentiles())?)?;
        Ok(report)
    }
}
