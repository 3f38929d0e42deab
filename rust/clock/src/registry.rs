//! Names for time sources, for the whole process.
//!
//! `"system"` and `"counter"` are always there; the counter is calibrated when it is first looked up, not before.

use crate::{ClockError, TimeSource};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// The most sources that can be registered beside the two that are always there.
pub const MAX_SOURCES: usize = 1_024;
/// The longest name of a source.
pub const MAX_NAME_BYTES: usize = 255;

const SYSTEM: &str = "system";
const COUNTER: &str = "counter";

/// Time sources by name; safe to use from any thread.
///
/// ```
/// use chronofabric_clock::{Registry, TimeSource};
///
/// let registry = Registry::process();
/// registry.register("plant", TimeSource::simulated(0))?;
/// assert_eq!(registry.lookup("plant")?.name(), "simulated");
/// assert_eq!(registry.names(), ["counter", "plant", "system"]);
/// assert!(registry.register("plant", TimeSource::system()).is_err());
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Debug, Default)]
pub struct Registry {
    sources: RwLock<BTreeMap<String, TimeSource>>,
}

impl Registry {
    /// A registry of its own, with the two sources that are always there.
    pub const fn new() -> Self {
        Self { sources: RwLock::new(BTreeMap::new()) }
    }

    /// The registry of this process.
    pub fn process() -> &'static Self {
        static PROCESS: Registry = Registry::new();
        &PROCESS
    }

    /// Names a source.
    ///
    /// # Errors
    ///
    /// [`ClockError::InvalidName`] for a name that is empty, longer than 255 bytes, or has control characters or spaces
    /// at its ends; [`ClockError::DuplicateName`] for one that is taken; [`ClockError::RegistryFull`] after 1 024
    /// sources.
    pub fn register(&self, name: &str, source: TimeSource) -> Result<(), ClockError> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.trim() != name || name.chars().any(char::is_control) {
            return Err(ClockError::InvalidName { name: name.to_owned() });
        }
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        if is_builtin(name) || sources.contains_key(name) {
            return Err(ClockError::DuplicateName { name: name.to_owned() });
        }
        if sources.len() >= MAX_SOURCES {
            return Err(ClockError::RegistryFull { name: name.to_owned() });
        }
        sources.insert(name.to_owned(), source);
        Ok(())
    }

    /// Takes a name away and returns its source, which lives on where it is in use.
    ///
    /// # Errors
    ///
    /// [`ClockError::BuiltinName`] for the two that are always there, [`ClockError::UnknownName`] for one that is not
    /// there.
    pub fn remove(&self, name: &str) -> Result<TimeSource, ClockError> {
        if is_builtin(name) {
            return Err(ClockError::BuiltinName { name: name.to_owned() });
        }
        let removed = self.sources.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        removed.ok_or_else(|| self.unknown(name))
    }

    /// The source of a name.
    ///
    /// # Errors
    ///
    /// [`ClockError::UnknownName`], which lists the names there are.
    pub fn lookup(&self, name: &str) -> Result<TimeSource, ClockError> {
        match name {
            SYSTEM => Ok(TimeSource::system()),
            COUNTER => Ok(TimeSource::counter()),
            _ => {
                let found = self.sources.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
                found.ok_or_else(|| self.unknown(name))
            }
        }
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = [COUNTER, SYSTEM].map(str::to_owned).into();
        names.extend(sources.keys().cloned());
        names.sort_unstable();
        names
    }

    fn unknown(&self, name: &str) -> ClockError {
        ClockError::UnknownName { name: name.to_owned(), known: self.names() }
    }
}

fn is_builtin(name: &str) -> bool {
    matches!(name, SYSTEM | COUNTER)
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_two_real_sources_are_always_there() {
        let registry = Registry::new();
        assert_eq!(registry.names(), ["counter", "system"]);
        assert_eq!(registry.lookup("system").unwrap().name(), "system");
        assert_eq!(registry.lookup("counter").unwrap().name(), "counter");
        for name in ["system", "counter"] {
            assert!(matches!(registry.remove(name), Err(ClockError::BuiltinName { .. })));
        }
    }

    #[test]
    fn duplicates_are_refused_and_the_first_stays() {
        let registry = Registry::new();
        registry.register("a", TimeSource::simulated(3)).unwrap();
        for name in ["a", "system", "counter"] {
            let error = registry.register(name, TimeSource::simulated(4)).unwrap_err();
            assert!(matches!(&error, ClockError::DuplicateName { .. }), "{error}");
        }
        assert_eq!(registry.lookup("a").unwrap().now_ns(), 3);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let registry = Registry::new();
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for name in ["", " ", " a", "a ", "a\nb", "\u{7f}", long.as_str()] {
            let error = registry.register(name, TimeSource::system()).unwrap_err();
            assert!(matches!(&error, ClockError::InvalidName { .. }), "{name:?}: {error}");
        }
        registry.register(&long[1..], TimeSource::system()).unwrap();
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let registry = Registry::new();
        registry.register("plant", TimeSource::system()).unwrap();
        for error in [registry.lookup("plnt").unwrap_err(), registry.remove("plnt").unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("\"plnt\"") && text.contains("counter, plant, system"), "{text}");
        }
    }

    #[test]
    fn a_removed_name_is_free_again_and_its_source_lives_on() {
        let registry = Registry::new();
        let source = TimeSource::simulated(1);
        registry.register("a", source.clone()).unwrap();
        registry.remove("a").unwrap().as_simulated().unwrap().set(2).unwrap();
        assert_eq!(source.now_ns(), 2);
        registry.register("a", TimeSource::system()).unwrap();
    }

    #[test]
    fn the_registry_is_bounded() {
        let registry = Registry::new();
        for index in 0..MAX_SOURCES {
            registry.register(&format!("source {index}"), TimeSource::system()).unwrap();
        }
        let error = registry.register("one more", TimeSource::system()).unwrap_err();
        assert!(error.to_string().contains("1024"), "{error}");
    }

    #[test]
    fn one_of_many_threads_gets_a_name() {
        let registry = Registry::new();
        let registered: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|start| {
                    scope.spawn({
                        let registry = &registry;
                        move || usize::from(registry.register("a", TimeSource::simulated(start)).is_ok())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(registered, 1);
    }
}
