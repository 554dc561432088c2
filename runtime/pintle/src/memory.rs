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

/// Takes the pages of files out of the resident set: starting has read the built-in
/// plugins and their compiled code from end to end, and little of that is needed
/// again. What is comes back from the page cache. Failing to is harmless.
#[allow(unsafe_code)] // The system call has no safe wrapper.
pub fn page_out_files() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in maps.lines().filter_map(file_mapping) {
        // SAFETY: MADV_PAGEOUT (madvise(2)) changes no contents, whatever the
        // range holds by now: pages are written back or dropped, and read again.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_PAGEOUT) };
    }
}

/// Address and length of a line of proc_pid_maps(5) that maps a file unwritably.
fn file_mapping(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, permissions) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?;
    if !path.starts_with('/') || permissions.contains('w') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_not_written_to() {
        fn check(line: &str, expect: Option<(usize, usize)>) {
            assert_eq!(file_mapping(line), expect, "{line}");
        }
        check("1000-3000 r-xp 00000000 08:01 42   /usr/bin/pintle", Some((0x1000, 0x2000)));
        check("1000-3000 rw-p 00000000 08:01 42   /usr/bin/pintle", None);
        check("1000-3000 r--p 00000000 00:00 0    [vdso]", None);
        check("1000-3000 r--p 00000000 00:00 0", None);
        check("nonsense", None);
    }
}
