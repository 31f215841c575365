//! Giving memory back while the shim has nothing to do.
//!
//! Nearly all that is resident of an idle shim is code that ran once, at start or for a container. The page cache holds it
//! anyway, so it can be taken out of the address space and comes back without I/O when it runs again.
#![allow(unsafe_code)]

use std::{fs, ops::Range};

use nix::libc;

/// Kept of the stack below the current frame: far more than the calls that are made meanwhile need.
const STACK_MARGIN: usize = 32 << 10;
/// The alignment that `madvise(2)` wants, on every architecture that pages are not larger on.
const LARGEST_PAGE: usize = 64 << 10;

/// What of the address space can go.
#[derive(Debug, Default, PartialEq, Eq)]
struct Droppable {
    /// Mappings that show nothing but unchanged pages of files.
    files: Vec<Range<usize>>,
    /// The main thread's stack.
    stack: Option<Range<usize>>,
}

/// Returns free memory, the stack's former depth, and unchanged pages of executable and libraries to the kernel. To be called
/// on the main thread of a process that has no other.
#[inline(never)]
pub(super) fn give_back() {
    let Droppable { files, stack } =
        fs::read_to_string("/proc/self/smaps").map(|table| droppable(&table)).unwrap_or_default();
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers, and gives back only what the allocator itself knows to be free.
    unsafe {
        libc::malloc_trim(0);
    }
    let here = 0_u8;
    let depth = (&raw const here).addr();
    if let Some(stack) = stack.filter(|stack| stack.contains(&depth)) {
        let end = depth.saturating_sub(STACK_MARGIN) & !(LARGEST_PAGE - 1);
        drop_pages(&(stack.start..end));
    }
    for range in &files {
        drop_pages(range);
    }
}

/// Takes the pages of a range out of memory, which must be one of [`droppable`]'s, the stack's only below the current frame.
fn drop_pages(range: &Range<usize>) {
    if range.is_empty() {
        return;
    }
    let start = std::ptr::with_exposed_provenance_mut::<libc::c_void>(range.start);
    // SAFETY: a private mapping without anonymous or swapped pages shows what is in its file, before and after; nothing can
    // have been written to it since it was looked at, because it is not writable and there is one thread. The stack grows
    // down and is the one that this runs on, so below the current frame and its margin nothing is in use.
    unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
}

/// Reads `/proc/PID/smaps`. A mapping whose pages have been changed (relocated and then protected, `RELRO`) has anonymous pages
/// and is left out as a whole.
fn droppable(table: &str) -> Droppable {
    let mut found = Droppable::default();
    let (mut candidate, mut proofs) = (None, 0);
    for line in table.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        match first.strip_suffix(':') {
            None => {
                candidate = None;
                proofs = 0;
                let Some(range) = range(first) else { continue };
                let (permissions, inode, name) = (words.next(), words.nth(2), words.next());
                if name == Some("[stack]") {
                    found.stack = Some(range);
                } else if matches!(permissions, Some("r--p" | "r-xp")) && inode.is_some_and(|inode| inode != "0") {
                    candidate = Some(range);
                }
            }
            Some("Anonymous" | "Swap") if words.next() == Some("0") => {
                proofs += 1;
                if proofs == 2 {
                    found.files.extend(candidate.take());
                }
            }
            Some(_) => {}
        }
    }
    found
}

fn range(text: &str) -> Option<Range<usize>> {
    let (start, end) = text.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mapping(header: &str, anonymous: u32, swap: u32) -> String {
        format!(
            "{header}\nSize: 8 kB\nRss: 8 kB\nAnonymous: {anonymous} kB\nAnonHugePages: 0 kB\nSwap: {swap} kB\nSwapPss: 0 kB\n\
             VmFlags: rd mr mw me\n"
        )
    }

    #[test]
    fn only_unchanged_pages_of_files_go() {
        let table = [
            mapping("1000-2000 r--p 00000000 fe:00 42    /usr/bin/program", 0, 0),
            mapping("2000-4000 r-xp 00001000 fe:00 42    /", 0, 0),
            mapping("4000-5000 r--p 00003000 fe:00 42    /relocated and protected", 4, 0),
            mapping("5000-6000 r--p 00004000 fe:00 42    /swapped", 0, 4),
            mapping("6000-7000 rw-p 00005000 fe:00 42    /writable", 0, 0),
            mapping("7000-8000 r--s 00005000 fe:00 42    /shared", 0, 0),
            mapping("8000-9000 r--p 00000000 00:00 0", 0, 0),
            mapping("9000-a000 r-xp 00000000 00:00 0     [vdso]", 0, 0),
            mapping("a000-b000 rw-p 00000000 00:00 0     [stack]", 4, 0),
        ];
        let expected = Droppable { files: vec![0x1000..0x2000, 0x2000..0x4000], stack: Some(0xa000..0xb000) };
        assert_eq!(droppable(&table.concat()), expected);
    }

    #[test]
    fn without_proof_nothing_goes() {
        for table in [
            "",
            "1000-2000 r--p 0 fe:00 42 /x\nRss: 4 kB\n",
            "1000-2000 r--p 0 fe:00 42 /x\nAnonymous: 0 kB\n",
            "zz-1 r--p",
        ] {
            assert_eq!(droppable(table), Droppable::default(), "{table:?}");
        }
    }

    #[test]
    fn this_process_has_code_to_drop_and_lives_on_without_it() {
        let table = fs::read_to_string("/proc/self/smaps").unwrap();
        let found = droppable(&table);
        assert!(!found.files.is_empty() && found.stack.is_some());
        for range in &found.files {
            drop_pages(range);
        }
        assert!(!droppable(&fs::read_to_string("/proc/self/smaps").unwrap()).files.is_empty());
    }
}
