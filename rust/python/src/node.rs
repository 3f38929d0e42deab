//! What all objects of one node share, and what holds for the whole process: forks and threads.

use crate::errors;
use crate::groups::Groups;
use crate::payload::Content;
use crate::request::Requests;
use chronofabric_bus::{BusError, Receiver, Subscription};
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::Cell as Local;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) use chronofabric_clock::lock;
pub(crate) use chronofabric_scheduler::spawn;

pub(crate) type Bus = chronofabric_bus::Bus<Content>;
pub(crate) type Topic = chronofabric_bus::Topic<Content>;
pub(crate) type Outcome = chronofabric_bus::Outcome<Content>;
pub(crate) type Victims = chronofabric_bus::Victims<Content>;
pub(crate) type Event = chronofabric_bus::Share<Content>;
pub(crate) type Contents = chronofabric_bus::Contents<Content>;

/// How many forks lie between this process and the one that loaded the module.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Calls that wait without the interpreter at this moment; interpreter exit lets them finish.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Calls that run Python code from Rust, such as a generator given to `publish_many`; interpreter exit lets them finish,
/// because a thread that is ended inside of such code would be unwound through Rust.
static CALLING: AtomicUsize = AtomicUsize::new(0);

/// One more of what is counted, as long as it lives.
pub(crate) struct Counted(&'static AtomicUsize);

impl Counted {
    fn new(counter: &'static AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter)
    }

    /// A call that runs Python code.
    pub(crate) fn calling() -> Self {
        Self::new(&CALLING)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The shared part of a node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) bus: Bus,
    /// What was closed with the node, kept for its last report.
    pub(crate) closed: Mutex<Vec<Arc<Subscription<Content>>>>,
    pub(crate) groups: Groups,
    pub(crate) requests: Arc<Requests>,
    forks: u32,
    pid: u32,
}

impl Node {
    pub(crate) fn new(name: String, bus: Bus) -> Self {
        let forks = FORKS.load(Ordering::Relaxed);
        let (groups, requests) = (Groups::default(), Arc::new(Requests::new()));
        Self { name, bus, closed: Mutex::default(), groups, requests, forks, pid: std::process::id() }
    }

    /// Refuses to work in a forked child: the threads and the waiters of the node stayed in the parent.
    #[inline]
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if FORKS.load(Ordering::Relaxed) == self.forks { Ok(()) } else { Err(self.forked(py)) }
    }

    #[inline(always)]
    pub(crate) fn is_forked(&self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.forks
    }

    #[cold]
    fn forked(&self, py: Python<'_>) -> PyErr {
        let message = format!(
            "fabric '{}' belongs to process {}, which this process was forked from; make a new Fabric here, or start \
             processes by 'spawn'",
            self.name, self.pid
        );
        errors::exception(py, "ForkedError", &message, |attributes| {
            attributes.set_item("name", &*self.name)?;
            attributes.set_item("owner_pid", self.pid)
        })
    }

    /// What the bus refused, with the name of the node where that helps.
    #[cold]
    pub(crate) fn error(&self, py: Python<'_>, error: &BusError) -> PyErr {
        match error {
            BusError::Closed => {
                let message = format!("fabric '{}' is closed", self.name);
                errors::exception(py, "ClosedError", &message, |attributes| attributes.set_item("name", &*self.name))
            }
            _ => errors::from_bus(py, error),
        }
    }
}

/// How many forks lie between this process and the one that loaded the module.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// The numbers of threads that live, each in the place of its remainder. Where more threads live than there are places,
/// an older one may be taken for ended: then closing does not wait for it to finish what is left. Without a lock, which a
/// forked child could find taken for ever.
static LIVING: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

fn living(number: u64) -> &'static AtomicU64 {
    &LIVING[number as usize % LIVING.len()]
}

/// The number of a thread that receives or publishes: unlike an identifier of the system, never given out again.
struct Number(u64);

impl Number {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        living(number).store(number, Ordering::Release);
        Self(number)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        ENDED.fetch_add(1, Ordering::Relaxed);
        let _ = living(self.0).compare_exchange(self.0, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

thread_local! {
    static NUMBER: Number = Number::new();
    static NUMBER_HERE: Local<u64> = const { Local::new(0) };
}

/// How many numbered threads have ended.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// The calling thread as a receiver.
#[inline(always)]
pub(crate) fn receiver() -> Receiver {
    Receiver { token: thread_token(), number: thread_number }
}

/// What tells the calling thread from all others that live: the address of its control block, which lies at the start of its
/// segment (System V ABI for x86-64, thread-local storage), where asking for a thread-local variable would cost a call. The
/// next thread may get the same block, so how many have ended goes into it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[inline(always)]
fn thread_token() -> u64 {
    let block: u64;
    // SAFETY: reads one word that is there in every thread.
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) block, options(nostack, readonly, preserves_flags, pure));
    }
    block ^ ENDED.load(Ordering::Relaxed) << 48
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[inline(always)]
fn thread_token() -> u64 {
    thread_number()
}

/// The number of the calling thread; never zero, and never that of a thread that has ended.
#[inline(always)]
pub(crate) fn thread_number() -> u64 {
    match NUMBER_HERE.get() {
        0 => new_thread_number(),
        number => number,
    }
}

#[cold]
fn new_thread_number() -> u64 {
    // A thread in its last moments, whose values are gone already, receives nothing any more.
    let number = NUMBER.try_with(|number| number.0).unwrap_or(u64::MAX);
    NUMBER_HERE.set(number);
    number
}

/// The number of the calling thread, as [`Subscription::receiver`] has it.
#[pyfunction]
pub(crate) fn current_thread() -> u64 {
    thread_number()
}

/// Whether the thread of a number, other than the calling one, still lives.
pub(crate) fn is_other_thread(number: u64) -> bool {
    number != 0 && number != thread_number() && living(number).load(Ordering::Acquire) == number
}

/// The calling thread as Python's `threading.get_ident` names it; never zero.
#[inline]
pub(crate) fn thread_ident() -> u64 {
    // SAFETY: has no precondition.
    #[allow(clippy::useless_conversion)]
    u64::from(unsafe { ffi::PyThread_get_thread_ident() })
}

/// Runs `wait` without the interpreter, counted, so that interpreter exit can let it finish.
pub(crate) fn detached<T: Send>(py: Python<'_>, wait: impl FnOnce() -> T + Send) -> T {
    let _counted = Counted::new(&WAITING);
    py.detach(wait)
}

/// How many calls wait without the interpreter.
#[pyfunction]
pub(crate) fn waiting() -> usize {
    WAITING.load(Ordering::Acquire)
}

/// How many calls run Python code on behalf of one of ours.
#[pyfunction]
pub(crate) fn calling() -> usize {
    CALLING.load(Ordering::Acquire)
}

/// How many threads publish without the interpreter at this moment, and, times [`FORK`], how many forks are about to happen.
///
/// A fork comes between two such publishes: in the middle of one, the thread may hold a lock or a slot of what the whole
/// process shares, and the child would wait for a thread that it does not have.
static OUTSIDE: AtomicUsize = AtomicUsize::new(0);
const FORK: usize = 1 << 16;
/// How long a fork waits: a publish that takes longer runs a C function, and holds nothing meanwhile.
const FORK_WAITS: Duration = Duration::from_millis(100);

/// Does what a thread does without the interpreter to what it shares with others: publish, and drop what may be Python's.
pub(crate) fn outside<T>(body: impl FnOnce() -> T) -> T {
    while OUTSIDE.fetch_add(1, Ordering::SeqCst) >= FORK {
        OUTSIDE.fetch_sub(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(50));
    }
    let result = body();
    OUTSIDE.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Told by `os.register_at_fork` before a fork.
#[pyfunction]
pub(crate) fn forking(py: Python<'_>) {
    OUTSIDE.fetch_add(FORK, Ordering::SeqCst);
    let is_busy = || !OUTSIDE.load(Ordering::SeqCst).is_multiple_of(FORK);
    if is_busy() {
        detached(py, || {
            let started = Instant::now();
            while is_busy() && started.elapsed() < FORK_WAITS {
                std::thread::sleep(Duration::from_micros(50));
            }
        });
    }
}

/// Told by `os.register_at_fork` in the parent.
#[pyfunction]
pub(crate) fn fork_over() {
    OUTSIDE.fetch_sub(FORK, Ordering::SeqCst);
}

/// Told by `os.register_at_fork` in the child: of all threads only the calling one is here, and it is the main one.
#[pyfunction]
pub(crate) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    OUTSIDE.store(0, Ordering::SeqCst);
    WAITING.store(0, Ordering::Release);
    CALLING.store(0, Ordering::Release);
    crate::waiting::be_main_thread();
}
