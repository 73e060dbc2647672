//! How much memory the allocator and the code of this process hold.

/// Has all threads allocate from one heap. For a process of few threads that do not allocate at once:
/// a heap for each thread grows page by page, a system call each, and keeps what it freed for itself.
/// Call it before the second thread begins.
pub fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; the allocator takes the setting or refuses it.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Tells the kernel and the allocator that what was used until now is mostly not needed any more: free
/// memory of the heap goes back, and the pages of code that only the start ran are no longer counted as
/// this process's. Code that is needed after all comes back from the page cache at its next use.
///
/// For a process that reads much, starts much and then sleeps. Costs about as much as one page fault
/// for each page that is used again.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; it only returns memory that is free.
    unsafe {
        libc::malloc_trim(0)
    };
    // SAFETY: the callback has the signature that the call asks for and uses no data.
    unsafe { libc::dl_iterate_phdr(Some(let_go_of_code), std::ptr::null_mut()) };
}

/// For each loaded object: lets go of the pages that hold code or constants.
unsafe extern "C" fn let_go_of_code(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut std::ffi::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr passes a description that is valid during the call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: so many headers are there, in memory that stays as long as the object.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    for header in headers {
        // Never writable, so a file has all that is in it: a page that was changed (relocations are
        // in writable segments) would be lost.
        let is_fixed = header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
        if !is_fixed {
            continue;
        }
        let page = rustix::param::page_size();
        let start = usize::try_from(info.dlpi_addr + header.p_vaddr).unwrap_or(0);
        let end = start.saturating_add(usize::try_from(header.p_memsz).unwrap_or(0));
        let first = start.next_multiple_of(page);
        let last = end / page * page;
        if first < last {
            // SAFETY: the range lies in a read-only mapping of a file, which MADV_DONTNEED leaves in
            // place: the next access reads the same bytes again. An error leaves it as it is.
            unsafe {
                libc::madvise(
                    std::ptr::with_exposed_provenance_mut(first),
                    last - first,
                    libc::MADV_DONTNEED,
                )
            };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    /// How much code of files is mapped in, in bytes.
    fn code() -> u64 {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut total, mut is_code) = (0, false);
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap();
            if !first.ends_with(':') {
                is_code = words.next() == Some("r-xp") && line.contains('/');
            } else if is_code && first == "Rss:" {
                total += words.next().unwrap().parse::<u64>().unwrap() * 1024;
            }
        }
        total
    }

    #[test]
    fn less_is_in_use_afterwards_and_all_goes_on() {
        let filled: Vec<Box<[u8]>> = (0..1000).map(|_| vec![1; 5000].into()).collect();
        drop(filled);
        let before = code();
        super::settle();
        let after = code();
        assert!(after < before, "{before} {after}");
        assert_eq!(
            format!("{:?}", (1..4).rev().collect::<Vec<_>>()),
            "[3, 2, 1]"
        );
    }
}
