//! Memory that the allocator keeps: handed back to the system when the node rests.
//!
//! See `docs/decisions/0007-the-systems-allocator.md`.
#![allow(unsafe_code)]

/// Hands back what is free. Takes some milliseconds, in which others wait for memory.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes a number, may be called at any time from any thread, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_as_it_is() {
        let held: Vec<Vec<u8>> = (0..1000).map(|n| vec![7; n]).collect();
        give_back();
        assert!(held.iter().flatten().all(|byte| *byte == 7));
    }
}
