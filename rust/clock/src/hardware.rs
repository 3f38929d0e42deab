//! The counters a machine offers, and the only unsafe code of this crate: two instructions that read them.
//!
//! - x86_64: the time stamp counter, if the processor says that it is invariant (one rate in every power state: CPUID
//!   leaf 0x8000_0007, EDX bit 8; Intel SDM vol. 3, 19.17.4; AMD APM vol. 3, appendix E.4.6) and the Linux kernel has
//!   not turned away from it to a slower clock, which it does when the counters of the cores disagree.
//! - aarch64: the virtual count `CNTVCT_EL0`, invariant by architecture (Arm ARM, D12).
//! - elsewhere, or where the counter is not invariant: the platform's monotonic clock, in nanoseconds. So it is where the
//!   environment says `CHRONOFABRIC_COUNTER=monotonic`: for a machine whose counter is not what it says.
//!
//! An ordered read comes after the loads before it (`lfence`, `isb`), as the kernel's own clock does it: a thread that
//! has seen another's reading cannot read less, as far as the counters of the cores agree. An unordered read costs half
//! as much and may be taken a few dozen cycles early.

#![allow(unsafe_code)]

use std::time::Instant;

/// Which counter a [`CounterSource`](crate::CounterSource) reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterKind {
    /// The invariant time stamp counter of x86_64.
    TimeStampCounter,
    /// The virtual count register of aarch64, `CNTVCT_EL0`.
    VirtualCount,
    /// The platform's monotonic clock, where no invariant counter can be read.
    Monotonic,
}

/// The counter chosen for this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Hardware,
    Monotonic(Instant),
}

impl Counter {
    /// The best counter this machine offers.
    pub(crate) fn detect() -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if !cfg!(miri)
            && std::env::var_os("CHRONOFABRIC_COUNTER").is_none_or(|choice| choice != "monotonic")
            && native::is_invariant()
        {
            return Self::Hardware;
        }
        Self::monotonic()
    }

    /// The monotonic clock, counted in nanoseconds from now.
    pub(crate) fn monotonic() -> Self {
        Self::Monotonic(Instant::now())
    }

    /// The present count, ordered after the loads before it; it wraps at 64 bits.
    #[inline(always)]
    pub(crate) fn ticks(&self) -> u64 {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if matches!(self, Self::Hardware) {
            native::order_loads();
        }
        self.ticks_unordered()
    }

    /// The present count, or one that is a few dozen cycles old.
    #[inline(always)]
    pub(crate) fn ticks_unordered(&self) -> u64 {
        match self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Self::Hardware => native::ticks(),
            // 2^64 ns are 584 years: the cut never takes anything away.
            Self::Monotonic(origin) => origin.elapsed().as_nanos() as u64,
        }
    }

    pub(crate) fn kind(&self) -> CounterKind {
        match self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Self::Hardware => native::KIND,
            Self::Monotonic(_) => CounterKind::Monotonic,
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod native {
    use super::CounterKind;
    use std::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};

    pub(super) const KIND: CounterKind = CounterKind::TimeStampCounter;
    const POWER_MANAGEMENT_LEAF: u32 = 0x8000_0007;
    const INVARIANT_TSC: u32 = 1 << 8;

    pub(super) fn is_invariant() -> bool {
        processor_says_so() && !kernel_turned_away()
    }

    // `__cpuid` became a safe function after the oldest Rust this crate supports.
    #[allow(unused_unsafe)]
    fn processor_says_so() -> bool {
        // SAFETY: CPUID exists on every x86_64 processor; leaf 0x8000_0000 tells the highest extended leaf, and the
        // second call is made only if that covers it.
        unsafe {
            __cpuid(0x8000_0000).eax >= POWER_MANAGEMENT_LEAF && __cpuid(POWER_MANAGEMENT_LEAF).edx & INVARIANT_TSC != 0
        }
    }

    /// Whether Linux measures time by a clock that is chosen only where the counter proved unstable.
    fn kernel_turned_away() -> bool {
        const PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        cfg!(target_os = "linux")
            && std::fs::read_to_string(PATH)
                .is_ok_and(|name| matches!(name.trim(), "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies"))
    }

    // The intrinsics of the baseline became safe functions after the oldest Rust this crate supports.
    #[allow(unused_unsafe)]
    #[inline(always)]
    pub(super) fn order_loads() {
        // SAFETY: SSE2 belongs to the baseline of x86_64; the fence has no other precondition.
        unsafe { _mm_lfence() }
    }

    #[allow(unused_unsafe)]
    #[inline(always)]
    pub(super) fn ticks() -> u64 {
        // SAFETY: the time stamp counter belongs to the baseline of x86_64; reading it touches no memory.
        unsafe { _rdtsc() }
    }
}

#[cfg(target_arch = "aarch64")]
mod native {
    use super::CounterKind;
    use std::arch::asm;

    pub(super) const KIND: CounterKind = CounterKind::VirtualCount;

    pub(super) fn is_invariant() -> bool {
        true
    }

    #[inline(always)]
    pub(super) fn order_loads() {
        // SAFETY: `isb` waits for the instructions before it and has no other effect. `nomem` is left out on purpose,
        // so that the compiler moves no load across it either.
        unsafe { asm!("isb", options(nostack, preserves_flags)) };
    }

    #[inline(always)]
    pub(super) fn ticks() -> u64 {
        let count: u64;
        // SAFETY: CNTVCT_EL0 is readable from user space on every supported system; reading it touches no memory.
        // `nomem` is left out on purpose, so that the compiler keeps it between the loads around it.
        unsafe { asm!("mrs {count}, cntvct_el0", count = out(reg) count, options(nostack, preserves_flags)) };
        count
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_counter_runs_forward() {
        for counter in [Counter::detect(), Counter::monotonic()] {
            let first = counter.ticks();
            let later = loop {
                let ticks = counter.ticks();
                if ticks != first {
                    break ticks;
                }
            };
            assert!(later.wrapping_sub(first) < u64::MAX / 2, "{:?}: {first} then {later}", counter.kind());
        }
    }

    #[test]
    fn the_fallback_names_itself() {
        assert_eq!(Counter::monotonic().kind(), CounterKind::Monotonic);
    }
}
