//! Defects planted on purpose, which show that worlds find what they are there for.

use ringwood_protocol::coordinator::plant::Plant as CoordinatorPlant;

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Replicas answer before what they answer is durable.
    AnswerBeforeSync,
    /// A coordinator's.
    Coordinator(CoordinatorPlant),
}
