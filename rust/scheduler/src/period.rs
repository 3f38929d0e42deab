//! When a periodic timer fires next. Its ticks lie on a grid that begins with its first instant, so lateness never adds up;
//! only the policy that asks for it moves the grid.

/// What becomes of the ticks whose time had passed before the one before them was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// They are left out, and counted; the next tick is on the grid.
    #[default]
    Skip,
    /// Each of them fires, one right after the other.
    CatchUp,
    /// The grid moves: the next tick is one period after this one.
    Delay,
}

/// The next tick: when it is due, and how many before it were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTick {
    /// When it is due.
    pub due_ns: i64,
    /// How many ticks were left out.
    pub missed: u64,
}

impl MissedTicks {
    /// The tick after the one that was due at `due_ns` and fires at `now_ns`; none after the end of time.
    ///
    /// ```
    /// use chronofabric_scheduler::{MissedTicks, NextTick};
    ///
    /// let next = MissedTicks::Skip.next(1_000, 100, 1_250);
    /// assert_eq!(next, Some(NextTick { due_ns: 1_300, missed: 2 }));
    /// ```
    pub fn next(self, due_ns: i64, period_ns: i64, now_ns: i64) -> Option<NextTick> {
        let period_ns = period_ns.max(1);
        match self {
            Self::CatchUp => Some(NextTick { due_ns: due_ns.checked_add(period_ns)?, missed: 0 }),
            Self::Delay => Some(NextTick { due_ns: due_ns.max(now_ns).checked_add(period_ns)?, missed: 0 }),
            Self::Skip => {
                let missed = (i128::from(now_ns) - i128::from(due_ns)).max(0) / i128::from(period_ns);
                let next_ns = i128::from(due_ns) + (missed + 1) * i128::from(period_ns);
                Some(NextTick { due_ns: i64::try_from(next_ns).ok()?, missed: u64::try_from(missed).ok()? })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn on_time_all_policies_agree() {
        for policy in [MissedTicks::Skip, MissedTicks::CatchUp, MissedTicks::Delay] {
            assert_eq!(policy.next(1_000, 100, 1_000), Some(NextTick { due_ns: 1_100, missed: 0 }));
        }
    }

    #[test]
    fn a_tick_that_would_lie_beyond_the_end_of_time_does_not_come() {
        for policy in [MissedTicks::Skip, MissedTicks::CatchUp, MissedTicks::Delay] {
            assert_eq!(policy.next(i64::MAX - 5, 10, i64::MAX), None);
        }
    }

    proptest! {
        #[test]
        fn skipped_ticks_stay_on_the_grid_and_are_counted(
            start_ns in -1_000_000_i64..1_000_000, period_ns in 1_i64..10_000, late_ns in 0_i64..1_000_000,
        ) {
            let next = MissedTicks::Skip.next(start_ns, period_ns, start_ns + late_ns).unwrap();
            prop_assert!(next.due_ns > start_ns + late_ns && next.due_ns - period_ns <= start_ns + late_ns);
            prop_assert_eq!(next.due_ns, start_ns + (next.missed as i64 + 1) * period_ns);
        }
    }
}
