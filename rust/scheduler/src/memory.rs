//! Memory that is touched at random: the fewer pages it lies in, the fewer of its accesses wait for their address.

use std::mem::MaybeUninit;

/// Below this, pages of the usual size are as good.
#[cfg(target_os = "linux")]
const LARGE: usize = 4 << 20;

/// Asks the system for huge pages under memory that has not been used yet. It may decline: then all is slower, and right.
#[cfg(target_os = "linux")]
pub(crate) fn prefer_huge_pages<T>(unused: &mut [MaybeUninit<T>]) {
    const PAGE: usize = 4096;
    let bytes = size_of_val(unused);
    if bytes < LARGE {
        return;
    }
    let start = unused.as_mut_ptr().cast::<u8>();
    let offset = start.align_offset(PAGE);
    let length = (bytes.saturating_sub(offset)) / PAGE * PAGE;
    // SAFETY: the advice changes how memory is backed, not what is in it, and it is memory of ours.
    unsafe { libc::madvise(start.wrapping_add(offset).cast(), length, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn prefer_huge_pages<T>(_unused: &mut [MaybeUninit<T>]) {}
