//! What a thread asks of the system, where it is permitted; where not, it goes on and says so.

use std::fs::File;
use std::{fmt, io};

#[cfg_attr(target_os = "linux", path = "realtime/linux.rs")]
#[cfg_attr(target_os = "macos", path = "realtime/macos.rs")]
#[cfg_attr(windows, path = "realtime/windows.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "macos", windows)), path = "realtime/other.rs")]
mod system;

/// The scheduling class of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// As any other thread.
    #[default]
    Usual,
    /// First in, first out, before every usual thread.
    Fifo {
        /// 1 to 99.
        priority: u8,
    },
    /// Earliest deadline first, before every other class; a thread of this class cannot be pinned.
    Deadline {
        /// How long it may run in each period.
        runtime_ns: u64,
        /// The period, which is its deadline too.
        period_ns: u64,
    },
}

/// What to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realtime {
    /// The scheduling class.
    pub class: Class,
    /// The one processor to run on.
    pub processor: Option<usize>,
    /// Keep all memory of the process from being paged out.
    pub lock_memory: bool,
    /// Keep processors from sleeping so deeply that waking takes long, by `/dev/cpu_dma_latency`.
    pub awake_processors: bool,
}

/// Something that was asked for and not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The option.
    pub option: &'static str,
    /// Why not.
    pub reason: String,
    /// What that costs.
    pub cost: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} was refused ({}): {}", self.option, self.reason, self.cost)
    }
}

/// What was granted, held as long as this lives.
#[derive(Debug, Default)]
pub struct Granted {
    /// What was refused.
    pub refused: Vec<Refused>,
    /// How far the system may put off the end of a sleep of this thread, where it says so.
    pub slack_ns: Option<u64>,
    _awake_processors: Option<File>,
}

const CLASS: &str = "other threads may run first, for milliseconds on a busy machine";
const PROCESSOR: &str = "the system may move the thread, which costs some microseconds each time";
const MEMORY: &str = "memory that was paged out is waited for, for milliseconds";
const AWAKE: &str = "a processor that sleeps deeply takes up to a millisecond to wake";

impl Class {
    /// Puts the calling thread into this class.
    ///
    /// # Errors
    ///
    /// The system does not permit it, or has none of the kind.
    pub fn enter(self) -> io::Result<()> {
        system::enter(self)
    }
}

impl Realtime {
    /// Asks the system for all of it, for the calling thread.
    pub fn ask(&self) -> Granted {
        let mut granted = Granted::default();
        let mut refuse = |option, cost, done: io::Result<()>| {
            if let Err(error) = done {
                granted.refused.push(Refused { option, reason: error.to_string(), cost });
            }
        };
        refuse("timer slack", system::SLACK, system::least_slack());
        // Before the class: in that of deadlines a thread runs on all processors.
        if let Some(processor) = self.processor {
            refuse("processor", PROCESSOR, system::pin(processor));
        }
        if self.lock_memory {
            refuse("lock_memory", MEMORY, system::lock_memory());
        }
        if self.class != Class::Usual {
            refuse("class", CLASS, self.class.enter());
        }
        if self.awake_processors {
            match system::keep_processors_awake() {
                Ok(file) => granted._awake_processors = Some(file),
                Err(error) => refuse("awake_processors", AWAKE, Err(error)),
            }
        }
        granted.slack_ns = system::slack_ns();
        granted
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "macos", windows), not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn granted(asked: Realtime) -> Granted {
        // A thread of its own, because what is granted stays with it.
        std::thread::spawn(move || asked.ask()).join().unwrap()
    }

    #[test]
    fn what_cannot_be_had_is_named_with_its_cost_and_the_rest_is_granted() {
        let granted = granted(Realtime { processor: Some(100_000), ..Realtime::default() });
        assert_eq!(granted.slack_ns, cfg!(target_os = "linux").then_some(1));
        let [refused] = &*granted.refused else { panic!("{:?}", granted.refused) };
        assert_eq!(refused.option, "processor");
        assert!(refused.to_string().contains("microseconds"), "{refused}");
    }

    #[test]
    fn a_class_is_left_as_often_as_it_is_entered() {
        std::thread::spawn(|| {
            let class = if cfg!(target_os = "macos") {
                Class::Deadline { runtime_ns: 200_000, period_ns: 1_000_000 }
            } else {
                Class::Fifo { priority: 1 }
            };
            let granted = Realtime { class, ..Realtime::default() }.ask();
            for _ in 0..3 {
                assert!(Class::Usual.enter().is_ok());
                #[cfg(target_os = "linux")]
                // SAFETY: takes and returns plain numbers.
                assert_eq!(unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK, libc::SCHED_OTHER);
                assert_eq!(class.enter().is_ok(), granted.refused.is_empty());
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_deadline_without_runtime_is_refused_by_the_system() {
        let class = Class::Deadline { runtime_ns: 0, period_ns: 0 };
        let granted = granted(Realtime { class, ..Realtime::default() });
        assert_eq!(granted.refused[0].option, "class");
    }

    #[test]
    #[cfg(windows)]
    fn windows_grants_a_priority_and_a_processor_to_everybody() {
        let class = Class::Fifo { priority: 1 };
        let asked = Realtime { class, processor: Some(0), lock_memory: true, awake_processors: true };
        let refused: Vec<_> = granted(asked).refused.into_iter().map(|refused| refused.option).collect();
        assert_eq!(refused, ["lock_memory", "awake_processors"]);
    }
}
