//! Timers that fire: a wheel, and what drives it. On a real source that is a thread; on a simulated one, whoever moves the
//! time, and then there is no thread at all.
//!
//! The thread sleeps until a margin before the next instant, then looks at the clock again and again: a sleep ends some
//! microseconds late, and how many is seen only afterwards. A timer that is armed for an earlier instant calls it. One short
//! lock is held around each step of the wheel and never while an action runs, so actions may arm and cancel.
//!
//! Another thread may fire too, and wait by itself for the next instant, with a [`Margin`] of its own: one that would only be
//! woken by what fires is there without being woken. For a timer of which its action says so the thread then sleeps to the
//! end, and stands in where the other is busy.
//!
//! A periodic timer is armed again before its action runs, so that its place in the wheel is certain and an action that
//! cancels it finds it.

use crate::alarm::Alarm;
use crate::thread::spawn;
use crate::{Class, Due, Granted, Margin, MissedTicks, Realtime, Refused, SchedulerError, Spin, TimerHandle, Wheel};
use chronofabric_clock::{TimeSource, lock};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a timer does when it fires. It runs in the thread that fires all others: it must not wait.
pub trait Action: Send + Sync {
    /// Does it.
    fn fire(&self, firing: Firing);

    /// Told shortly before, when the thread that fires has woken up and waits for the instant: what it takes to run another
    /// thread can begin now. Perhaps more than once, and not where several timers are due at nearly the same time.
    fn soon(&self) {}

    /// Whether another thread waits for its instant awake, and fires it.
    fn is_awaited(&self) -> bool {
        false
    }
}

/// One firing of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firing {
    /// When it was to be.
    pub due_ns: i64,
    /// When it is.
    pub now_ns: i64,
    /// How many ticks were left out since, under [`MissedTicks::Skip`].
    pub missed: u64,
}

/// How often a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// From one tick to the next.
    pub period_ns: i64,
    /// What becomes of ticks whose time has passed.
    pub missed: MissedTicks,
}

/// Options of [`Timers`].
#[derive(Clone, Debug)]
pub struct TimersOptions {
    /// How many timers may be held.
    pub timers_max: usize,
    /// How long before an instant the thread is awake.
    pub spin: Spin,
    /// What the thread asks of the system.
    pub realtime: Realtime,
}

impl Default for TimersOptions {
    fn default() -> Self {
        Self { timers_max: 1 << 20, spin: Spin::default(), realtime: Realtime::default() }
    }
}

/// A timer that was armed. Dropping it leaves the timer as it is.
#[derive(Debug)]
pub struct Timer<A> {
    action: A,
    period: Option<Period>,
    /// Its place in the wheel; changed under the lock.
    place: AtomicU64,
}

impl<A> Timer<A> {
    /// What it does.
    pub fn action(&self) -> &A {
        &self.action
    }

    /// How often it fires, if more than once.
    pub fn period(&self) -> Option<Period> {
        self.period
    }
}

#[derive(Debug)]
struct State<A> {
    wheel: Wheel<Arc<Timer<A>>>,
    /// The instant that the thread waits for; the least where it is awake and will look by itself.
    awaited_ns: i64,
    closed: bool,
}

#[derive(Debug)]
struct Shared<A> {
    source: TimeSource,
    state: Mutex<State<A>>,
    alarm: Alarm,
    refused: Mutex<Vec<Refused>>,
    /// How many awaited timers have left the wheel and have not fired yet.
    on_their_way: AtomicUsize,
}

/// The thread that fires, and what it drops at its end.
#[derive(Debug)]
struct Thread {
    handle: JoinHandle<()>,
    runs: Receiver<()>,
}

/// For how long closing waits for the action that runs.
const FINISH: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// For how long one that another thread is firing is waited for: longer than it takes, unless that thread was stopped.
const ON_ITS_WAY: Duration = Duration::from_micros(20);

/// Timers over one time source.
///
/// ```
/// use chronofabric_clock::TimeSource;
/// use chronofabric_scheduler::{Action, Firing, Timers, TimersOptions};
/// use std::sync::atomic::{AtomicI64, Ordering};
/// use std::sync::Arc;
///
/// struct Note(Arc<AtomicI64>);
/// impl Action for Note {
///     fn fire(&self, firing: Firing) {
///         self.0.store(firing.now_ns, Ordering::Relaxed);
///     }
/// }
///
/// let source = TimeSource::simulated(0);
/// let timers = Timers::new(source.clone(), &TimersOptions::default())?;
/// let fired = Arc::new(AtomicI64::new(-1));
/// timers.arm(1_000, None, Note(Arc::clone(&fired)))?;
/// assert_eq!(timers.next_due_ns(), Some(1_000));
/// source.as_simulated().unwrap().set(1_000)?;
/// timers.fire_due();
/// assert_eq!(fired.load(Ordering::Relaxed), 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Timers<A: Action + 'static> {
    shared: Arc<Shared<A>>,
    thread: Mutex<Option<Thread>>,
    /// Whether there is a thread, or none is needed.
    started: AtomicBool,
    options: TimersOptions,
}

impl<A: Action> Timers<A> {
    /// Timers over a source. Their thread starts with the first that is armed, unless the source is simulated.
    ///
    /// # Errors
    ///
    /// [`SchedulerError::Option`] for an option that cannot be, [`SchedulerError::Thread`] where the system has no room.
    pub fn new(source: TimeSource, options: &TimersOptions) -> Result<Self, SchedulerError> {
        if let Spin::Fixed(margin_ns) = options.spin
            && !(0..=1_000_000_000).contains(&margin_ns)
        {
            let allowed = "it must be from 0 to 1 s";
            return Err(SchedulerError::Option { name: "spin", value: margin_ns, allowed });
        }
        if options.timers_max == 0 {
            return Err(SchedulerError::Option { name: "timers_max", value: 0, allowed: "it must be at least 1" });
        }
        if let Class::Fifo { priority } = options.realtime.class
            && !(1..=99).contains(&priority)
        {
            let allowed = "it must be from 1 to 99";
            return Err(SchedulerError::Option { name: "priority", value: i64::from(priority), allowed });
        }
        let wheel = Wheel::new(source.now_ns(), options.timers_max);
        let state = Mutex::new(State { wheel, awaited_ns: i64::MIN, closed: false });
        let alarm = Alarm::new().map_err(|error| SchedulerError::Thread { reason: error.to_string() })?;
        let (refused, on_their_way) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Shared { source, state, alarm, refused, on_their_way };
        let started = AtomicBool::new(shared.source.as_simulated().is_some());
        Ok(Self { shared: Arc::new(shared), thread: Mutex::default(), started, options: options.clone() })
    }

    /// The source that they take their time from.
    pub fn source(&self) -> &TimeSource {
        &self.shared.source
    }

    /// Arms a timer.
    ///
    /// # Errors
    ///
    /// [`SchedulerError::TimerLimit`], [`SchedulerError::Option`] for a period below 1 ns, [`SchedulerError::Closed`], or
    /// [`SchedulerError::Thread`]; nothing is armed then.
    pub fn arm(&self, due_ns: i64, period: Option<Period>, action: A) -> Result<Arc<Timer<A>>, SchedulerError> {
        let timer = self.timer(period, action);
        self.arm_again(&timer, due_ns)?;
        Ok(timer)
    }

    /// Makes a timer that is not armed yet.
    pub fn timer(&self, period: Option<Period>, action: A) -> Arc<Timer<A>> {
        Arc::new(Timer { action, period, place: AtomicU64::new(0) })
    }

    /// Arms a timer for another instant, whether it is armed, has fired or was cancelled.
    ///
    /// # Errors
    ///
    /// As for [`Timers::arm`]; the timer is as before then.
    pub fn arm_again(&self, timer: &Arc<Timer<A>>, due_ns: i64) -> Result<(), SchedulerError> {
        if let Some(period) = timer.period
            && period.period_ns < 1
        {
            let allowed = "it must be at least 1 ns";
            return Err(SchedulerError::Option { name: "period", value: period.period_ns, allowed });
        }
        if !self.started.load(Ordering::Acquire) {
            self.start()?;
        }
        let mut state = self.shared.lock();
        if state.closed {
            return Err(SchedulerError::Closed);
        }
        if !state.wheel.rearm(timer.place(), due_ns) {
            let place = state.wheel.arm(due_ns, Arc::clone(timer))?;
            timer.place.store(place.bits(), Ordering::Relaxed);
        }
        if due_ns < state.awaited_ns {
            // One call is enough for all that are armed before it is heard.
            state.awaited_ns = due_ns;
            drop(state);
            self.shared.alarm.call();
        }
        Ok(())
    }

    /// Takes a timer back; says whether it was armed. An action that runs at this moment goes on.
    pub fn cancel(&self, timer: &Timer<A>) -> bool {
        let cancelled = self.shared.lock().wheel.cancel(timer.place());
        // Dropped without the lock: the last reference drops the action, which may be foreign code.
        cancelled.is_some()
    }

    /// When a timer fires next, if it is armed.
    pub fn due_ns(&self, timer: &Timer<A>) -> Option<i64> {
        self.shared.lock().wheel.due_ns(timer.place())
    }

    /// How many timers are held.
    pub fn len(&self) -> usize {
        self.shared.lock().wheel.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the next timer is due, exactly: for who moves simulated time.
    pub fn next_due_ns(&self) -> Option<i64> {
        self.shared.lock().wheel.next_due_ns()
    }

    /// When the next timer is due, exactly, and which it is where that is known without looking at several: for who waits by
    /// itself.
    pub fn next(&self) -> Option<(i64, Option<Arc<Timer<A>>>)> {
        let state = self.shared.lock();
        Some((state.wheel.next_due_ns()?, state.wheel.first().cloned()))
    }

    /// Fires what is due, in the calling thread, in the order of instants and then of arming; says how many. For who moves
    /// simulated time; on other sources the thread does this, and whoever waits by itself ([`Timers::margin`]).
    pub fn fire_due(&self) -> usize {
        std::iter::from_fn(|| self.fire_next().then_some(())).count()
    }

    /// As [`Timers::fire_due`], but at most one; says whether there was one.
    pub fn fire_next(&self) -> bool {
        self.shared.fire_next(i64::MAX)
    }

    /// Fires what was due by an instant, for who then decides by what had come until then: an awaited one that another
    /// thread is firing at this moment has been fired too, unless that thread is stopped on the way.
    pub fn fire_due_by(&self, by_ns: i64) {
        while self.shared.fire_next(by_ns) {}
        let on_their_way = || self.shared.on_their_way.load(Ordering::Acquire) != 0;
        if on_their_way() {
            let started = Instant::now();
            while on_their_way() && started.elapsed() < ON_ITS_WAY {
                std::thread::yield_now();
            }
        }
    }

    /// For another thread that waits for the next instant.
    pub fn margin(&self) -> Margin {
        Margin::new(self.options.spin)
    }

    /// What was asked of the system and refused, once the thread has started.
    pub fn refused(&self) -> Vec<Refused> {
        lock(&self.shared.refused).clone()
    }

    /// Takes all timers back and ends the thread, once the action that runs has ended; says how many were armed. Called by
    /// an action, it does not wait for itself, and one that takes longer than 5 s is left behind with the thread.
    pub fn close(&self) -> usize {
        let held: Vec<_> = {
            let mut state = self.shared.lock();
            state.closed = true;
            state.wheel.drain().collect()
        };
        self.shared.alarm.call();
        let thread = lock(&self.thread).take();
        if let Some(Thread { handle, runs }) = thread
            && handle.thread().id() != std::thread::current().id()
            && runs.recv_timeout(FINISH) == Err(RecvTimeoutError::Disconnected)
        {
            // A thread that panicked has ended too.
            let _ = handle.join();
        }
        held.len()
    }

    #[cold]
    fn start(&self) -> Result<(), SchedulerError> {
        let mut thread = lock(&self.thread);
        if thread.is_none() && !self.shared.lock().closed {
            let (shared, options) = (Arc::clone(&self.shared), self.options.clone());
            let (until_end, runs): (Sender<()>, _) = channel();
            let run = move || {
                shared.run(&options);
                drop(until_end);
            };
            let started = spawn("chronofabric-timers", run);
            let handle = started.map_err(|error| SchedulerError::Thread { reason: error.to_string() })?;
            *thread = Some(Thread { handle, runs });
        }
        self.started.store(true, Ordering::Release);
        Ok(())
    }
}

impl<A: Action> Drop for Timers<A> {
    fn drop(&mut self) {
        // Told, not waited for: this may be the end of the process, or a thread that the action waits for.
        self.shared.lock().closed = true;
        self.shared.alarm.call();
    }
}

impl<A> Timer<A> {
    fn place(&self) -> TimerHandle {
        TimerHandle::from_bits(self.place.load(Ordering::Relaxed))
    }
}

impl<A: Action> Shared<A> {
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        lock(&self.state)
    }

    /// Fires the next timer that was due by an instant and is due, and says whether there was one.
    fn fire_next(&self, by_ns: i64) -> bool {
        let mut state = self.lock();
        let now_ns = self.follow(&mut state);
        let Some(due) = state.wheel.pop_due(now_ns.min(by_ns)) else { return false };
        self.fire(state, due, now_ns);
        true
    }

    /// Fires a timer, armed again before where it is periodic.
    fn fire(&self, mut state: MutexGuard<'_, State<A>>, due: Due<Arc<Timer<A>>>, now_ns: i64) {
        let (timer, firing) = state.fire(due.due_ns, due.value, now_ns);
        let is_awaited = timer.action.is_awaited();
        if is_awaited {
            // Under the lock: whoever finds it gone from the wheel sees that it is on its way.
            self.on_their_way.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        timer.action.fire(firing);
        if is_awaited {
            self.on_their_way.fetch_sub(1, Ordering::Release);
        }
    }

    /// The thread that fires.
    fn run(&self, options: &TimersOptions) {
        self.alarm.sleep_here();
        let Granted { refused, .. } = &options.realtime.ask();
        lock(&self.refused).clone_from(refused);
        let (mut margin, mut none) = (Margin::new(options.spin), Margin::new(Spin::Fixed(0)));
        loop {
            let mut state = self.lock();
            if state.closed {
                return;
            }
            let now_ns = self.follow(&mut state);
            if let Some(due) = state.wheel.pop_due(now_ns) {
                state.awaited_ns = i64::MIN;
                self.fire(state, due, now_ns);
                continue;
            }
            let until_ns = state.wheel.wake_at_ns();
            state.awaited_ns = until_ns.unwrap_or(i64::MAX);
            let soon = until_ns.is_some_and(|until_ns| until_ns.saturating_sub(now_ns) <= margin.ns());
            let next = state.wheel.first().cloned();
            drop(state);
            if let Some(timer) = &next
                && soon
            {
                timer.action.soon();
            }
            let is_awaited = next.is_some_and(|timer| timer.action.is_awaited());
            self.wait(until_ns, if is_awaited { &mut none } else { &mut margin });
        }
    }

    /// The time, which the wheel follows where it was set back. Only the system's clock can be.
    fn follow(&self, state: &mut State<A>) -> i64 {
        let now_ns = self.source.now_ns();
        if matches!(self.source, TimeSource::System) {
            state.wheel.set_back(now_ns);
        }
        now_ns
    }

    /// Waits for an instant, or for a call.
    fn wait(&self, until_ns: Option<i64>, margin: &mut Margin) {
        let Some(until_ns) = until_ns else { return self.alarm.sleep(None) };
        if let Some(sleep) = margin.sleep(&self.source, until_ns) {
            self.alarm.sleep(Some(sleep.for_ns));
            margin.learn(&self.source, sleep);
            return;
        }
        margin.watch(&self.source, until_ns, || self.alarm.is_called());
        self.alarm.sleep(Some(0));
    }
}

impl<A> State<A> {
    fn fire(&mut self, due_ns: i64, timer: Arc<Timer<A>>, now_ns: i64) -> (Arc<Timer<A>>, Firing) {
        let mut firing = Firing { due_ns, now_ns, missed: 0 };
        if let Some(period) = timer.period
            && let Some(next) = period.missed.next(due_ns, period.period_ns, now_ns)
        {
            firing.missed = next.missed;
            // There is room: this very timer has just left.
            if let Ok(place) = self.wheel.arm(next.due_ns, Arc::clone(&timer)) {
                timer.place.store(place.bits(), Ordering::Relaxed);
            }
        }
        (timer, firing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[derive(Debug)]
    struct Tell(u64, Sender<Told>);

    impl Action for Tell {
        fn fire(&self, firing: Firing) {
            let _ = self.1.send((self.0, firing));
        }
    }

    type Told = (u64, Firing);

    fn timers(source: TimeSource) -> (Timers<Tell>, Sender<Told>, Receiver<Told>) {
        let (sender, receiver) = channel();
        (Timers::new(source, &TimersOptions::default()).unwrap(), sender, receiver)
    }

    fn every(period_ns: i64, missed: MissedTicks) -> Option<Period> {
        Some(Period { period_ns, missed })
    }

    #[test]
    fn a_nearer_timer_interrupts_the_wait_for_a_farther_one() {
        let (timers, sender, fired) = timers(TimeSource::counter());
        let now_ns = timers.source().now_ns();
        let far = timers.arm(now_ns + 3_600_000 * MS, None, Tell(1, sender.clone())).unwrap();
        timers.arm(now_ns + 20 * MS, None, Tell(2, sender)).unwrap();
        let (number, firing) = fired.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((number, firing.due_ns), (2, now_ns + 20 * MS));
        assert!(firing.now_ns >= firing.due_ns);
        assert!(timers.cancel(&far) && !timers.cancel(&far));
        assert_eq!(timers.close(), 0);
    }

    #[test]
    fn an_action_is_told_that_it_comes_soon_before_it_fires() {
        struct Told(Sender<(&'static str, i64)>, TimeSource);
        impl Action for Told {
            fn fire(&self, firing: Firing) {
                let _ = self.0.send(("fires", firing.now_ns));
            }
            fn soon(&self) {
                let _ = self.0.send(("soon", self.1.now_ns()));
            }
        }
        let source = TimeSource::counter();
        for (spin, heard) in [(Spin::Fixed(100 * MS), true), (Spin::Fixed(0), false)] {
            let options = TimersOptions { spin, ..TimersOptions::default() };
            let timers = Timers::new(source.clone(), &options).unwrap();
            let (sender, told) = channel();
            let due_ns = source.now_ns() + 50 * MS;
            timers.arm(due_ns, None, Told(sender, source.clone())).unwrap();
            let first = told.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(first.0 == "soon" && first.1 < due_ns, heard);
            let fires = |(what, now_ns): &(&str, i64)| *what == "fires" && *now_ns >= due_ns;
            assert!(
                fires(&first)
                    || std::iter::from_fn(|| told.recv_timeout(Duration::from_secs(20)).ok()).any(|each| fires(&each))
            );
        }
    }

    #[test]
    fn a_thread_that_waits_by_itself_fires_and_the_other_stands_in_for_it() {
        struct Awaited(Sender<std::thread::ThreadId>);
        impl Action for Awaited {
            fn fire(&self, _: Firing) {
                let _ = self.0.send(std::thread::current().id());
            }
            fn is_awaited(&self) -> bool {
                true
            }
        }
        let source = TimeSource::counter();
        let timers = Timers::new(source.clone(), &TimersOptions::default()).unwrap();
        let (sender, told) = channel();
        let mut margin = timers.margin();
        let period = every(2 * MS, MissedTicks::CatchUp);
        let timer = timers.arm(source.now_ns() + 2 * MS, period, Awaited(sender)).unwrap();
        let (mut here, mut there) = (0, 0);
        while here < 5 || there < 5 {
            let (until_ns, next) = timers.next().unwrap();
            assert!(next.is_none_or(|next| Arc::ptr_eq(&next, &timer)));
            if there < 5 {
                // Busy, so that the other has to.
                std::thread::sleep(Duration::from_millis(5));
            } else if let Some(sleep) = margin.sleep(&source, until_ns) {
                std::thread::sleep(Duration::from_nanos(sleep.for_ns.unsigned_abs()));
                margin.learn(&source, sleep);
            } else {
                margin.watch(&source, until_ns, || false);
            }
            timers.fire_due();
            for thread in told.try_iter() {
                *(if thread == std::thread::current().id() { &mut here } else { &mut there }) += 1;
            }
        }
        assert!(timers.cancel(&timer));
    }

    #[test]
    fn who_decides_by_an_instant_sees_what_was_due_by_then_and_nothing_later() {
        let source = TimeSource::simulated(0);
        let (timers, sender, fired) = timers(source.clone());
        for due_ns in [5, 15] {
            timers.arm(due_ns, None, Tell(due_ns as u64, sender.clone())).unwrap();
        }
        source.as_simulated().unwrap().set(20).unwrap();
        let seen = |by_ns| {
            timers.fire_due_by(by_ns);
            fired.try_iter().map(|(number, firing)| (number, firing.now_ns)).collect::<Vec<_>>()
        };
        assert_eq!((seen(4), seen(10), seen(i64::MAX)), (vec![], vec![(5, 20)], vec![(15, 20)]));
    }

    #[test]
    fn who_decides_waits_for_what_another_thread_is_firing_but_not_for_ever() {
        struct Slow(Sender<()>, Mutex<Receiver<()>>);
        impl Action for Slow {
            fn fire(&self, _: Firing) {
                let _ = self.0.send(());
                let _ = lock(&self.1).recv();
            }
            fn is_awaited(&self) -> bool {
                true
            }
        }
        let timers = Timers::new(TimeSource::counter(), &TimersOptions::default()).unwrap();
        let ((begins, begun), (end, ended)) = (channel(), channel());
        timers.arm(0, None, Slow(begins, Mutex::new(ended))).unwrap();
        begun.recv().unwrap();
        let started = Instant::now();
        timers.fire_due_by(i64::MAX);
        assert!(started.elapsed() >= ON_ITS_WAY);
        end.send(()).unwrap();
        while timers.shared.on_their_way.load(Ordering::Acquire) != 0 {
            std::thread::yield_now();
        }
        timers.fire_due_by(i64::MAX);
    }

    #[test]
    fn no_timer_fires_early_or_out_of_order_on_any_real_source() {
        for source in [TimeSource::counter(), TimeSource::system()] {
            let (timers, sender, fired) = timers(source);
            let now_ns = timers.source().now_ns();
            for number in 0..200_u64 {
                let due_ns = now_ns + (number as i64 * 7_919 % 40_000) * 1_000;
                timers.arm(due_ns, None, Tell(number, sender.clone())).unwrap();
            }
            let mut last_ns = i64::MIN;
            for _ in 0..200 {
                let (_, firing) = fired.recv_timeout(Duration::from_secs(20)).unwrap();
                assert!(firing.now_ns >= firing.due_ns);
                // Those armed after their instant come as soon as they are there.
                if firing.due_ns > now_ns + 10 * MS {
                    assert!(firing.due_ns >= last_ns);
                    last_ns = firing.due_ns;
                }
            }
            assert!(timers.is_empty());
        }
    }

    #[test]
    fn simulated_time_fires_without_a_thread_and_always_alike() {
        let run = || {
            let source = TimeSource::simulated(0);
            let (timers, sender, fired) = timers(source.clone());
            timers.arm(5, every(10, MissedTicks::Skip), Tell(1, sender.clone())).unwrap();
            timers.arm(15, None, Tell(2, sender.clone())).unwrap();
            timers.arm(5, None, Tell(3, sender)).unwrap();
            let simulated = source.as_simulated().unwrap();
            while let Some(due_ns) = timers.next_due_ns().filter(|due_ns| *due_ns <= 30) {
                simulated.set(due_ns).unwrap();
                timers.fire_due();
            }
            assert!(lock(&timers.thread).is_none());
            fired.try_iter().map(|(number, firing)| (number, firing.now_ns)).collect::<Vec<_>>()
        };
        // The order of arming decides: the second tick of the periodic one was armed after the timer for the same instant.
        assert_eq!(run(), [(1, 5), (3, 5), (2, 15), (1, 15), (1, 25)]);
        assert_eq!(run(), run());
    }

    #[test]
    fn a_jump_skips_catches_up_or_delays() {
        for (missed, expected) in [
            (MissedTicks::Skip, vec![(10, 2), (40, 0)]),
            (MissedTicks::CatchUp, vec![(10, 0), (20, 0), (30, 0), (40, 0)]),
            (MissedTicks::Delay, vec![(10, 0)]),
        ] {
            let source = TimeSource::simulated(0);
            let (timers, sender, fired) = timers(source.clone());
            timers.arm(10, every(10, missed), Tell(1, sender)).unwrap();
            source.as_simulated().unwrap().set(35).unwrap();
            timers.fire_due();
            source.as_simulated().unwrap().set(40).unwrap();
            timers.fire_due();
            let seen: Vec<_> = fired.try_iter().map(|(_, firing)| (firing.due_ns, firing.missed)).collect();
            assert_eq!(seen, expected, "{missed:?}");
        }
    }

    #[test]
    fn a_timer_is_armed_again_after_it_fired_or_was_cancelled() {
        let source = TimeSource::simulated(0);
        let (timers, sender, fired) = timers(source.clone());
        let timer = timers.arm(10, None, Tell(1, sender)).unwrap();
        timers.arm_again(&timer, 20).unwrap();
        assert_eq!(timers.due_ns(&timer), Some(20));
        source.as_simulated().unwrap().set(20).unwrap();
        assert_eq!((timers.fire_due(), timers.due_ns(&timer)), (1, None));
        timers.arm_again(&timer, 25).unwrap();
        assert!(timers.cancel(&timer));
        timers.arm_again(&timer, 5).unwrap();
        assert_eq!((timers.fire_due(), fired.try_iter().count()), (1, 2));
    }

    #[test]
    fn closing_ends_the_thread_and_refuses_what_comes_after() {
        let (timers, sender, fired) = timers(TimeSource::counter());
        let far_ns = timers.source().now_ns() + 3_600_000 * MS;
        let timer = timers.arm(far_ns, None, Tell(1, sender.clone())).unwrap();
        assert_eq!(timers.close(), 1);
        assert_eq!(timers.arm_again(&timer, far_ns), Err(SchedulerError::Closed));
        assert_eq!(timers.arm(far_ns, None, Tell(2, sender)).unwrap_err(), SchedulerError::Closed);
        assert!(fired.try_recv().is_err());
        assert_eq!(timers.close(), 0);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let source = TimeSource::simulated(0);
        let (timers, sender, _fired) = timers(source.clone());
        let error = timers.arm(1, every(0, MissedTicks::Skip), Tell(1, sender)).unwrap_err();
        assert!(error.to_string().contains("period is 0"), "{error}");
        for options in [
            TimersOptions { spin: Spin::Fixed(-1), ..TimersOptions::default() },
            TimersOptions { timers_max: 0, ..TimersOptions::default() },
        ] {
            assert!(matches!(Timers::<Tell>::new(source.clone(), &options), Err(SchedulerError::Option { .. })));
        }
    }

    #[test]
    fn an_action_may_arm_cancel_and_close() {
        struct End(Arc<Timers<Chain>>, Sender<usize>);
        struct Chain(Mutex<Option<End>>);
        impl Action for Chain {
            fn fire(&self, firing: Firing) {
                let Some(End(timers, done)) = lock(&self.0).take() else { return };
                let other = timers.arm(firing.due_ns + 3_600_000 * MS, None, Chain(Mutex::default())).unwrap();
                assert!(timers.cancel(&other));
                let _ = done.send(timers.close());
            }
        }
        let timers = Arc::new(Timers::new(TimeSource::counter(), &TimersOptions::default()).unwrap());
        let (sender, done) = channel();
        let now_ns = timers.source().now_ns();
        timers.arm(now_ns, None, Chain(Mutex::new(Some(End(Arc::clone(&timers), sender))))).unwrap();
        assert_eq!(done.recv_timeout(Duration::from_secs(20)), Ok(0));
    }

    #[test]
    fn closing_leaves_an_action_behind_that_does_not_return() {
        struct Stay(Mutex<Receiver<()>>, Sender<()>);
        impl Action for Stay {
            fn fire(&self, _: Firing) {
                let _ = self.1.send(());
                let _ = lock(&self.0).recv();
            }
        }
        let timers = Timers::new(TimeSource::counter(), &TimersOptions::default()).unwrap();
        let ((leave, stay), (begun, begins)) = (channel(), channel());
        timers.arm(0, None, Stay(Mutex::new(stay), begun)).unwrap();
        begins.recv().unwrap();
        assert_eq!(timers.close(), 0);
        drop(leave);
    }
}
