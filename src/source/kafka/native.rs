//! What the C library made, and takes back.
#![allow(unsafe_code)]

use std::ptr::NonNull;

/// Something of the C library, with the function that takes it back.
pub(super) struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    /// `None` for null.
    pub(super) fn new(made: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(made).map(|made| Self(made, destroy))
    }

    pub(super) fn ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was given a pointer of the C library with the function that takes it back;
        // it is called once, and nothing borrows from `self` by now.
        unsafe { (self.1)(self.ptr()) }
    }
}
