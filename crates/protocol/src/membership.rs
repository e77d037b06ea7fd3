//! Who is there: each node's own view of the health of all others.
//!
//! Who *belongs* to the cluster is committed and comes in ([`Input::Members`]); how they *are* is found
//! here, by probes and by word of mouth: SWIM (Das et al., 2002) with Lifeguard's local health (Dadgar
//! et al., 2017). A [`Detector`] is one node's. How to read it: [`states`] are the five states and the
//! edges between them; [`seam`] is what goes in and comes out; [`message`] is what nodes say, `encode`
//! how it stands in bytes; `rumors` is what is passed on, `members` what is known; `detector` is the
//! machine.
//!
//! # How a node comes to be suspicious, and down
//! Each [gossip interval](Tuning::gossip_interval) a node pings the next of all others, in an order of
//! chance. Who does not answer in half of it is pinged through three others, and again at once. Who is
//! silent then too is reported: "silent for so long", with the reporter's name, rides on every message.
//! Whoever is silent for [`Tuning::suspicion_threshold`] is suspicious, and down after
//! [`Tuning::down_threshold`], up to twice as late while fewer than three reporters say so. Silence is
//! always a duration, counted on each node's own clock: no two clocks are compared.
//!
//! A node that hears that it is silent refutes: it raises its [`Life`], and what was said of an earlier
//! life is void. So does a restart, with a new generation.
//!
//! # A node suspects itself first
//! Missed probes that helpers do not confirm, refutations and time in which this node did not run count
//! against its own health; the worse it is, the longer it waits before it calls a probe missed. Time in
//! which it did not run (it was stopped, or the machine slept) is nobody's silence.
//!
//! # Invariants
//! - `member-1`: a member's state changes along legal edges only; permanently failed and removed are
//!   committed elsewhere and only come in.
//! - `member-2`: what was said of an earlier life of a node has no effect.
//! - `member-3`: nobody is proposed as failed before it was silent for
//!   [`Tuning::permanent_failure_threshold`] at a stretch, while most members were reachable, few were
//!   down and this node was well: when many fail together, it is probably the network, or we.
//! - `member-4`: a message takes at most [`MESSAGE_LEN_MAX`] bytes, and what is new is said a bounded
//!   number of times by each node.
//!
//! *Not here*: addresses, sockets, who serves what. States guide requests and repairs; they move no
//! data.

mod detector;
mod encode;
mod health;
mod life;
mod members;
pub mod message;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
mod rumors;
pub mod seam;
pub mod states;
mod tuning;

pub use detector::Detector;
pub use encode::MESSAGE_LEN_MAX;
pub use life::Life;
pub use message::{Body, Claim, Message, Rumor};
pub use seam::{Brake, Effect, Input, MemberView, Standing};
pub use states::{State, Why};
pub use tuning::{BadTuning, Tuning};
