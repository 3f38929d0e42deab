//! Groups: several subscription objects that receive from one subscription of the bus, so that each event goes to one.
//!
//! The first member makes the subscription, those who follow join it, and the last one that leaves closes it. A member that
//! has left can still look at the books and the dead letters, so how many objects there are is another count.

use crate::errors;
use crate::filter::Terms;
use crate::node::{Node, Victims, lock};
use crate::payload::Content;
use crate::subscription::Core;
use chronofabric_bus::{Filters, Pattern, Reason, SubscriptionOptions};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The groups of a node, by name.
#[derive(Default)]
pub(crate) struct Groups(Mutex<HashMap<Box<str>, Group>>);

struct Group {
    core: Arc<Core>,
    terms: Terms,
    members: usize,
    objects: Arc<AtomicUsize>,
}

/// What an object has of its group.
pub(crate) struct Membership {
    name: Box<str>,
    /// How many objects have the subscription.
    objects: Arc<AtomicUsize>,
}

impl Membership {
    fn new(name: &str, objects: &Arc<AtomicUsize>) -> Self {
        objects.fetch_add(1, Ordering::Relaxed);
        Self { name: name.into(), objects: Arc::clone(objects) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether no other object has the subscription.
    pub(crate) fn is_only(&self) -> bool {
        self.objects.load(Ordering::Acquire) == 1
    }

    /// Counts an object out, once; says whether it was the last one.
    pub(crate) fn count_out(&self) -> bool {
        self.objects.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl Node {
    /// Joins a group, or makes it where it has no members.
    pub(crate) fn join(
        &self,
        py: Python<'_>,
        name: &str,
        pattern: Pattern,
        options: SubscriptionOptions,
        filters: Filters<Content>,
        terms: Terms,
    ) -> PyResult<(Arc<Core>, Membership)> {
        loop {
            if let Some(joined) = self.join_existing(py, name, &pattern, &options, &terms)? {
                return Ok(joined);
            }
            // While nothing is locked: filters may run foreign code on what topics keep.
            let subscribed = self.bus.subscribe_filtered(pattern.clone(), options.clone(), filters.clone());
            let core = subscribed.map_err(|error| self.error(py, &error))?;
            let mut groups = lock(&self.groups.0);
            if groups.get(name).is_none_or(|group| group.core.is_closed()) {
                let objects = Arc::default();
                let membership = Membership::new(name, &objects);
                groups.insert(name.into(), Group { core: Arc::clone(&core), terms, members: 1, objects });
                return Ok((core, membership));
            }
            drop(groups);
            // Another thread was quicker.
            self.bus.unsubscribe(&core, Reason::Unsubscribed, &mut Victims::new());
        }
    }

    fn join_existing(
        &self,
        py: Python<'_>,
        name: &str,
        pattern: &Pattern,
        options: &SubscriptionOptions,
        terms: &Terms,
    ) -> PyResult<Option<(Arc<Core>, Membership)>> {
        let mut groups = lock(&self.groups.0);
        let Some(group) = groups.get_mut(name).filter(|group| !group.core.is_closed()) else { return Ok(None) };
        if let Some(difference) = difference(group, pattern, options, terms) {
            drop(groups);
            return Err(difference.error(py, name));
        }
        group.members += 1;
        Ok(Some((Arc::clone(&group.core), Membership::new(name, &group.objects))))
    }

    /// Leaves a group; the last member closes the subscription.
    pub(crate) fn leave_group(&self, name: &str, core: &Arc<Core>) {
        let mut victims = Victims::new();
        let mut groups = lock(&self.groups.0);
        // After the fabric was closed, the group of this name may be another one.
        let Some(group) = groups.get_mut(name).filter(|group| Arc::ptr_eq(&group.core, core)) else { return };
        group.members -= 1;
        if group.members > 0 {
            drop(groups);
            // Whoever waits by way of the member that left has to notice.
            core.items().notify();
            return;
        }
        groups.remove(name);
        drop(groups);
        self.bus.unsubscribe(core, Reason::Unsubscribed, &mut victims);
    }
}

/// An option in which a member differs from its group.
struct Difference {
    option: &'static str,
    theirs: String,
    own: String,
}

impl Difference {
    #[cold]
    fn error(self, py: Python<'_>, group: &str) -> PyErr {
        let Self { option, theirs, own } = self;
        let hint = "members of a group share one subscription, so all give the same pattern and options; leave the \
                    difference out, or name another group";
        let message = format!("group '{group}' has {option} {theirs}, this member asks for {own}; {hint}");
        errors::exception(py, "ArgumentError", &message, |attributes| {
            attributes.set_item("argument", option)?;
            attributes.set_item("value", own)?;
            attributes.set_item("hint", hint)
        })
    }
}

/// The first option in which a member differs from its group.
fn difference(group: &Group, pattern: &Pattern, own: &SubscriptionOptions, terms: &Terms) -> Option<Difference> {
    let (core, theirs) = (&group.core, group.core.options());
    if core.pattern() != pattern {
        let quoted = |pattern: &Pattern| format!("'{}'", pattern.text());
        return Some(Difference { option: "pattern", theirs: quoted(core.pattern()), own: quoted(pattern) });
    }
    macro_rules! compare {
        ($theirs:expr, $own:expr, $($option:ident $(as $name:literal)?),*) => {
            $(if $theirs.$option != $own.$option {
                let (theirs, own) = (format!("{:?}", $theirs.$option), format!("{:?}", $own.$option));
                let option = [$($name,)? stringify!($option)][0];
                return Some(Difference { option, theirs, own });
            })*
        };
    }
    compare!(
        theirs,
        own,
        name,
        capacity,
        capacity_bytes,
        overflow,
        block_timeout_ns,
        dead_letters_max,
        order,
        late,
        history
    );
    let theirs = &group.terms;
    compare!(theirs, terms, condition as "where", sample, rate_limit, throttle_ns as "throttle", debounce_ns as "debounce");
    None
}
