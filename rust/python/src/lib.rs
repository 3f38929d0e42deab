//! `chronofabric._core`: the Rust side of chronofabric, one submodule for each concern.
//!
//! The only crate that knows PyO3. Classes are frozen and safe to share between threads, also where a free-threaded interpreter
//! has no lock. The hot calls hold the interpreter only for themselves; whatever waits lets it go.

#![deny(unsafe_code)]

mod actions;
#[allow(unsafe_code)]
mod awaitable;
mod bus;
mod causality;
mod clock;
#[allow(unsafe_code)]
mod columns;
mod errors;
#[allow(unsafe_code)]
mod event;
#[allow(unsafe_code)]
mod event_type;
#[allow(unsafe_code)]
mod field;
#[allow(unsafe_code)]
mod filter;
mod flag;
mod groups;
mod guard;
#[allow(unsafe_code)]
mod hot;
mod html;
mod logic;
#[allow(unsafe_code)]
mod node;
mod optimize;
mod pattern;
#[allow(unsafe_code)]
mod payload;
mod prepared;
mod publisher;
mod request;
mod scheduler;
mod settings;
mod subscription;
mod timer;
mod waiting;

use pyo3::prelude::*;

/// How this module was compiled: figures of a debug build would be false.
#[pyfunction]
fn build_profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    waiting::remember_main_thread(py)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(build_profile, module)?)?;
    module.add_function(wrap_pyfunction!(html::table_of_all, module)?)?;
    bus::register(module)?;
    clock::register(module)?;
    columns::register(module)?;
    logic::register(module)?;
    optimize::register(module)?;
    scheduler::register(module)?;
    settings::register(module)?;
    // So that `import chronofabric._core.bus` finds it.
    let modules = py.import("sys")?.getattr("modules")?;
    for name in ["bus", "clock", "columns", "logic", "optimize", "scheduler", "settings"] {
        modules.set_item(format!("chronofabric._core.{name}"), module.getattr(name)?)?;
    }
    Ok(())
}
