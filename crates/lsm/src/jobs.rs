//! Background work, as values: somebody takes a job and runs it.

/// A piece of background work.
#[derive(Debug)]
pub struct Job {}
