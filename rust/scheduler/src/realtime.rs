//! What the thread that fires asks of the system, where it is permitted; where not, it goes on and says so.

use std::fmt;

/// The scheduling class of the thread that fires.
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
    #[cfg(target_os = "linux")]
    _awake_processors: Option<std::fs::File>,
}

const SLACK: &str = "a sleep may end up to 50 us late";
const CLASS: &str = "other threads may run first, for milliseconds on a busy machine";
const PROCESSOR: &str = "the system may move the thread, which costs some microseconds each time";
const MEMORY: &str = "memory that was paged out is waited for, for milliseconds";
const AWAKE: &str = "a processor that sleeps deeply takes up to a millisecond to wake";

#[cfg(target_os = "linux")]
impl Realtime {
    /// Asks the system for all of it, for the calling thread.
    pub fn ask(&self) -> Granted {
        let mut granted = Granted::default();
        let mut refuse = |option, cost, done: std::io::Result<()>| {
            if let Err(error) = done {
                granted.refused.push(Refused { option, reason: error.to_string(), cost });
            }
        };
        // SAFETY: these options take and return plain numbers.
        refuse("timer slack", SLACK, succeeded(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) }));
        // Before the class: in that of deadlines a thread runs on all processors.
        if let Some(processor) = self.processor {
            refuse("processor", PROCESSOR, pin(processor));
        }
        if self.lock_memory {
            // SAFETY: takes plain flags.
            refuse("lock_memory", MEMORY, succeeded(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) }));
        }
        refuse("class", CLASS, self.class.enter());
        if self.awake_processors {
            match keep_processors_awake() {
                Ok(file) => granted._awake_processors = Some(file),
                Err(error) => refuse("awake_processors", AWAKE, Err(error)),
            }
        }
        // SAFETY: as above.
        let slack = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) };
        granted.slack_ns = u64::try_from(slack).ok();
        granted
    }
}

#[cfg(not(target_os = "linux"))]
impl Realtime {
    /// Asks the system for all of it, for the calling thread: on this system nothing can be had.
    pub fn ask(&self) -> Granted {
        let asked = [
            ("class", self.class != Class::Usual, CLASS),
            ("processor", self.processor.is_some(), PROCESSOR),
            ("lock_memory", self.lock_memory, MEMORY),
            ("awake_processors", self.awake_processors, AWAKE),
            ("timer slack", true, SLACK),
        ];
        let reason = "this version asks for it on Linux only";
        let refused = asked
            .into_iter()
            .filter(|(_, asked, _)| *asked)
            .map(|(option, _, cost)| Refused { option, reason: reason.to_owned(), cost })
            .collect();
        Granted { refused, slack_ns: None }
    }
}

#[cfg(target_os = "linux")]
fn succeeded(answer: libc::c_int) -> std::io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(target_os = "linux")]
fn pin(processor: usize) -> std::io::Result<()> {
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an empty set is all zeros, and the processor lies within it.
    unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(processor, &mut set);
        succeeded(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set))
    }
}

#[cfg(target_os = "linux")]
fn keep_processors_awake() -> std::io::Result<std::fs::File> {
    use std::io::Write;

    // It holds as long as the file is open.
    let mut file = std::fs::OpenOptions::new().write(true).open("/dev/cpu_dma_latency")?;
    file.write_all(&0_i32.to_ne_bytes())?;
    Ok(file)
}

#[cfg(target_os = "linux")]
impl Class {
    fn enter(self) -> std::io::Result<()> {
        match self {
            Self::Usual => Ok(()),
            Self::Fifo { priority } => {
                // SAFETY: all zeros are valid parameters.
                let mut parameters = unsafe { std::mem::zeroed::<libc::sched_param>() };
                parameters.sched_priority = i32::from(priority);
                // SAFETY: the parameters are valid; 0 is the calling thread.
                succeeded(unsafe {
                    libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameters)
                })
            }
            Self::Deadline { runtime_ns, period_ns } => {
                let attributes = libc::sched_attr {
                    size: size_of::<libc::sched_attr>() as u32,
                    sched_policy: libc::SCHED_DEADLINE as u32,
                    sched_flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
                    sched_nice: 0,
                    sched_priority: 0,
                    sched_runtime: runtime_ns,
                    sched_deadline: period_ns,
                    sched_period: period_ns,
                };
                // SAFETY: the attributes are valid and say how long they are; 0 is the calling thread.
                let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
                if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            }
        }
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_named_with_its_cost_and_the_rest_is_granted() {
        let asked = Realtime { processor: Some(100_000), ..Realtime::default() };
        let granted = std::thread::spawn(move || asked.ask()).join().unwrap();
        assert_eq!(granted.slack_ns, Some(1));
        let [refused] = &*granted.refused else { panic!("{:?}", granted.refused) };
        assert_eq!(refused.option, "processor");
        assert!(refused.to_string().contains("microseconds"), "{refused}");
    }

    #[test]
    fn a_deadline_without_runtime_is_refused_by_the_system() {
        let asked = Realtime { class: Class::Deadline { runtime_ns: 0, period_ns: 0 }, ..Realtime::default() };
        let granted = std::thread::spawn(move || asked.ask()).join().unwrap();
        assert_eq!(granted.refused[0].option, "class");
    }
}
