//! Randomness, as an argument: a seed replays a run.

use std::fmt::Debug;

/// Where random bits come from.
pub trait Random: Debug + Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The operating system's source, fit for identifiers and secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                // A machine without a random source cannot mint ids that never repeat.
                Err(error) => panic!("the operating system gives no random bytes: {error}"),
            }
        }
        u64::from_ne_bytes(bytes)
    }
}
