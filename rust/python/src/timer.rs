//! A native source of ticks: a Rust thread that publishes at a fixed rate and never asks for the interpreter.

use crate::bus::Bus;
use crate::node::{Node, Outcome, Topic, detached, lock, outside, spawn};
use crate::payload::{Content, Record, Value};
use crate::scheduler::{Asked, refusals};
use chronofabric_bus::{Concurrent, NewEvent, Reason};
use chronofabric_scheduler::{Realtime, Refused};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

struct Shared {
    topic: Arc<Topic>,
    node: Arc<Node>,
    period_ns: i64,
    stopped: AtomicBool,
    published: AtomicU64,
    missed: AtomicU64,
    errors: AtomicU64,
}

/// The source. Each event has the fields `tick`, `lateness_ns` and `missed`.
#[pyclass(module = "chronofabric._core.bus", frozen)]
pub(crate) struct Timer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    refused: Vec<Refused>,
}

#[pymethods]
impl Timer {
    #[new]
    #[pyo3(signature = (bus, topic, period_ns, realtime = None))]
    fn new(bus: &Bound<'_, Bus>, topic: &str, period_ns: i64, realtime: Option<Asked>) -> PyResult<Self> {
        let py = bus.py();
        let node = Arc::clone(&bus.get().node);
        node.check(py)?;
        let topic = node.bus.topic(topic).map_err(|error| node.error(py, &error))?;
        node.bus.share(&topic);
        let shared = Arc::new(Shared {
            topic,
            node,
            period_ns: period_ns.max(1),
            stopped: AtomicBool::new(false),
            published: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        });
        let run = Arc::clone(&shared);
        let asked = realtime.map_or_else(Realtime::default, Realtime::from);
        let (answer, answered) = mpsc::channel();
        let thread = spawn("chronofabric-timer", move || {
            // Held until the thread ends. On simulated time nothing is late, so nothing is asked for.
            let granted = run.node.bus.source().as_simulated().is_none().then(|| asked.ask());
            let refused = granted.as_ref().map_or_else(Vec::new, |granted| granted.refused.clone());
            // Nobody is there to be told where the constructor was left meanwhile.
            let _ = answer.send(refused);
            run.run();
        })?;
        let refused = detached(py, move || answered.recv()).unwrap_or_default();
        Ok(Self { shared, thread: Mutex::new(Some(thread)), refused })
    }

    /// Stops the thread and waits for its end.
    fn stop(&self, py: Python<'_>) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(simulated) = self.shared.node.bus.source().as_simulated() {
            simulated.wake();
        }
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread.filter(|_| !self.shared.node.is_forked()) {
            // A thread that panicked has ended too.
            let _ = detached(py, || thread.join());
        }
    }

    /// What was asked of the system and refused: option, reason, cost.
    #[getter]
    fn refused(&self) -> Vec<(&'static str, String, &'static str)> {
        refusals(&self.refused)
    }

    /// Ticks that were published.
    #[getter]
    fn published(&self) -> u64 {
        self.shared.published.load(Ordering::Relaxed)
    }

    /// Ticks that were skipped because their time had passed.
    #[getter]
    fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// Ticks that the bus refused.
    #[getter]
    fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.node.bus.is_closed()
    }

    fn run(&self) {
        let source = self.node.bus.source();
        let start_ns = source.now_ns();
        let mut tick = 0_i64;
        let mut outcome = Outcome::default();
        loop {
            let due_ns = start_ns.saturating_add(tick.saturating_mul(self.period_ns));
            if !source.wait_until(due_ns, &|| self.stopped()) {
                return;
            }
            let lateness_ns = source.now_ns() - due_ns;
            let missed = lateness_ns / self.period_ns;
            self.missed.fetch_add(missed.unsigned_abs(), Ordering::Relaxed);
            let record = Record(vec![
                ("tick", Value::Integer(tick)),
                ("lateness_ns", Value::Integer(lateness_ns)),
                ("missed", Value::Integer(missed)),
            ]);
            let published = outside(|| {
                let event = NewEvent::new(Content::of_record(record));
                let published = self.topic.publish(Concurrent, event, &mut outcome);
                // Releasing a Python object here defers it to a thread that has the interpreter.
                outcome.victims.clear();
                outcome.unwanted.clear();
                published
            });
            match published {
                Ok(_) => self.published.fetch_add(1, Ordering::Relaxed),
                Err(_) if self.stopped() => return,
                Err(_) => self.errors.fetch_add(1, Ordering::Relaxed),
            };
            self.wait_for_room(&mut outcome);
            tick += 1 + missed;
        }
    }

    /// A subscription that blocks holds up the source, as long as its timeout says.
    fn wait_for_room(&self, outcome: &mut Outcome) {
        let source = self.node.bus.source();
        let started_ns = source.now_ns();
        for mut blocked in outcome.blocked.drain(..) {
            let deadline_ns = started_ns.saturating_add(blocked.subscription().options().block_timeout_ns);
            let mut pause = std::time::Duration::from_micros(20);
            while !outside(|| blocked.retry(Concurrent, &mut outcome.victims)) {
                if source.now_ns() >= deadline_ns || self.stopped() {
                    outside(|| blocked.give_up(Reason::Timeout, &mut outcome.victims));
                    break;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(std::time::Duration::from_millis(1));
            }
        }
        outside(|| outcome.victims.clear());
    }
}
