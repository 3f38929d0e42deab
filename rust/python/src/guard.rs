//! Guards: a formula over the fields of events, evaluated before the event is enqueued, and what is done when it fires.
//!
//! A guard fires once when its verdict becomes true (`when`) or false (`must`), and is armed again when the verdict has
//! turned back past the hysteresis. Evaluation happens inside the topic's critical section and touches no Python; fields
//! are read before it, actions run after it, in the publishing thread. Log lines and commands go to a thread of their own.

use crate::actions::{Action, Tally, Work, Worker};
use crate::errors;
use crate::field::Field;
use crate::flag::Flag;
use crate::logic::formula_of;
use crate::node::{Node, Outcome, Topic, lock};
use crate::pattern::pattern_of;
use crate::payload::{Content, Record, Value, View};
use chronofabric_bus::{
    Concurrent, Firing, Histogram, NewEvent, Observed, Pattern, Percentiles, Tap, TapFactory, TapId, TopicInfo, Values,
};
use chronofabric_logic::{Formula, Monitor, MonitorOptions, Verdict};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The dead zones of a guard and what it judges.
struct Rule {
    formula: Formula,
    /// `true` for `when`: fires on satisfaction; `false` for `must`: fires on violation.
    fires_when: bool,
    hysteresis: f64,
    max_samples: usize,
}

/// Which topics a guard reads.
enum Scope {
    /// Each topic of a pattern by itself.
    Pattern(Pattern),
    /// Signals of several topics together: for each the topic and where its value goes.
    Signals(Vec<(String, usize)>),
}

/// What a guard does when it fires, beside publishing on its own topic.
#[derive(Default)]
struct Actions {
    publish: Option<Arc<Topic>>,
    flag: Option<Py<Flag>>,
    function: Option<extern "C" fn(i64, f64)>,
    /// What keeps the function where it is.
    _keep: Option<Py<PyAny>>,
    log: bool,
    command: Option<Arc<[String]>>,
}

struct Core {
    name: String,
    rule: Rule,
    fields: Vec<Field>,
    scope: Scope,
    node: Arc<Node>,
    fired_topic: Arc<Topic>,
    robustness_topic: Option<Arc<Topic>>,
    actions: Actions,
    worker: Option<Arc<Worker>>,
    deadline_ns: Option<i64>,
    joint: Arc<Mutex<State>>,
    evaluated: AtomicU64,
    fired: AtomicU64,
    errors: AtomicU64,
    late: AtomicU64,
    last_robustness: AtomicU64,
    last_error: Mutex<Option<String>>,
    lateness: Histogram,
    tally: Arc<Tally>,
}

/// The monitor of one topic, or of several signals together.
struct State {
    monitor: Monitor,
    armed: bool,
    /// The newest value of each signal, NaN before the first.
    values: Vec<f64>,
    newest_ns: i64,
}

impl Rule {
    fn state(&self) -> State {
        let options = MonitorOptions { max_samples: self.max_samples };
        let values = vec![f64::NAN; self.formula.signals().len()];
        State { monitor: Monitor::new(&self.formula, options), armed: true, values, newest_ns: i64::MIN }
    }

    /// Whether the guard fires at this verdict.
    fn judge(&self, state: &mut State, robustness: f64, satisfied: bool) -> bool {
        let holds = satisfied == self.fires_when;
        if state.armed {
            state.armed = !holds;
            return holds;
        }
        let back = if self.fires_when { -robustness } else { robustness };
        state.armed = !holds && back >= self.hysteresis;
        false
    }
}

impl Core {
    #[cold]
    fn fail(&self, error: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_error) = Some(error);
    }

    /// The value of a field, or why there is none.
    fn field(&self, content: &Content, index: usize) -> Result<f64, String> {
        let Some(field) = self.fields.get(index) else { return Err("no such field".to_owned()) };
        let value = match content.view() {
            View::Record(record) => {
                record.number(&field.name).ok_or_else(|| format!("there is no field '{}'", field.name))
            }
            View::Held(held) => held.number(&field.name).ok_or_else(|| format!("there is no number '{}'", field.name)),
            View::Object(object) => crate::event_type::attached(|py| field.read(object.bind(py))),
            View::Batch(_) => Err("a batch is judged event by event".to_owned()),
        };
        match value {
            Ok(value) if value.is_nan() => Err(format!("field '{}' is not a number (NaN)", field.name)),
            value => value,
        }
    }

    fn evaluate(&self, state: &mut State, event: &Observed) -> Option<Firing> {
        // Events of several topics may arrive in another order than that of their times.
        state.newest_ns = state.newest_ns.max(event.time_ns);
        let verdict = state.monitor.update(state.newest_ns, &state.values);
        self.evaluated.fetch_add(1, Ordering::Relaxed);
        match verdict {
            Ok(Verdict::Known { robustness, satisfied }) => {
                self.last_robustness.store(robustness.to_bits(), Ordering::Relaxed);
                let fires = self.rule.judge(state, robustness, satisfied);
                (fires || self.robustness_topic.is_some()).then_some(Firing { robustness, fires })
            }
            Ok(Verdict::Unknown) => None,
            Err(error) => {
                self.fail(error.to_string());
                None
            }
        }
    }

    fn fire(&self, topic: &TopicInfo, event: &Observed, firing: Firing, outcome: &mut Outcome) {
        if firing.fires {
            self.act(topic, event, firing.robustness, outcome);
        }
        if let Some(target) = &self.robustness_topic {
            let record = Record(vec![("value", Value::Number(firing.robustness)), self.topic_field(topic)]);
            self.publish(target, record, event, outcome);
        }
    }

    fn topic_field(&self, topic: &TopicInfo) -> (&'static str, Value) {
        ("topic", Value::Text(topic.name().into()))
    }

    fn act(&self, topic: &TopicInfo, event: &Observed, robustness: f64, outcome: &mut Outcome) {
        let source = self.node.bus.source();
        let lateness_ns = source.now_ns() - event.entered_ns;
        if let Some(flag) = &self.actions.flag {
            flag.get().raise();
        }
        if let Some(function) = self.actions.function {
            function(event.time_ns, robustness);
        }
        self.fired.fetch_add(1, Ordering::Relaxed);
        self.lateness.record(lateness_ns);
        if self.deadline_ns.is_some_and(|deadline| lateness_ns > deadline) {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        for target in [Some(&self.fired_topic), self.actions.publish.as_ref()].into_iter().flatten() {
            let record = Record(vec![
                ("guard", Value::Text(self.name.as_str().into())),
                self.topic_field(topic),
                ("robustness", Value::Number(robustness)),
                ("time", Value::Integer(event.time_ns)),
            ]);
            self.publish(target, record, event, outcome);
        }
        self.hand_over(topic, event, robustness);
    }

    fn publish(&self, target: &Topic, record: Record, event: &Observed, outcome: &mut Outcome) {
        let new = NewEvent { time_ns: Some(event.time_ns), ..NewEvent::new(Content::of_record(record)) };
        if let Err(error) = target.publish(Concurrent, new, outcome) {
            self.fail(error.to_string());
        }
    }

    fn hand_over(&self, topic: &TopicInfo, event: &Observed, robustness: f64) {
        let Some(worker) = &self.worker else { return };
        let give = |work| {
            let (tally, source) = (Arc::clone(&self.tally), self.node.bus.source().clone());
            worker.hand_over(Action { work, tally, caused_ns: event.entered_ns, source });
        };
        if self.actions.log {
            let (time, name, topic) = (utc(event.time_ns), &self.name, topic.name());
            give(Work::Log(format!("{time} guard '{name}' fired on {topic}, robustness {robustness:.6}")));
        }
        if let Some(program) = &self.actions.command {
            let environment = vec![
                ("CHRONOFABRIC_GUARD", self.name.clone()),
                ("CHRONOFABRIC_TOPIC", topic.name().to_owned()),
                ("CHRONOFABRIC_ROBUSTNESS", robustness.to_string()),
                ("CHRONOFABRIC_TIME", event.time_ns.to_string()),
            ];
            give(Work::Command { program: Arc::clone(program), environment });
        }
    }
}

/// The guard of one topic of a pattern.
struct OneTopic {
    core: Arc<Core>,
    topic: Box<TopicInfo>,
    state: Mutex<State>,
}

/// The part of a guard over several signals that one topic feeds.
struct OneOfSeveral {
    core: Arc<Core>,
    topic: Box<TopicInfo>,
    signals: Vec<usize>,
}

/// Reads some fields of a payload, or counts why it cannot.
fn sample(
    core: &Core,
    topic: &TopicInfo,
    content: &Content,
    fields: impl Iterator<Item = usize>,
    values: &mut Values,
) -> bool {
    for index in fields {
        match core.field(content, index) {
            Ok(value) => values.push(value),
            Err(error) => {
                core.fail(format!("an event on '{}' cannot be judged: {error}", topic.name()));
                return false;
            }
        }
    }
    true
}

impl Tap<Content> for OneTopic {
    fn sample(&self, payload: &Content, values: &mut Values) -> bool {
        sample(&self.core, &self.topic, payload, 0..self.core.fields.len(), values)
    }

    fn evaluate(&self, event: &Observed, values: &[f64]) -> Option<Firing> {
        let mut state = lock(&self.state);
        state.values.copy_from_slice(values);
        self.core.evaluate(&mut state, event)
    }

    fn fire(&self, event: &Observed, firing: Firing, outcome: &mut Outcome) {
        self.core.fire(&self.topic, event, firing, outcome);
    }
}

impl Tap<Content> for OneOfSeveral {
    fn sample(&self, payload: &Content, values: &mut Values) -> bool {
        sample(&self.core, &self.topic, payload, self.signals.iter().copied(), values)
    }

    fn evaluate(&self, event: &Observed, values: &[f64]) -> Option<Firing> {
        let mut state = lock(&self.core.joint);
        for (index, value) in self.signals.iter().zip(values) {
            state.values[*index] = *value;
        }
        if state.values.iter().any(|value| value.is_nan()) {
            return None;
        }
        self.core.evaluate(&mut state, event)
    }

    fn fire(&self, event: &Observed, firing: Firing, outcome: &mut Outcome) {
        self.core.fire(&self.topic, event, firing, outcome);
    }
}

struct Factory(Arc<Core>);

impl TapFactory<Content> for Factory {
    fn tap(&self, topic: &TopicInfo) -> Option<Arc<dyn Tap<Content>>> {
        let core = Arc::clone(&self.0);
        // A guard does not watch what it publishes itself.
        let own = [Some(&core.fired_topic), core.robustness_topic.as_ref(), core.actions.publish.as_ref()];
        if own.into_iter().flatten().any(|own| own.info().name() == topic.name()) {
            return None;
        }
        let copy = || Some(Box::new(TopicInfo::new(topic.name(), topic.node()).ok()?));
        match &core.scope {
            Scope::Pattern(pattern) => {
                // A wildcard that was not meant for guards does not reach them: otherwise guards would judge each other's
                // events, and their number would grow with every level.
                let of_guards = topic.name().starts_with("guard/");
                let meant = |part: &Pattern| !of_guards || part.text().starts_with("guard");
                let matches = pattern.parts().iter().any(|part| part.matches(topic.name()) && meant(part));
                let watched = matches.then(copy)??;
                let state = Mutex::new(core.rule.state());
                Some(Arc::new(OneTopic { core, topic: watched, state }))
            }
            Scope::Signals(signals) => {
                let fed: Vec<_> =
                    signals.iter().filter(|(name, _)| name == topic.name()).map(|(_, index)| *index).collect();
                if fed.is_empty() {
                    return None;
                }
                Some(Arc::new(OneOfSeveral { topic: copy()?, core, signals: fed }))
            }
        }
    }
}

/// A guard, as Python holds it.
#[pyclass(module = "chronofabric._core.bus", frozen, subclass, weakref)]
pub(crate) struct Guard {
    core: Arc<Core>,
    id: TapId,
}

/// An address as a C function `void f(int64_t time_ns, double robustness)`.
#[allow(unsafe_code)]
pub(crate) fn function_at(py: Python<'_>, address: usize) -> PyResult<extern "C" fn(i64, f64)> {
    if address == 0 {
        let value = 0_i32.into_pyobject(py)?;
        return Err(errors::argument(py, "function", value.as_any(), "it must be the address of a C function"));
    }
    // SAFETY: the caller of `Guard` states that a function `void (int64_t, double)` that may be called from any thread lies
    // at this address and outlives the guard; an address cannot be checked further.
    Ok(unsafe { std::mem::transmute::<usize, extern "C" fn(i64, f64)>(address) })
}

#[pymethods]
impl Guard {
    #[new]
    #[pyo3(signature = (bus, name, *, on, signals, formula, fires_when, hysteresis, max_samples, deadline_ns, robustness,
                        publish, flag, function, log, command, keep = None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        bus: &Bound<'_, crate::bus::Bus>,
        name: &str,
        on: Option<&Bound<'_, PyAny>>,
        signals: Option<Vec<(String, String, String)>>,
        formula: &Bound<'_, PyAny>,
        fires_when: bool,
        hysteresis: f64,
        max_samples: usize,
        deadline_ns: Option<i64>,
        robustness: bool,
        publish: Option<&str>,
        flag: Option<Py<Flag>>,
        function: Option<usize>,
        log: bool,
        command: Option<Vec<String>>,
        keep: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let py = bus.py();
        let node = Arc::clone(&bus.get().node);
        node.check(py)?;
        let formula = formula_of(formula)?;
        let (scope, fields) = match (on, signals) {
            (Some(on), None) => {
                let fields = formula.signals().iter().map(|name| Field::new(py, name)).collect();
                (Scope::Pattern(pattern_of(on)?), fields)
            }
            (None, Some(signals)) => joint_scope(py, &formula, &signals)?,
            _ => {
                let value = name.into_pyobject(py)?;
                return Err(errors::argument(
                    py,
                    "guard",
                    value.as_any(),
                    "give either on=pattern or signals={name: topic}",
                ));
            }
        };
        let topic = |name: &str| node.bus.topic(name).map_err(|error| node.error(py, &error));
        let fired_topic = topic(&format!("guard/{name}"))?;
        let robustness_topic = robustness.then(|| topic(&format!("guard/{name}/robustness"))).transpose()?;
        let function = function.map(|address| function_at(py, address)).transpose()?;
        let actions = Actions {
            publish: publish.map(topic).transpose()?,
            flag,
            function,
            _keep: keep,
            log,
            command: command.map(Arc::from),
        };
        // They are published on by whoever publishes what the guard watches, with or without the interpreter.
        for target in [Some(&fired_topic), robustness_topic.as_ref(), actions.publish.as_ref()].into_iter().flatten() {
            node.bus.share(target);
        }
        let worker = if actions.log || actions.command.is_some() { Some(bus.get().worker()?) } else { None };
        let rule = Rule { formula, fires_when, hysteresis, max_samples };
        let core = Arc::new(Core {
            name: name.to_owned(),
            joint: Arc::new(Mutex::new(rule.state())),
            rule,
            fields,
            scope,
            node: Arc::clone(&node),
            fired_topic,
            robustness_topic,
            actions,
            worker,
            deadline_ns,
            evaluated: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            late: AtomicU64::new(0),
            last_robustness: AtomicU64::new(f64::NAN.to_bits()),
            last_error: Mutex::default(),
            lateness: Histogram::default(),
            tally: Arc::default(),
        });
        let id = node.bus.add_taps(Arc::new(Factory(Arc::clone(&core)))).map_err(|error| node.error(py, &error))?;
        Ok(Self { core, id })
    }

    /// Its name; it fires on `guard/<name>`.
    #[getter]
    fn name(&self) -> &str {
        &self.core.name
    }

    /// How often it fired.
    #[getter]
    fn fired(&self) -> u64 {
        self.core.fired.load(Ordering::Relaxed)
    }

    /// Takes the guard away.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.core.node.check(py)?;
        self.core.node.bus.remove_taps(self.id);
        Ok(())
    }

    /// Its figures, as a dictionary.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let core = &self.core;
        core.node.check(py)?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let robustness = f64::from_bits(count(&core.last_robustness));
        let error = lock(&core.last_error).clone().or_else(|| lock(&core.tally.error).clone());
        let report = PyDict::new(py);
        report.set_item("name", &core.name)?;
        report.set_item("formula", core.rule.formula.to_string())?;
        report.set_item("evaluated", count(&core.evaluated))?;
        report.set_item("fired", count(&core.fired))?;
        report.set_item("errors", count(&core.errors) + count(&core.tally.failed))?;
        report.set_item("error", error)?;
        report.set_item("deadline_ns", core.deadline_ns)?;
        report.set_item("late", count(&core.late))?;
        report.set_item("last_robustness", (!robustness.is_nan()).then_some(robustness))?;
        report.set_item("lateness_ns", percentiles(py, &core.lateness.percentiles())?)?;
        report.set_item("handed_over_ns", percentiles(py, &core.tally.lateness.percentiles())?)?;
        Ok(report)
    }

    fn __repr__(&self) -> String {
        format!("Guard('{}', {:?}, fired={})", self.core.name, self.core.rule.formula.to_string(), self.fired())
    }
}

/// Which signal of a formula comes from which topic and field.
fn joint_scope(
    py: Python<'_>,
    formula: &Formula,
    signals: &[(String, String, String)],
) -> PyResult<(Scope, Vec<Field>)> {
    let mut scope = Vec::new();
    let mut fields = Vec::new();
    for (index, wanted) in formula.signals().iter().enumerate() {
        let Some((_, topic, field)) = signals.iter().find(|(name, _, _)| name == wanted) else {
            let message = format!("the formula reads '{wanted}', which signals= does not name");
            return Err(errors::exception(py, "GuardError", &message, |_| Ok(())));
        };
        chronofabric_bus::validate_topic(topic).map_err(|error| errors::from_bus(py, &error))?;
        scope.push((topic.clone(), index));
        fields.push(Field::new(py, field));
    }
    match signals.iter().find(|(name, _, _)| !formula.signals().contains(name)) {
        None => Ok((Scope::Signals(scope), fields)),
        Some((name, _, _)) => {
            let message = format!("signals= names '{name}', which the formula does not read");
            Err(errors::exception(py, "GuardError", &message, |_| Ok(())))
        }
    }
}

/// A summary of durations as a dictionary.
pub(crate) fn percentiles<'py>(py: Python<'py>, summary: &Percentiles) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    named.set_item("count", summary.count)?;
    named.set_item("p50", summary.p50_ns)?;
    named.set_item("p90", summary.p90_ns)?;
    named.set_item("p99", summary.p99_ns)?;
    named.set_item("max", summary.max_ns)?;
    Ok(named)
}

/// An instant in ISO 8601, to the millisecond (civil-from-days, H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn utc(time_ns: i64) -> String {
    let (days, of_day) = (time_ns.div_euclid(86_400_000_000_000), time_ns.rem_euclid(86_400_000_000_000));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let ms = of_day / 1_000_000;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}
