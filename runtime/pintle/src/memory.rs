//! What a process that runs for months does about memory that it needed once.

/// Huge pages on a small server are mostly air: with them an idle one keeps twice
/// the memory resident. The allocator is built not to ask for them (its feature
/// `no_thp`); this covers machines that hand them out unasked. The pods' shims
/// take it back, so that containers decide for themselves.
pub fn no_huge_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "transparent huge pages stay on");
    }
}

/// Gives back what starting has left free in this thread's heap: joining and
/// loading plugins take a few megabytes that are not needed again.
#[allow(unsafe_code)] // The allocator's own function has no safe wrapper.
pub fn give_back() {
    // SAFETY: touches only memory that the allocator knows to be free.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
