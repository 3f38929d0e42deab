//! C structures of the Arrow interface that are handed out any number of times.
//!
//! What the interface moves, only one consumer can have. So the structures of a producer are kept as they came, and each
//! consumer gets structures of its own that show the same memory: the pointers are copied, what they point to is not, and
//! every copy keeps the original alive. The copies of one export lie in one allocation that lives until the last of them
//! is released, for a consumer may move a child out of its parent and keep it after the parent was released. They may be
//! released in any order and in any thread, with or without an interpreter.
//!
//! <https://arrow.apache.org/docs/format/CDataInterface.html#moving-an-array>

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

/// The callback of a structure that gives back what it holds.
pub(super) type Release<S> = unsafe extern "C" fn(*mut S);

/// What arrays and schemas have in common.
pub(super) trait Structure: Sized {
    /// How many children there are, and where their addresses are.
    fn children(&self) -> (usize, *mut *mut Self);
    fn dictionary(&self) -> *mut Self;
    fn private_data(&self) -> *mut c_void;
    fn release(&mut self) -> &mut Option<Release<Self>>;
    /// The same memory, with other links and another owner.
    fn with(&self, children: *mut *mut Self, dictionary: *mut Self, release: Release<Self>, owner: *mut c_void)
    -> Self;
}

impl Structure for FFI_ArrowArray {
    fn children(&self) -> (usize, *mut *mut Self) {
        (usize::try_from(self.n_children).unwrap_or(0), self.children)
    }

    fn dictionary(&self) -> *mut Self {
        self.dictionary
    }

    fn private_data(&self) -> *mut c_void {
        self.private_data
    }

    fn release(&mut self) -> &mut Option<Release<Self>> {
        &mut self.release
    }

    fn with(
        &self,
        children: *mut *mut Self,
        dictionary: *mut Self,
        release: Release<Self>,
        owner: *mut c_void,
    ) -> Self {
        Self {
            length: self.length,
            null_count: self.null_count,
            offset: self.offset,
            n_buffers: self.n_buffers,
            n_children: self.n_children,
            buffers: self.buffers,
            children,
            dictionary,
            release: Some(release),
            private_data: owner,
        }
    }
}

impl Structure for FFI_ArrowSchema {
    fn children(&self) -> (usize, *mut *mut Self) {
        (usize::try_from(self.n_children).unwrap_or(0), self.children)
    }

    fn dictionary(&self) -> *mut Self {
        self.dictionary
    }

    fn private_data(&self) -> *mut c_void {
        self.private_data
    }

    fn release(&mut self) -> &mut Option<Release<Self>> {
        &mut self.release
    }

    fn with(
        &self,
        children: *mut *mut Self,
        dictionary: *mut Self,
        release: Release<Self>,
        owner: *mut c_void,
    ) -> Self {
        Self {
            format: self.format,
            name: self.name,
            metadata: self.metadata,
            flags: self.flags,
            n_children: self.n_children,
            children,
            dictionary,
            release: Some(release),
            private_data: owner,
        }
    }
}

/// A structure with all below it, which nobody changes any more.
pub(super) struct Shared<S: Structure> {
    root: S,
    descendants: usize,
}

// SAFETY: the structures are never written after `new`, and the interface lets any thread read and release them.
unsafe impl<S: Structure> Send for Shared<S> {}
// SAFETY: as above.
unsafe impl<S: Structure> Sync for Shared<S> {}

impl<S: Structure> Shared<S> {
    /// Keeps a structure.
    ///
    /// # Safety
    /// It is not released, and there are as many children as it says, each of them, like the dictionary, a structure.
    pub(super) unsafe fn new(root: S) -> Self {
        // SAFETY: the caller's promise.
        let descendants = unsafe { descendants(&root) };
        Self { root, descendants }
    }

    pub(super) fn root(&self) -> &S {
        &self.root
    }

    /// Structures over the same memory, for a consumer to move, take apart and release.
    pub(super) fn export(self: &Arc<Self>) -> S {
        let export = Box::into_raw(Box::new(Export {
            holders: AtomicUsize::new(1 + self.descendants),
            below: Vec::with_capacity(self.descendants),
            children: Vec::with_capacity(self.descendants),
            _origin: Arc::clone(self),
        }));
        // SAFETY: nobody else knows the export yet, and the vectors hold all that is below this root.
        unsafe { copy(&self.root, export) }
    }
}

/// The structures of one export below its root, which the consumer got by value.
struct Export<S: Structure> {
    /// How many of its structures are not released.
    holders: AtomicUsize,
    below: Vec<S>,
    /// What their fields `children` point to.
    children: Vec<*mut S>,
    _origin: Arc<Shared<S>>,
}

/// # Safety
/// As for [`Shared::new`].
unsafe fn descendants<S: Structure>(structure: &S) -> usize {
    let (count, children) = structure.children();
    let mut below = 0;
    for index in 0..count {
        // SAFETY: the caller's promise.
        below += 1 + unsafe { descendants(&**children.add(index)) };
    }
    // SAFETY: the caller's promise.
    below + unsafe { structure.dictionary().as_ref().map_or(0, |dictionary| 1 + descendants(dictionary)) }
}

/// # Safety
/// `structure` is part of the origin of `export`, to which nobody else writes and which has room for all below.
unsafe fn copy<S: Structure>(structure: &S, export: *mut Export<S>) -> S {
    let (count, theirs) = structure.children();
    let mut ours = ptr::null_mut();
    if count > 0 {
        // SAFETY: the vector does not grow beyond its capacity, so what is in it stays where it is.
        unsafe {
            let children = &mut (*export).children;
            let start = children.len();
            children.resize(start + count, ptr::null_mut());
            ours = children.as_mut_ptr().add(start);
        }
        for index in 0..count {
            // SAFETY: there are `count` children on both sides.
            unsafe { *ours.add(index) = keep(&**theirs.add(index), export) };
        }
    }
    // SAFETY: the caller's promise.
    let dictionary = unsafe { structure.dictionary().as_ref().map_or(ptr::null_mut(), |below| keep(below, export)) };
    structure.with(ours, dictionary, release::<S>, export.cast())
}

/// # Safety
/// As for [`copy`].
unsafe fn keep<S: Structure>(structure: &S, export: *mut Export<S>) -> *mut S {
    // SAFETY: the caller's promise; the vector does not grow beyond its capacity, so what is in it stays where it is.
    unsafe {
        let copied = copy(structure, export);
        let below = &mut (*export).below;
        below.push(copied);
        below.as_mut_ptr().add(below.len() - 1)
    }
}

/// Releases one structure of an export, and below it all that nobody moved away.
///
/// # Safety
/// It was made by [`copy`], is not released, and no other thread uses it.
unsafe extern "C" fn release<S: Structure>(structure: *mut S) {
    // SAFETY: the caller's promise; what is below lies in the export, which lives because this structure holds it.
    unsafe {
        let (count, children) = (*structure).children();
        for index in 0..count {
            release_below(*children.add(index));
        }
        release_below((*structure).dictionary());
        *(*structure).release() = None;
        let export = (*structure).private_data().cast::<Export<S>>();
        if (*export).holders.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            drop(Box::from_raw(export));
        }
    }
}

/// # Safety
/// `structure` is null or a child or dictionary in an export that lives.
unsafe fn release_below<S: Structure>(structure: *mut S) {
    // SAFETY: the caller's promise. One that was moved away is marked as released where it was.
    unsafe {
        if let Some(release) = structure.as_mut().and_then(|structure| *structure.release()) {
            release(structure);
        }
    }
}
