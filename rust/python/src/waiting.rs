//! Waiting without holding the interpreter.
//!
//! A wait first looks again and again for a hundred microseconds, because a wake-up costs as much, then parks. It does not
//! yield meanwhile: where others want the core, the scheduler counts that against the thread, which then runs milliseconds
//! after it was woken. Nor has it a timeout without need, because a timer costs at every wake-up. Where two threads fill and
//! empty a ring by turns, each stays awake, and yields, until the other has let go of the interpreter. The main
//! thread of Python looks for signals at least every 50 ms, so Ctrl-C ends its waits; other threads sleep until they are
//! woken. A deadline is kept by the node's own time source; under a simulated one it passes when somebody advances it.

use crate::node::{Node, detached, lock, thread_ident};
use crate::subscription::{Core, Subscription};
use chronofabric_bus::Wake;
use pyo3::prelude::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long the main thread sleeps before it looks for signals.
pub(crate) const SIGNAL_SLICE: Duration = Duration::from_millis(50);
/// How long other threads sleep.
const UNTIL_WOKEN: Duration = Duration::MAX;
/// How long a thread that serves many subscriptions sleeps before it looks for safety's sake.
pub(crate) const SLICE: Duration = Duration::from_millis(500);
/// How often a deadline on simulated time is looked at.
const SIMULATED_SLICE: Duration = Duration::from_millis(1);
/// How often the condition is looked at before the thread lets others run.
const SPINS: u32 = 100;
/// How many pauses lie between two looks after that: about a microsecond.
const PAUSES: u32 = 48;
/// How long it then looks again before it parks: about what a parked thread takes to run again.
pub(crate) const AWAKE: Duration = Duration::from_micros(100);
/// The same where a timer is about to fire: as long as the thread that fires waits awake for the instant, at most.
const TIMER_AWAKE: Duration = Duration::from_micros(250);
/// The same where a ring is about to be filled or emptied by a thread that has the interpreter.
pub(crate) const PATIENCE: Duration = Duration::from_millis(2);

static MAIN_THREAD: AtomicU64 = AtomicU64::new(0);

/// Remembers Python's main thread.
pub(crate) fn remember_main_thread(py: Python<'_>) -> PyResult<()> {
    let ident = py.import("threading")?.call_method0("main_thread")?.getattr("ident")?.extract()?;
    MAIN_THREAD.store(ident, Ordering::Relaxed);
    Ok(())
}

/// Makes the calling thread the main one: it is, in a forked child.
pub(crate) fn be_main_thread() {
    MAIN_THREAD.store(thread_ident(), Ordering::Relaxed);
}

/// Whether the calling thread is the one that runs signal handlers.
pub(crate) fn in_main_thread() -> bool {
    thread_ident() == MAIN_THREAD.load(Ordering::Relaxed)
}

/// A place for one thread to sleep.
pub(crate) struct Parker {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Parker {
    fn wake(&self, _token: u64) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Parker {
    fn here() -> Arc<Self> {
        Arc::new(Self { woken: AtomicBool::new(false), thread: std::thread::current() })
    }

    fn park(&self, timeout: Duration) {
        let started = Instant::now();
        let mut left = timeout;
        while !self.woken.swap(false, Ordering::Acquire) && !left.is_zero() {
            std::thread::park_timeout(left);
            if self.woken.swap(false, Ordering::Acquire) {
                return;
            }
            left = timeout.saturating_sub(started.elapsed());
        }
    }
}

thread_local! {
    static PARKER: Arc<Parker> = Parker::here();
    static HANDED_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Says that somebody was woken whom the next wait of this thread depends on, as one who asks and one who answers do on each
/// other by turns. That wait begins by letting others run: who was woken may be meant to run on this very core.
pub(crate) fn hand_over() {
    HANDED_OVER.set(true);
}

/// Something to wait for.
pub(crate) trait Condition: Send {
    /// Whether it has come true. May act on it, but not through Python.
    fn check(&mut self, py: Python<'_>) -> bool;
    /// Whether it is true, as far as that can be told without the interpreter.
    fn is_true(&self) -> bool;
    /// As `is_true`, while the thread is still awake: may wait for better than the least.
    fn glance(&mut self) -> bool;
    /// How long to stay awake, letting others run, before parking.
    fn awake(&self) -> Duration {
        AWAKE
    }
    /// When it comes true by itself, on the node's time source.
    fn due_ns(&self) -> Option<i64> {
        None
    }
    /// Told once the interpreter was let go, so that who acts on it finds it free, and again when it has been taken back.
    fn waits(&self, waits: bool);
    /// Told before the thread parks.
    fn parks(&self) {}
    /// Registers for a wake-up.
    fn arm(&self, wake: Arc<dyn Wake>);
    /// Takes the registration back.
    fn disarm(&self, wake: &Arc<dyn Wake>);
    /// How long to sleep at most before checking again.
    fn slice(&self) -> Duration {
        UNTIL_WOKEN
    }
}

/// Waits for a condition until a deadline in nanoseconds of the node's time source; says whether it came true.
///
/// The wake-up is registered, and the condition looked at once more, before the interpreter is let go: who changes the
/// condition with the interpreter held either does so before that look or sees the registration, and needs no fence.
///
/// # Errors
/// What a signal handler raised, such as `KeyboardInterrupt`.
pub(crate) fn wait(
    py: Python<'_>,
    node: &Node,
    condition: &mut dyn Condition,
    deadline_ns: Option<i64>,
) -> PyResult<bool> {
    let source = node.bus.source();
    let main = in_main_thread();
    let longest = condition.slice().min(if main { SIGNAL_SLICE } else { UNTIL_WOKEN });
    let parker: Arc<Parker> = PARKER.with(Arc::clone);
    let wake: Arc<dyn Wake> = Arc::<Parker>::clone(&parker);
    let mut spins = spins();
    loop {
        let left = deadline_ns.map(|deadline| deadline.saturating_sub(source.now_ns()));
        condition.arm(Arc::clone(&wake));
        if condition.check(py) {
            condition.disarm(&wake);
            return Ok(true);
        }
        if left.is_some_and(|left| left <= 0) {
            condition.disarm(&wake);
            return Ok(false);
        }
        let due = condition.due_ns().map(|due| due.saturating_sub(source.now_ns()).max(0));
        let slice = match left.into_iter().chain(due).min() {
            Some(_) if source.as_simulated().is_some() => longest.min(SIMULATED_SLICE),
            Some(left) => longest.min(Duration::from_nanos(left.unsigned_abs())),
            None => longest,
        };
        let hands_over = HANDED_OVER.take();
        detached(py, || {
            condition.waits(true);
            wait_detached(condition, &parker, spins, slice, hands_over);
        });
        condition.waits(false);
        condition.disarm(&wake);
        if main {
            py.check_signals()?;
        }
        node.check(py)?;
        if condition.check(py) {
            return Ok(true);
        }
        spins = 0;
    }
}

/// One turn of waiting, without the interpreter: stay awake, then park.
fn wait_detached(condition: &mut dyn Condition, parker: &Parker, spins: u32, left: Duration, hands_over: bool) {
    if hands_over {
        std::thread::yield_now();
    }
    let started = Instant::now();
    let awake = if spins == 0 { Duration::ZERO } else { condition.awake() };
    // Who is to sleep at once does not look either, unless somebody was woken just now who is about to answer.
    let looks = if awake.is_zero() && !hands_over { 0 } else { spins };
    for _ in 0..looks {
        if condition.glance() {
            return;
        }
        std::hint::spin_loop();
    }
    while started.elapsed() < awake.min(left) {
        // Seldom enough not to take from the other thread the cache lines, or the core, that it works with.
        for _ in 0..PAUSES {
            std::hint::spin_loop();
        }
        if awake > AWAKE {
            std::thread::yield_now();
        }
        if condition.glance() {
            return;
        }
    }
    if condition.is_true() {
        return;
    }
    condition.parks();
    parker.park(left.saturating_sub(started.elapsed()));
}

/// Spinning on a machine with one core only keeps the other thread from running.
fn spins() -> u32 {
    static SPINS_HERE: OnceLock<u32> = OnceLock::new();
    *SPINS_HERE.get_or_init(|| match std::thread::available_parallelism() {
        Ok(cores) if cores.get() == 1 => 0,
        _ => SPINS,
    })
}

/// Wake-ups for one thread or event loop that serves many subscriptions.
///
/// `watch` registers a subscription under a number; when it has something to do, the number is handed out once by `wait` or
/// `take`, and the subscription has to be watched again. An event loop watches the file descriptor, or, where it cannot,
/// gives a callable that is called from the notifying thread.
#[pyclass(module = "chronofabric._core.bus", frozen)]
pub(crate) struct Wakeups {
    shared: Arc<Shared>,
    /// Refuses to wait in a forked child, where there is one.
    node: Option<Arc<Node>>,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    changed: Condvar,
    #[cfg(unix)]
    stream: OnceLock<Stream>,
    /// Called instead, also where a loop was offered the stream and could not watch it.
    callable: OnceLock<Py<PyAny>>,
}

#[derive(Default)]
struct Inbox {
    tokens: Vec<u64>,
    due: Vec<Due>,
    /// How many threads wait for the first: to notify nobody would cost a system call all the same.
    sleepers: usize,
    /// Whether a number comes in some microseconds.
    soon: bool,
}

/// A watched subscription that has something to do at a time, although nothing is published.
struct Due {
    due_ns: i64,
    token: u64,
    core: Arc<Core>,
    node: Arc<Node>,
}

impl Due {
    /// How long until then, as far as real time can tell.
    fn left(&self) -> Duration {
        let source = self.node.bus.source();
        let left = self.due_ns.saturating_sub(source.now_ns()).max(0);
        let left = Duration::from_nanos(left.unsigned_abs());
        if source.as_simulated().is_some() { left.min(SIMULATED_SLICE) } else { left }
    }
}

/// What is written at one end makes the other one readable.
#[cfg(unix)]
struct Stream {
    read: std::os::unix::net::UnixStream,
    write: std::os::unix::net::UnixStream,
}

impl Wake for Shared {
    fn soon(&self) {
        let mut inbox = lock(&self.inbox);
        if spins() > 0 && inbox.sleepers > 0 && inbox.tokens.is_empty() {
            inbox.soon = true;
            drop(inbox);
            self.changed.notify_all();
        }
    }

    fn wake(&self, token: u64) {
        let sleepers = {
            let mut inbox = lock(&self.inbox);
            inbox.tokens.push(token);
            if inbox.tokens.len() > 1 {
                return;
            }
            inbox.sleepers
        };
        if sleepers > 0 {
            self.changed.notify_all();
        }
        let Some(callable) = self.callable.get() else {
            #[cfg(unix)]
            if let Some(Stream { write, .. }) = self.stream.get() {
                use std::io::Write;
                // A full pipe already wakes the loop.
                let _ = (&*write).write(&[1]);
            }
            return;
        };
        // Where the interpreter ends, nobody waits any more.
        let _ = Python::try_attach(|py| {
            if let Err(error) = callable.call0(py) {
                // The loop was closed; whoever waited on it is gone.
                error.write_unraisable(py, None);
            }
        });
    }
}

impl Shared {
    /// Whether there is a number to take before long, as there is where one asks again whom this thread has just answered.
    fn comes_soon(&self, longest: Duration) -> bool {
        std::thread::yield_now();
        let started = Instant::now();
        while spins() > 0 && started.elapsed() < longest {
            if !lock(&self.inbox).tokens.is_empty() {
                return true;
            }
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
        false
    }
}

impl Wakeups {
    pub(crate) fn wake(&self) -> Arc<dyn Wake> {
        Arc::<Shared>::clone(&self.shared)
    }

    /// How long until the first watched subscription has something to do by itself; `None` where none has.
    fn until_due(&self) -> Option<Duration> {
        lock(&self.shared.inbox).due.iter().map(Due::left).min()
    }
}

#[pymethods]
impl Wakeups {
    #[new]
    #[pyo3(signature = (bus = None))]
    fn new(bus: Option<&Bound<'_, crate::bus::Bus>>) -> Self {
        Self { shared: Arc::default(), node: bus.map(|bus| Arc::clone(&bus.get().node)) }
    }

    /// Registers a subscription under a number, for the next time it has something to do.
    fn watch(&self, subscription: &Bound<'_, Subscription>, token: u64) {
        let subscription = subscription.get();
        let (items, wake) = (subscription.core.items(), self.wake());
        items.arm(Arc::clone(&wake), token);
        if subscription.is_ready() {
            items.disarm(&wake, token);
            wake.wake(token);
        } else if let Some(due_ns) = subscription.core.due_ns() {
            let (core, node) = (Arc::clone(&subscription.core), Arc::clone(&subscription.node));
            lock(&self.shared.inbox).due.push(Due { due_ns, token, core, node });
        }
    }

    /// Takes a registration back.
    fn unwatch(&self, subscription: &Bound<'_, Subscription>, token: u64) {
        lock(&self.shared.inbox).due.retain(|due| due.token != token);
        subscription.get().core.items().disarm(&self.wake(), token);
    }

    /// Registers a publish that waits for room.
    fn watch_space(&self, blocked: &Bound<'_, crate::publisher::BlockedPublish>, token: u64) {
        blocked.get().arm(&self.wake(), token);
    }

    /// Takes the registration of a publish back.
    fn unwatch_space(&self, blocked: &Bound<'_, crate::publisher::BlockedPublish>, token: u64) {
        blocked.get().disarm(&self.wake(), token);
    }

    /// Registers a request that waits for its answer.
    fn watch_answer(&self, request: &Bound<'_, crate::request::Request>, token: u64) {
        request.get().arm(&self.wake(), token);
    }

    /// Takes the registration of a request back.
    fn unwatch_answer(&self, request: &Bound<'_, crate::request::Request>, token: u64) {
        request.get().disarm(&self.wake(), token);
    }

    /// Wakes who waits here, with a number of the caller's choice.
    fn wake_with(&self, token: u64) {
        self.shared.wake(token);
    }

    /// The numbers that have something to do; waits for the first.
    fn wait(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        loop {
            let tokens = self.take();
            if !tokens.is_empty() {
                return Ok(tokens);
            }
            let slice = self.until_due().map_or(SLICE, |left| left.min(SLICE));
            let hands_over = HANDED_OVER.take();
            detached(py, || {
                if hands_over && self.shared.comes_soon(AWAKE) {
                    return;
                }
                let mut inbox = lock(&self.shared.inbox);
                inbox.sleepers += 1;
                let sleeps = |inbox: &mut Inbox| inbox.tokens.is_empty() && !inbox.soon;
                let waited = self.shared.changed.wait_timeout_while(inbox, slice, sleeps);
                let mut inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
                inbox.sleepers -= 1;
                if std::mem::take(&mut inbox.soon) && inbox.tokens.is_empty() {
                    drop(inbox);
                    self.shared.comes_soon(TIMER_AWAKE);
                }
            });
            if let Some(node) = &self.node {
                node.check(py)?;
            }
        }
    }

    /// The numbers that have something to do now; also empties the file descriptor.
    fn take(&self) -> Vec<u64> {
        #[cfg(unix)]
        if let Some(Stream { read, .. }) = self.shared.stream.get() {
            use std::io::Read;
            let mut bytes = [0; 64];
            while matches!((&*read).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        }
        let mut inbox = lock(&self.shared.inbox);
        let mut tokens = std::mem::take(&mut inbox.tokens);
        if inbox.due.is_empty() {
            return tokens;
        }
        inbox.due.retain(|due| !tokens.contains(&due.token));
        let now: Vec<Due> = inbox.due.extract_if(.., |due| due.left().is_zero()).collect();
        drop(inbox);
        let wake = self.wake();
        for Due { token, core, .. } in now {
            // Handed out once, as every other.
            core.items().disarm(&wake, token);
            tokens.push(token);
        }
        tokens
    }

    /// Seconds until a watched subscription has something to do although nothing is published; `None` where none will.
    #[getter]
    fn timeout(&self) -> Option<f64> {
        self.until_due().map(|left| left.as_secs_f64())
    }

    /// A file descriptor that becomes readable when there is a number to take.
    #[cfg(unix)]
    fn fileno(&self) -> PyResult<i32> {
        use std::os::fd::AsRawFd;
        if self.shared.stream.get().is_none() {
            let (read, write) = std::os::unix::net::UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            let _ = self.shared.stream.set(Stream { read, write });
        }
        match self.shared.stream.get() {
            Some(Stream { read, .. }) => Ok(read.as_raw_fd()),
            None => Err(pyo3::exceptions::PyOSError::new_err("no stream could be kept")),
        }
    }

    /// A callable to call, from whatever thread, when there is a number to take.
    fn call(&self, callable: Py<PyAny>) {
        let _ = self.shared.callable.set(callable);
    }
}
