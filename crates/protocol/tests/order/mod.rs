//! The order of `consensus`, held against what a disk really has.

use ringwood_protocol::consensus::{Body, Entry, Message, Role, Status, Stored};
use ringwood_types::NodeId;

/// A message that leaves at once is of a term that is durable.
pub fn check_sent(durable: &Stored, message: &Message) -> Result<(), String> {
    let asks_only = matches!(
        message.body,
        Body::Vote { pre: true, .. }
            | Body::VoteReply {
                pre: true,
                granted: true
            }
    );
    if asks_only || message.term <= durable.hard.term {
        return Ok(());
    }
    Err(format!(
        "order 3: {message:?} leaves in {:?}",
        durable.hard.term
    ))
}

/// Who leads has its own vote on its disk.
pub fn check_leads(durable: &Stored, node: NodeId, status: &Status) -> Result<(), String> {
    let elected = durable.hard.term == status.term && durable.hard.vote == Some(node);
    if status.role != Role::Leader || elected {
        return Ok(());
    }
    Err(format!(
        "order 4: {node} leads {:?} before its vote is durable",
        status.term
    ))
}

/// What is applied stands on the disk.
pub fn check_applied(durable: &Stored, entry: &Entry) -> Result<(), String> {
    let stands = entry.index <= durable.snapshot.index || durable.entries.contains(entry);
    if stands {
        return Ok(());
    }
    Err(format!(
        "order 5: {:?} is applied before it is durable",
        entry.index
    ))
}
