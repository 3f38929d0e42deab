//! The topics of a node, and the routes between them and the subscriptions.

use crate::Victims;
use crate::books::Reason;
use crate::cell::Payload;
use crate::error::BusError;
use crate::publish::{Core, Habits, Route, Tap, Topic};
use crate::retained::{self, Judged, Retention, RetentionCounts, RetentionRule};
use crate::rules::Rules;
use crate::subscription::{Filters, Judgement, Subscription, SubscriptionOptions};
use crate::sync::lock;
use crate::topic::{Pattern, TopicInfo, validate_topic};
use chronofabric_clock::{HybridLogicalClock, TimeSource};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// How often the filters of a new subscription judge what topics keep, and have kept since they judged it last.
const ROUNDS_MAX: u32 = 256;

/// The bounds of a bus.
#[derive(Clone, Copy, Debug)]
pub struct BusOptions {
    /// How many topics it may have.
    pub topics_max: usize,
    /// How many bytes the events may hold that topics keep for subscribers to come.
    pub retained_bytes_max: usize,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self { topics_max: 65_536, retained_bytes_max: 64 << 20 }
    }
}

/// Makes the taps of a guard, one for each topic it watches.
pub trait TapFactory<P: Payload>: Send + Sync {
    /// The tap for a topic, or `None` where the guard does not watch it. Called once for each topic and guard, while the
    /// bus arranges its routes: it must not call the bus.
    fn tap(&self, topic: &TopicInfo) -> Option<Arc<dyn Tap<P>>>;
}

/// What finds a guard again to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapId(u64);

struct Entry<P: Payload> {
    topic: Arc<Topic<P>>,
    taps: Vec<(TapId, Arc<dyn Tap<P>>)>,
}

struct Registry<P: Payload> {
    topics: HashMap<Box<str>, Entry<P>>,
    subscriptions: Vec<Arc<Subscription<P>>>,
    factories: Vec<(TapId, Arc<dyn TapFactory<P>>)>,
    rules: Rules<RetentionRule>,
    /// How long after a publish its event is to be acted on; `None` where that is taken back.
    deadlines: Rules<Option<i64>>,
    next_tap: u64,
}

/// The bus of one node.
pub struct Bus<P: Payload> {
    core: Arc<Core>,
    registry: Mutex<Registry<P>>,
    options: BusOptions,
}

impl<P: Payload> std::fmt::Debug for Bus<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bus").field("core", &self.core).field("options", &self.options).finish_non_exhaustive()
    }
}

impl<P: Payload> Bus<P> {
    /// A bus without topics that takes its time from `source` and its stamps from `clock`.
    pub fn new(source: TimeSource, clock: Arc<HybridLogicalClock>, options: BusOptions) -> Self {
        Self {
            core: Arc::new(Core {
                source,
                clock,
                closed: AtomicBool::new(false),
                retention: Retention::new(options.retained_bytes_max),
                topics: Arc::default(),
            }),
            registry: Mutex::new(Registry {
                topics: HashMap::new(),
                subscriptions: Vec::new(),
                factories: Vec::new(),
                rules: Rules::default(),
                deadlines: Rules::default(),
                next_tap: 0,
            }),
            options,
        }
    }

    /// Where it takes its time from.
    pub fn source(&self) -> &TimeSource {
        &self.core.source
    }

    /// Where its stamps come from.
    pub fn clock(&self) -> &Arc<HybridLogicalClock> {
        &self.core.clock
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.core.closed.load(Ordering::Acquire)
    }

    /// The topic of a name, made on first use.
    ///
    /// # Errors
    /// [`BusError::Topic`], [`BusError::TopicLimit`], [`BusError::Closed`].
    pub fn topic(&self, name: &str) -> Result<Arc<Topic<P>>, BusError> {
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        let mut registry = lock(&self.registry);
        if let Some(entry) = registry.topics.get(name) {
            return Ok(Arc::clone(&entry.topic));
        }
        validate_topic(name)?;
        if registry.topics.len() >= self.options.topics_max {
            return Err(BusError::TopicLimit { topic: name.into(), limit: self.options.topics_max });
        }
        let info = Arc::new(TopicInfo::new(name, self.core.clock.node())?);
        let subscriptions = registry
            .subscriptions
            .iter()
            .filter(|subscription| subscription.pattern().matches(name))
            .cloned()
            .collect();
        let taps: Vec<_> =
            registry.factories.iter().filter_map(|(id, factory)| Some((*id, factory.tap(&info)?))).collect();
        let route = Route::new(subscriptions, taps.iter().map(|(_, tap)| Arc::clone(tap)).collect(), Habits::default());
        self.core.topics.keep(&info);
        let topic = Arc::new(Topic::new(info, Arc::clone(&self.core), route));
        let deadline_ns = registry.deadlines.of(name).flatten();
        topic.set_deadline(deadline_ns);
        let retention = registry.rules.of(name);
        if let Some(rule) = retention {
            topic.set_retention(&self.core.retention, rule, &mut Victims::new());
        }
        if deadline_ns.is_some() || retention.is_some() {
            topic.rearrange_as_it_is();
        }
        registry.topics.insert(name.into(), Entry { topic: Arc::clone(&topic), taps });
        Ok(topic)
    }

    /// Adds a subscription. Every publish that begins after this returns reaches it, and before all of these what the topics
    /// keep for it: topic by topic, the one that changed last at the end.
    ///
    /// # Errors
    /// [`BusError::Option`], [`BusError::Closed`].
    pub fn subscribe(&self, pattern: Pattern, options: SubscriptionOptions) -> Result<Arc<Subscription<P>>, BusError> {
        self.subscribe_filtered(pattern, options, Filters::default())
    }

    /// As [`Bus::subscribe`]; what the filters turn away does not reach it.
    ///
    /// # Errors
    /// Those of [`Bus::subscribe`].
    pub fn subscribe_filtered(
        &self,
        pattern: Pattern,
        options: SubscriptionOptions,
        filters: Filters<P>,
    ) -> Result<Arc<Subscription<P>>, BusError> {
        let subscription = Arc::new(Subscription::filtered(pattern, options, filters, self.core.source.clone())?);
        subscription.keep(&self.core.topics);
        // Dropped when nothing is locked any more: what topics keep and finds no room, or is not wanted.
        let (mut judged, mut unwanted, mut victims) = (Judged::new(), Vec::new(), Victims::new());
        for round in 1.. {
            let mut registry = lock(&self.registry);
            // Checked under the lock, under which closing empties the registry: none can slip in after it.
            if self.is_closed() {
                return Err(BusError::Closed);
            }
            let mut topics = Vec::new();
            registry.for_matching(subscription.pattern(), |topic| topics.push(Arc::clone(topic)));
            if topics.iter().any(|topic| topic.is_shared()) {
                subscription.set_shared();
            }
            let unclear = retained::admit(&topics, &subscription, &mut judged, &mut unwanted, &mut victims);
            if unclear.is_empty() {
                registry.subscriptions.push(Arc::clone(&subscription));
                break;
            }
            drop(registry);
            for event in unclear {
                let judgement = match event.payload() {
                    // What is published faster than it can be judged would keep the subscriber for ever.
                    Some(payload) if round <= ROUNDS_MAX => subscription.judge(payload, None),
                    _ => Judgement::Differs,
                };
                judged.insert(event.stamp(), judgement);
            }
        }
        Ok(subscription)
    }

    /// Whether an event on a topic would go to any subscription; the topic need not exist.
    ///
    /// # Errors
    /// [`BusError::Topic`].
    pub fn is_received(&self, name: &str) -> Result<bool, BusError> {
        let registry = lock(&self.registry);
        if let Some(entry) = registry.topics.get(name) {
            return Ok(entry.topic.receivers() > 0);
        }
        validate_topic(name)?;
        Ok(registry.subscriptions.iter().any(|subscription| subscription.pattern().matches(name)))
    }

    /// Says what the topics of a pattern keep from now on, in the place of what was said for it, or for a part of it, before.
    ///
    /// # Errors
    /// [`BusError::Option`], [`BusError::Closed`].
    pub fn set_retention(&self, pattern: &Pattern, rule: RetentionRule) -> Result<(), BusError> {
        rule.check()?;
        let mut victims = Victims::new();
        let mut registry = lock(&self.registry);
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        registry.rules.set(pattern, rule);
        registry.for_matching(pattern, |topic| {
            topic.set_retention(&self.core.retention, rule, &mut victims);
            topic.rearrange_as_it_is();
        });
        Ok(())
    }

    /// Says how long after its publish an event on the topics of a pattern is to be acted on that has no deadline of its own,
    /// from now on, in the place of what was said for the pattern, or for a part of it, before; of `None`, it has none.
    ///
    /// # Errors
    /// [`BusError::Closed`].
    pub fn set_deadline(&self, pattern: &Pattern, deadline_ns: Option<i64>) -> Result<(), BusError> {
        let mut registry = lock(&self.registry);
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        registry.deadlines.set(pattern, deadline_ns);
        registry.for_matching(pattern, |topic| {
            topic.set_deadline(deadline_ns);
            topic.rearrange_as_it_is();
        });
        Ok(())
    }

    /// Says that publishers retain events on a topic; before the first of them is published.
    pub fn retain(&self, topic: &Topic<P>) {
        if topic.is_asked_to_retain() {
            return;
        }
        let _arranging = lock(&self.registry);
        topic.ask_to_retain();
        topic.rearrange_as_it_is();
    }

    /// Gives up all that the topics of a pattern keep, and says how many events that were.
    pub fn forget(&self, pattern: &Pattern) -> usize {
        let (mut count, mut victims) = (0, Victims::new());
        lock(&self.registry).for_matching(pattern, |topic| count += topic.forget(&self.core.retention, &mut victims));
        count
    }

    /// What is kept at this moment, over all topics.
    pub fn retention(&self) -> RetentionCounts {
        self.core.retention.counts()
    }

    /// Says that from now on a topic may be published on without the lock that exclusive access stands for. The caller holds
    /// that lock, where there is one.
    pub fn share(&self, topic: &Topic<P>) {
        self.core.clock.share();
        let registry = lock(&self.registry);
        topic.set_shared();
        for subscription in &topic.subscriptions() {
            subscription.set_shared();
            registry.for_matching(subscription.pattern(), |topic| topic.rearrange_as_it_is());
        }
        topic.rearrange_as_it_is();
    }

    /// Removes a subscription; what waits in it is dropped with the reason.
    pub fn unsubscribe(&self, subscription: &Arc<Subscription<P>>, reason: Reason, victims: &mut Victims<P>) {
        let mut registry = lock(&self.registry);
        registry.subscriptions.retain(|other| !Arc::ptr_eq(other, subscription));
        registry.for_matching(subscription.pattern(), |topic| {
            topic.rearrange(|route| {
                let others = route.subscriptions.iter().filter(|other| !Arc::ptr_eq(other, subscription));
                (others.cloned().collect(), route.taps.clone())
            });
        });
        drop(registry);
        subscription.close(reason, victims);
    }

    /// Adds a guard: its factory is asked for every topic that exists and every one to come.
    ///
    /// # Errors
    /// [`BusError::Closed`].
    pub fn add_taps(&self, factory: Arc<dyn TapFactory<P>>) -> Result<TapId, BusError> {
        let mut registry = lock(&self.registry);
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        let id = TapId(registry.next_tap);
        registry.next_tap += 1;
        for entry in registry.topics.values_mut() {
            if let Some(tap) = factory.tap(entry.topic.info()) {
                entry.taps.push((id, tap));
                entry.store_taps();
            }
        }
        registry.factories.push((id, factory));
        Ok(id)
    }

    /// Removes a guard.
    pub fn remove_taps(&self, id: TapId) {
        let mut registry = lock(&self.registry);
        registry.factories.retain(|(other, _)| *other != id);
        for entry in registry.topics.values_mut() {
            let before = entry.taps.len();
            entry.taps.retain(|(other, _)| *other != id);
            if entry.taps.len() != before {
                entry.store_taps();
            }
        }
    }

    /// Every topic, by name.
    pub fn topics(&self) -> Vec<Arc<Topic<P>>> {
        let mut topics: Vec<_> = lock(&self.registry).topics.values().map(|entry| Arc::clone(&entry.topic)).collect();
        topics.sort_by(|one, other| one.info().name().cmp(other.info().name()));
        topics
    }

    /// How many topics there are.
    pub fn topics_len(&self) -> usize {
        lock(&self.registry).topics.len()
    }

    /// Every subscription, oldest first.
    pub fn subscriptions(&self) -> Vec<Arc<Subscription<P>>> {
        lock(&self.registry).subscriptions.clone()
    }

    /// Lets pass what subscriptions keep back to see whether its topic stays quiet, because the end has come.
    pub fn hasten(&self) {
        self.subscriptions().iter().for_each(|subscription| subscription.hasten());
    }

    /// Refuses further publishing; what was accepted can still be received.
    pub fn stop_publishing(&self) {
        self.core.closed.store(true, Ordering::SeqCst);
    }

    /// Closes the bus: no more publishing, every subscription closed and emptied, everybody woken. Gives back the
    /// subscriptions that it closed. Calling it again does nothing more.
    pub fn close(&self, victims: &mut Victims<P>) -> Vec<Arc<Subscription<P>>> {
        self.stop_publishing();
        let (subscriptions, factories) = {
            let mut registry = lock(&self.registry);
            for entry in registry.topics.values_mut() {
                entry.taps.clear();
                entry.topic.rearrange(|_| (Vec::new(), Vec::new()));
                entry.topic.forget(&self.core.retention, victims);
            }
            (std::mem::take(&mut registry.subscriptions), std::mem::take(&mut registry.factories))
        };
        // Guards may own what runs foreign code when it is dropped.
        drop(factories);
        for subscription in &subscriptions {
            subscription.close(Reason::Closed, victims);
        }
        subscriptions
    }
}

impl<P: Payload> Entry<P> {
    fn store_taps(&self) {
        let taps = self.taps.iter().map(|(_, tap)| Arc::clone(tap)).collect();
        self.topic.rearrange(|route| (route.subscriptions.clone(), taps));
    }
}

impl<P: Payload> Registry<P> {
    fn for_matching(&self, pattern: &Pattern, mut change: impl FnMut(&Arc<Topic<P>>)) {
        match pattern.literal() {
            Some(name) => self.topics.get(name).iter().for_each(|entry| change(&entry.topic)),
            None => {
                let matching = self.topics.iter().filter(|(name, _)| pattern.matches(name));
                matching.for_each(|(_, entry)| change(&entry.topic));
            }
        }
    }
}
