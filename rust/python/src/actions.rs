//! The thread that writes log lines and starts commands for guards, so that a guard never waits for either.

use crate::node::{lock, spawn};
use chronofabric_bus::Histogram;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many actions may wait.
const WAITING_MAX: usize = 1024;
/// How many commands may run at a time.
const RUNNING_MAX: usize = 16;
/// How often running commands are looked after.
const REAP: Duration = Duration::from_millis(50);

/// What is to be done.
pub(crate) enum Work {
    /// Write a line to standard error.
    Log(String),
    /// Start a program with these additions to its environment.
    Command { program: Arc<[String]>, environment: Vec<(&'static str, String)> },
}

/// One action, with how to tell when it began.
pub(crate) struct Action {
    pub(crate) work: Work,
    pub(crate) tally: Arc<Tally>,
    pub(crate) caused_ns: i64,
    pub(crate) source: chronofabric_clock::TimeSource,
}

/// What became of the actions of one guard in this thread.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) lateness: Histogram,
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) error: Mutex<Option<String>>,
}

impl Tally {
    fn fail(&self, error: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *lock(&self.error) = Some(error);
    }
}

/// The thread.
pub(crate) struct Worker {
    queue: Mutex<Option<SyncSender<Action>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (queue, actions) = sync_channel(WAITING_MAX);
        let thread = spawn("chronofabric-actions", move || run(&actions))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Hands an action over without waiting; a full queue counts as a failure of the action.
    pub(crate) fn hand_over(&self, action: Action) {
        let queue = lock(&self.queue);
        let refused = match queue.as_ref().map(|queue| queue.try_send(action)) {
            Some(Err(TrySendError::Full(action))) => action,
            Some(Err(TrySendError::Disconnected(action))) => action,
            Some(Ok(())) | None => return,
        };
        refused.tally.fail(format!("{WAITING_MAX} actions wait already; this one was dropped"));
    }

    /// Finishes what was handed over, then ends the thread. Commands that still run are left running.
    pub(crate) fn stop(&self) {
        drop(lock(&self.queue).take());
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

fn run(actions: &Receiver<Action>) {
    let mut running: Vec<(Child, Arc<Tally>)> = Vec::new();
    loop {
        match actions.recv_timeout(REAP) {
            Ok(action) => act(action, &mut running),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return reap(&mut running),
        }
        reap(&mut running);
    }
}

fn act(action: Action, running: &mut Vec<(Child, Arc<Tally>)>) {
    let Action { work, tally, caused_ns, source } = action;
    tally.lateness.record(source.now_ns() - caused_ns);
    match work {
        Work::Log(line) => {
            if let Err(error) = writeln!(std::io::stderr(), "{line}") {
                return tally.fail(format!("the line could not be written: {error}"));
            }
            tally.done.fetch_add(1, Ordering::Relaxed);
        }
        Work::Command { program, environment } => {
            if running.len() >= RUNNING_MAX {
                return tally.fail(format!("{RUNNING_MAX} commands run already; this one was not started"));
            }
            let Some((name, arguments)) = program.split_first() else { return };
            let mut command = Command::new(name);
            command.args(arguments).envs(environment).stdin(Stdio::null());
            match command.spawn() {
                Ok(child) => running.push((child, tally)),
                Err(error) => tally.fail(format!("'{name}' could not be started: {error}")),
            }
        }
    }
}

/// Takes note of the commands that have ended.
fn reap(running: &mut Vec<(Child, Arc<Tally>)>) {
    running.retain_mut(|(child, tally)| match child.try_wait() {
        Ok(None) => true,
        Ok(Some(status)) if status.success() => {
            tally.done.fetch_add(1, Ordering::Relaxed);
            false
        }
        Ok(Some(status)) => {
            tally.fail(format!("the command ended with {status}"));
            false
        }
        Err(error) => {
            tally.fail(format!("the command was lost: {error}"));
            false
        }
    });
}
