//! Links between nodes: when, how often and whether a message arrives. It decides; the simulation keeps the messages.

use crate::{Chance, Delay, Fault, FaultKind, Random};

/// The most messages under way at once; what is sent beyond it is lost, and counted as congested.
pub(crate) const UNDER_WAY_MAX: usize = 1 << 22;

/// What became of everything that was sent.
///
/// The equation: sent + duplicated = arrived + lost + cut + congested + under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages that nodes sent.
    pub sent: u64,
    /// Second copies.
    pub duplicated: u64,
    /// Messages that were held up so that others might overtake them.
    pub reordered: u64,
    /// Messages that were stuck for long.
    pub straggling: u64,
    /// Messages that arrived, copies included.
    pub arrived: u64,
    /// Messages lost by chance.
    pub lost: u64,
    /// Messages that met a partition, or were sent from or to a node that is not there.
    pub cut: u64,
    /// Messages lost because too many were under way.
    pub congested: u64,
    /// Messages that have not arrived yet, copies included.
    pub under_way: u64,
}

#[derive(Clone, Debug)]
struct Link {
    delay: Delay,
    loss: Chance,
    duplication: Chance,
    reordering: Chance,
    reordering_ns_max: i64,
    straggling: Chance,
    straggling_ns: i64,
    cut: bool,
    /// When the latest message that keeps its place arrives.
    newest_ns: i64,
}

#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    links: Vec<Link>,
    delays: Random,
    losses: Random,
    copies: Random,
    reorderings: Random,
    stragglers: Random,
    pub(crate) traffic: Traffic,
}

impl Network {
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        let link = Link {
            delay: Delay::Constant(1_000_000),
            loss: Chance::NEVER,
            duplication: Chance::NEVER,
            reordering: Chance::NEVER,
            reordering_ns_max: 0,
            straggling: Chance::NEVER,
            straggling_ns: 0,
            cut: false,
            newest_ns: i64::MIN,
        };
        Self {
            nodes,
            links: vec![link; nodes * nodes],
            delays: Random::new(seed, "delay"),
            losses: Random::new(seed, "loss"),
            copies: Random::new(seed, "duplication"),
            reorderings: Random::new(seed, "reordering"),
            stragglers: Random::new(seed, "straggling"),
            traffic: Traffic::default(),
        }
    }

    /// When what is sent now arrives: never, once or twice.
    pub(crate) fn send(&mut self, now_ns: i64, from: usize, to: usize) -> [Option<i64>; 2] {
        self.traffic.sent += 1;
        let traffic = &mut self.traffic;
        let there = from < self.nodes && to < self.nodes;
        let link = if there { self.links.get_mut(from * self.nodes + to) } else { None };
        let Some(link) = link.filter(|link| !link.cut) else {
            traffic.cut += 1;
            return [None, None];
        };
        let mut arrival_ns = now_ns.saturating_add(link.delay.draw(&mut self.delays));
        let reordered = link.reordering.happens(&mut self.reorderings);
        let straggling = link.straggling.happens(&mut self.stragglers);
        if reordered {
            traffic.reordered += 1;
            arrival_ns = arrival_ns.saturating_add(self.reorderings.between(0, link.reordering_ns_max));
        }
        if straggling {
            traffic.straggling += 1;
            arrival_ns = arrival_ns.saturating_add(link.straggling_ns);
        }
        if !reordered && !straggling {
            arrival_ns = arrival_ns.max(link.newest_ns);
            link.newest_ns = arrival_ns;
        }
        let copy_ns = link.duplication.happens(&mut self.copies).then(|| {
            traffic.duplicated += 1;
            now_ns.saturating_add(link.delay.draw(&mut self.copies))
        });
        [Some(arrival_ns), copy_ns].map(|arrival_ns| {
            let arrival_ns = arrival_ns?;
            if link.loss.happens(&mut self.losses) {
                traffic.lost += 1;
            } else if traffic.under_way >= UNDER_WAY_MAX as u64 {
                traffic.congested += 1;
            } else {
                traffic.under_way += 1;
                return Some(arrival_ns);
            }
            None
        })
    }

    pub(crate) fn arrive(&mut self) {
        self.traffic.under_way -= 1;
        self.traffic.arrived += 1;
    }

    pub(crate) fn set_delay(&mut self, from: usize, to: usize, delay: Delay) {
        for link in self.between(Some((from, to))) {
            link.delay = delay;
        }
    }

    pub(crate) fn set_delays(&mut self, delay: Delay) {
        for link in self.between(None) {
            link.delay = delay;
        }
    }

    pub(crate) fn switch_on(&mut self, which: Option<(usize, usize)>, fault: &Fault) {
        if let Fault::Partition { island } = fault {
            for from in 0..self.nodes {
                for to in (0..self.nodes).filter(|to| island.contains(&from) != island.contains(to)) {
                    self.links[from * self.nodes + to].cut = true;
                }
            }
            return;
        }
        for link in self.between(which) {
            match *fault {
                Fault::Loss { chance } => link.loss = chance,
                Fault::Duplication { chance } => link.duplication = chance,
                Fault::Reordering { chance, delay_ns_max } => {
                    (link.reordering, link.reordering_ns_max) = (chance, delay_ns_max);
                }
                Fault::Straggling { chance, delay_ns } => (link.straggling, link.straggling_ns) = (chance, delay_ns),
                Fault::Partition { .. } | Fault::ClockSkew { .. } => {}
            }
        }
    }

    pub(crate) fn switch_off(&mut self, kind: FaultKind) {
        for link in &mut self.links {
            match kind {
                FaultKind::Loss => link.loss = Chance::NEVER,
                FaultKind::Duplication => link.duplication = Chance::NEVER,
                FaultKind::Reordering => link.reordering = Chance::NEVER,
                FaultKind::Straggling => link.straggling = Chance::NEVER,
                FaultKind::Partition => link.cut = false,
                FaultKind::ClockSkew => {}
            }
        }
    }

    /// One link, or all of them.
    fn between(&mut self, which: Option<(usize, usize)>) -> impl Iterator<Item = &mut Link> {
        let nodes = self.nodes;
        let wanted = move |index: usize| which.is_none_or(|(from, to)| (index / nodes, index % nodes) == (from, to));
        self.links.iter_mut().enumerate().filter(move |(index, _)| wanted(*index)).map(|(_, link)| link)
    }
}
