//! Publishing in the critical section of a topic that is guarded or keeps events.

use super::{DEPTH_MAX, Firing, Judgements, NewEvent, Observed, Outcome, Route, Topic, Values};
use crate::cell::Payload;
use crate::error::BusError;
use crate::snapshot::Loaded;
use crate::sync::lock;
use chronofabric_clock::Stamp;
use smallvec::SmallVec;

impl<P: Payload> Topic<P> {
    #[cold]
    #[inline(never)]
    pub(super) fn publish_in_section(
        &self,
        route: &Route<P>,
        mut judgements: Judgements<P>,
        event: NewEvent<P>,
        outcome: &mut Outcome<P>,
    ) -> Result<Stamp, Box<BusError>> {
        if outcome.depth >= DEPTH_MAX {
            return Err(Box::new(BusError::GuardLoop { topic: self.info.name().into() }));
        }
        let core = &*self.core;
        // Reading fields may run foreign code and so comes before the critical section.
        let mut samples: SmallVec<[Option<Values>; 2]> = SmallVec::new();
        for tap in &route.taps {
            let mut values = Values::new();
            samples.push(tap.sample(&event.payload, &mut values).then_some(values));
        }
        let mut firings: SmallVec<[(usize, Firing); 2]> = SmallVec::new();
        let (mut judged, mut reloaded): (Option<Loaded<_>>, Option<Loaded<_>>) = (None, None);
        let mut retained = lock(&self.section);
        // Who has subscribed since has been given what is kept, and gets this too, once it was judged for it as well.
        loop {
            if !route.retaining {
                break;
            }
            let now = self.route.load();
            let before: &Route<P> = judged.as_ref().map_or(route, |judged| judged);
            if now.leads_where(before) || (!now.filtered && judgements.is_empty()) {
                reloaded = Some(now);
                break;
            }
            drop(retained);
            judgements = now.judge_further(before, judgements, &event.payload);
            judged = Some(now);
            retained = lock(&self.section);
        }
        let arranged: &Route<P> = reloaded.as_ref().map_or(route, |reloaded| reloaded);
        let entered_ns = core.source.now_ns();
        let stamp = core.clock.now_at(entered_ns).map_err(BusError::clock)?;
        let time_ns = self.not_before_last(event.time_ns, entered_ns);
        let observed = Observed { stamp, time_ns, entered_ns };
        for (index, (tap, values)) in route.taps.iter().zip(&samples).enumerate() {
            if let Some(firing) = values.as_ref().and_then(|values| tap.evaluate(&observed, values)) {
                firings.push((index, firing));
            }
        }
        let retain = event.retain;
        let parts = event.parts(observed, false, arranged.deadline_ns);
        if arranged.retaining && retained.wants(retain) {
            retained.keep(&core.retention, &self.info, &parts, &mut outcome.victims);
        }
        self.push_beside(arranged, judgements, parts, entered_ns, outcome);
        drop(retained);
        drop(reloaded);
        outcome.wake();
        outcome.depth += 1;
        for (index, firing) in firings {
            route.taps[index].fire(&observed, firing, outcome);
        }
        outcome.depth -= 1;
        Ok(stamp)
    }
}
