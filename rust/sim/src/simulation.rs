//! The world itself: what happens next, and what time it is then.

use crate::network::Network;
use crate::{Delay, EventQueue, Fault, FaultKind, Random, Traffic};
use chronofabric_clock::TimeSource;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occurrence<M> {
    /// A message reaches its node.
    Arrival {
        /// The node that sent it.
        from: usize,
        /// The node that it reaches.
        to: usize,
        /// The message.
        message: M,
    },
    /// An alarm that a node had set goes off.
    Alarm {
        /// The node.
        node: usize,
        /// What it had called the alarm.
        token: u64,
    },
}

/// Nodes, their clocks, and the network between them. See the [crate] for how a test uses it.
#[derive(Debug)]
pub struct Simulation<M> {
    seed: u64,
    time: TimeSource,
    clocks: Vec<TimeSource>,
    offsets_ns: Vec<i64>,
    queue: EventQueue<Occurrence<M>>,
    network: Network,
    random: Random,
    skews: Random,
    digest: u64,
}

impl<M: Clone> Simulation<M> {
    /// A world with so many nodes, at time 0. Every message takes 1 ms until [`Simulation::set_delays`] says otherwise.
    pub fn new(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            time: TimeSource::simulated(0),
            clocks: (0..nodes).map(|_| TimeSource::simulated(0)).collect(),
            offsets_ns: vec![0; nodes],
            queue: EventQueue::default(),
            network: Network::new(seed, nodes),
            random: Random::new(seed, "test"),
            skews: Random::new(seed, "skew"),
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// The seed that everything comes from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.clocks.len()
    }

    /// The true time, in nanoseconds.
    pub fn now_ns(&self) -> i64 {
        self.time.now_ns()
    }

    /// The clock of a node, as it was when something last happened there; the true time's for a node that is not there.
    pub fn clock(&self, node: usize) -> TimeSource {
        self.clocks.get(node).unwrap_or(&self.time).clone()
    }

    /// Randomness for the test's own decisions; no fault uses it.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Sends a message over the link between two nodes.
    pub fn send(&mut self, from: usize, to: usize, message: M) {
        let arrivals = self.network.send(self.now_ns(), from, to);
        for arrival_ns in arrivals.into_iter().flatten() {
            self.queue.push(arrival_ns, Occurrence::Arrival { from, to, message: message.clone() });
        }
    }

    /// Wakes a node after a time.
    pub fn set_alarm(&mut self, node: usize, after_ns: i64, token: u64) {
        let time_ns = self.now_ns().saturating_add(after_ns.max(0));
        self.queue.push(time_ns, Occurrence::Alarm { node, token });
    }

    /// What happens next, or nothing any more. Time moves there, and so does the clock of the node where it happens.
    pub fn step(&mut self) -> Option<Occurrence<M>> {
        let (time_ns, occurrence) = self.queue.pop()?;
        move_to(&self.time, time_ns);
        let (kind, node, other) = match &occurrence {
            Occurrence::Arrival { from, to, .. } => (0, *to, *from as u64),
            Occurrence::Alarm { node, token } => (1, *node, *token),
        };
        if let (Some(clock), Some(offset_ns)) = (self.clocks.get(node), self.offsets_ns.get(node)) {
            move_to(clock, time_ns.saturating_add(*offset_ns));
        }
        if kind == 0 {
            self.network.arrive();
        }
        for word in [time_ns.cast_unsigned(), kind, node as u64, other] {
            for byte in word.to_le_bytes() {
                self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        Some(occurrence)
    }

    /// A number for all that has happened: when, where and from whom. Equal runs have equal ones (FNV-1a).
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How long messages take on every link.
    pub fn set_delays(&mut self, delay: Delay) {
        self.network.set_delays(delay);
    }

    /// How long messages take on one link.
    pub fn set_delay(&mut self, from: usize, to: usize, delay: Delay) {
        self.network.set_delay(from, to, delay);
    }

    /// Switches a fault on, everywhere. The same fault again replaces it; partitions add up.
    pub fn switch_on(&mut self, fault: &Fault) {
        self.network.switch_on(None, fault);
        if let Fault::ClockSkew { offset_ns_max } = *fault {
            for offset_ns in &mut self.offsets_ns {
                *offset_ns = self.skews.between(offset_ns_max.saturating_neg(), offset_ns_max);
            }
        }
    }

    /// Switches a fault on for one link; partitions and clocks are not of one link, and are switched on everywhere.
    pub fn switch_on_link(&mut self, from: usize, to: usize, fault: &Fault) {
        if matches!(fault, Fault::Partition { .. } | Fault::ClockSkew { .. }) {
            self.switch_on(fault);
        } else {
            self.network.switch_on(Some((from, to)), fault);
        }
    }

    /// Switches every fault of a kind off; partitions heal. Clocks that ran ahead stand until the true time has caught up.
    pub fn switch_off(&mut self, kind: FaultKind) {
        self.network.switch_off(kind);
        if kind == FaultKind::ClockSkew {
            self.offsets_ns.fill(0);
        }
    }

    /// What became of everything that was sent.
    pub fn traffic(&self) -> Traffic {
        self.network.traffic
    }
}

/// Moves a simulated clock forward; one that is ahead stays.
fn move_to(clock: &TimeSource, time_ns: i64) {
    if let Some(simulated) = clock.as_simulated() {
        // Refused only where it would step back.
        let _ = simulated.set(time_ns);
    }
}
