//! One client's request, over the replicas of its key: a coordinator, which decides, and the bytes, which it
//! does not need to know.
//!
//! How to read it: a [`Coordinate`] is a value that the task of the request owns. Whoever drives it does what
//! its [`Effect`]s say, gives answers back with their [`Tag`], and wakes it at its deadline. Questions to
//! this node itself go to [`Node::serve`](crate::Node::serve), all others over the network. [`WriteOf`] and
//! [`ReadOf`] translate between that and the machines of `ringwood_protocol`.

mod read;
mod state;
mod write;

use ringwood_protocol::Time;
use ringwood_protocol::coordinator::{Attempt, Failure, Standing};
use ringwood_types::{Epoch, NodeId};

use crate::replica::{PeerReply, PeerRequest};

pub use read::ReadOf;
pub use state::KeyState;
pub use write::WriteOf;

/// A request on its way to its replicas and back.
pub trait Coordinate {
    /// What the client is told.
    type Outcome;

    /// A replica has answered.
    fn told(&mut self, now: Time, tag: Tag, reply: PeerReply);

    /// What it waited for has not come by its deadline.
    fn wake(&mut self, now: Time);

    /// The replicas of a later epoch, as [`Effect::Renew`] wanted them.
    fn renewed(&mut self, now: Time, standing: Standing);

    /// The client is gone.
    fn abandoned(&mut self, now: Time);

    /// What it wants done next, in order.
    fn poll_effect(&mut self) -> Option<Effect<Self::Outcome>>;

    /// When to wake it, if nothing happens before. `None` once it is over.
    fn next_deadline(&self) -> Option<Time>;

    /// No answer will come.
    fn failed(&mut self, now: Time, tag: Tag, failure: Failure) {
        self.told(now, tag, PeerReply::Failed(failure));
    }
}

/// Says which question an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    to: NodeId,
    attempt: Attempt,
    about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Mint,
    Store,
    Read,
    Repair,
}

/// What a request wants done.
#[derive(Debug)]
pub enum Effect<O> {
    /// Ask a replica, which may be this node itself.
    Ask {
        /// This one.
        to: NodeId,
        /// Comes back.
        tag: Tag,
        /// What.
        request: PeerRequest,
    },
    /// The key's replicas in a later epoch are wanted: [`Coordinate::renewed`].
    Renew {
        /// At least this one.
        epoch: Epoch,
    },
    /// The client's answer, once. What is left to be done goes on behind it.
    Reply(O),
}
