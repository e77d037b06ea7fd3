//! How messages of the membership stand in bytes.
//!
//! # Format
//! ```text
//! Message   Life | body u8 | number varint (1 Ping, 2 Ack, 4 Nack)
//!                          | number varint, target u64 (3 PingFor)
//!                          | nothing (5 News)
//!                          | digest u64, answer flag (6 Compare)
//!           | Rumor … to the end
//! Rumor     node u64 | Life | 0 alive
//!                           | 1 silent: milliseconds varint, reporter u64
//! Life      generation varint | refutation varint
//! ```

use alloc::vec::Vec;
use core::time::Duration;

use ringwood_types::NodeId;
use ringwood_wire::{Encoded, Reader, Writer};

use super::life::Life;
use super::message::{Body, Claim, Message, Rumor};

/// Longest message: with the frame around it, it fits a packet.
pub const MESSAGE_LEN_MAX: usize = 1300;

/// Silences are below 2^40 ms, 34 years: no sum of them overflows.
const SILENCE_MS_END: u64 = 1 << 40;

impl Encoded for Life {
    fn write(&self, to: &mut Writer) {
        to.varint(self.generation);
        to.varint(self.refutation);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            generation: from.varint()?,
            refutation: from.varint()?,
        })
    }
}

impl Encoded for Rumor {
    fn write(&self, to: &mut Writer) {
        self.node.write(to);
        self.life.write(to);
        match self.claim {
            Claim::Alive => to.u8(0),
            Claim::Silent {
                silent_for,
                reporter,
            } => {
                to.u8(1);
                let millis = u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX);
                to.varint(millis.min(SILENCE_MS_END - 1));
                reporter.write(to);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            node: NodeId::read(from)?,
            life: Life::read(from)?,
            claim: match from.u8()? {
                0 => Claim::Alive,
                1 => Claim::Silent {
                    silent_for: from
                        .varint()
                        .filter(|millis| *millis < SILENCE_MS_END)
                        .map(Duration::from_millis)?,
                    reporter: NodeId::read(from)?,
                },
                _ => return None,
            },
        })
    }
}

impl Encoded for Message {
    fn write(&self, to: &mut Writer) {
        self.life.write(to);
        match self.body {
            Body::Ping { number } => {
                to.u8(1);
                to.varint(number);
            }
            Body::Ack { number } => {
                to.u8(2);
                to.varint(number);
            }
            Body::PingFor { number, target } => {
                to.u8(3);
                to.varint(number);
                target.write(to);
            }
            Body::Nack { number } => {
                to.u8(4);
                to.varint(number);
            }
            Body::News => to.u8(5),
            Body::Compare { digest, is_answer } => {
                to.u8(6);
                to.u64(digest);
                to.bool(is_answer);
            }
        }
        self.rumors.iter().for_each(|rumor| rumor.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        if from.0.len() > MESSAGE_LEN_MAX {
            return None;
        }
        let life = Life::read(from)?;
        let body = match from.u8()? {
            1 => Body::Ping {
                number: from.varint()?,
            },
            2 => Body::Ack {
                number: from.varint()?,
            },
            3 => Body::PingFor {
                number: from.varint()?,
                target: NodeId::read(from)?,
            },
            4 => Body::Nack {
                number: from.varint()?,
            },
            5 => Body::News,
            6 => Body::Compare {
                digest: from.u64()?,
                is_answer: from.bool()?,
            },
            _ => return None,
        };
        let mut rumors = Vec::new();
        while !from.is_empty() {
            rumors.push(Rumor::read(from)?);
        }
        Some(Self { life, body, rumors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lives() -> impl Strategy<Value = Life> {
        any::<(u64, u64)>().prop_map(|(generation, refutation)| Life {
            generation,
            refutation,
        })
    }

    fn rumors() -> impl Strategy<Value = Rumor> {
        let claim = prop_oneof![
            Just(Claim::Alive),
            (0..SILENCE_MS_END, any::<u64>()).prop_map(|(millis, reporter)| Claim::Silent {
                silent_for: Duration::from_millis(millis),
                reporter: NodeId::new(reporter),
            }),
        ];
        (any::<u64>(), lives(), claim).prop_map(|(node, life, claim)| Rumor {
            node: NodeId::new(node),
            life,
            claim,
        })
    }

    fn messages() -> impl Strategy<Value = Message> {
        let body = (1..7u8, any::<u64>(), any::<u64>(), any::<bool>());
        let body = body.prop_map(|(tag, number, other, is_answer)| match tag {
            1 => Body::Ping { number },
            2 => Body::Ack { number },
            3 => Body::PingFor {
                number,
                target: NodeId::new(other),
            },
            4 => Body::Nack { number },
            5 => Body::News,
            _ => Body::Compare {
                digest: number,
                is_answer,
            },
        });
        (lives(), body, prop::collection::vec(rumors(), 0..10))
            .prop_map(|(life, body, rumors)| Message { life, body, rumors })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(message in messages()) {
            let bytes = message.to_vec();
            prop_assert_eq!(Message::decode(&bytes), Ok(message.clone()));
            let mut len = 0;
            for cut in 0..bytes.len() {
                // Cut between two rumors it is a message with fewer of them.
                if let Ok(shorter) = Message::decode(&bytes[..cut]) {
                    len += 1;
                    prop_assert_eq!(&shorter.rumors, &message.rumors[..shorter.rumors.len()]);
                }
            }
            prop_assert_eq!(len, message.rumors.len());
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in 0..8u8, bytes: Vec<u8>) {
            let bytes = [&[1, 0, body], &bytes[..]].concat();
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.to_vec(), bytes);
            }
        }
    }

    #[test]
    fn a_longer_message_is_refused() {
        let life = Life::of_start(1);
        let rumor = Rumor {
            node: NodeId::new(1),
            life,
            claim: Claim::Alive,
        };
        let with = |count| Message {
            life,
            body: Body::News,
            rumors: Vec::from_iter([rumor].repeat(count)),
        };
        let (one, none) = (with(1).to_vec().len(), with(0).to_vec().len());
        let most = (MESSAGE_LEN_MAX - none) / (one - none);
        assert!(Message::decode(&with(most).to_vec()).is_ok());
        assert!(Message::decode(&with(most + 1).to_vec()).is_err());
    }

    #[test]
    fn the_format_is_this_to_the_byte() {
        let node = NodeId::new;
        let life = |generation, refutation| Life {
            generation,
            refutation,
        };
        let silent = Claim::Silent {
            silent_for: Duration::from_millis(5000),
            reporter: node(4),
        };
        let message = Message {
            life: life(300, 1),
            body: Body::PingFor {
                number: 7,
                target: node(2),
            },
            rumors: Vec::from([
                Rumor {
                    node: node(3),
                    life: life(1, 0),
                    claim: Claim::Alive,
                },
                Rumor {
                    node: node(2),
                    life: life(2, 1),
                    claim: silent,
                },
            ]),
        };
        let hex: alloc::string::String = message
            .to_vec()
            .iter()
            .map(|byte| alloc::format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "ac0201030702000000000000000300000000000000010000020000000000000002010188270400000000000000"
        );
    }
}
