use super::*;
use crate::encoded::Encoded;
use crate::frame::{Decoder, Frame};
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeSet;
use std::format;
use std::string::ToString;
use std::vec;

const CLUSTER: ClusterId = ClusterId::new(0x00c0_ffee);

fn node(number: u64) -> Local {
    Local {
        identity: Identity {
            cluster: Some(CLUSTER),
            node: Some(NodeId::new(number)),
            name: format!("n{number}"),
            generation: 10 + number,
        },
        versions: Versions::OURS,
        secret: Some(Secret::new(b"correct horse battery staple").unwrap()),
    }
}

fn challenge(byte: u8) -> Challenge {
    Challenge([byte; 32])
}

fn say(to: &mut Handshake, message: &Message) -> Result<Progress, Failure> {
    to.handle(message.kind(), &message.payload())
}

fn sent(progress: Progress) -> Message {
    match progress {
        Progress::Send(message) => message,
        other => panic!("{other:?}"),
    }
}

/// Who each side sees, that of whoever dials first, or why there is no connection: what each side says.
fn meet(
    dials: Local,
    whom: Option<NodeId>,
    listens: Local,
) -> Result<(Peer, Peer), Box<(Failure, Failure)>> {
    let (mut one, hello) = Handshake::dial(dials, whom, challenge(1));
    let mut other = Handshake::accept(listens, challenge(2));
    let told = |failure: Failure, to: &mut Handshake| {
        let told = say(to, &failure.tell().unwrap()).unwrap_err();
        assert_eq!(told.tell(), None);
        Box::new((failure, told))
    };
    let hello = match say(&mut other, &hello) {
        Ok(progress) => sent(progress),
        Err(failure) => return Err(told(failure, &mut one)),
    };
    let proof = match say(&mut one, &hello) {
        Ok(progress) => sent(progress),
        Err(failure) => return Err(told(failure, &mut other)),
    };
    let dialler = match say(&mut other, &proof) {
        Ok(Progress::Admit(peer)) => peer,
        Ok(other) => panic!("{other:?}"),
        Err(failure) => return Err(told(failure, &mut one)),
    };
    match say(&mut one, &other.admit()) {
        Ok(Progress::Established(peer)) => Ok((peer, dialler)),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(Box::new((failure, failure))),
    }
}

fn refused(dials: Local, whom: Option<NodeId>, listens: Local) -> Refusal {
    let (one, other) = *meet(dials, whom, listens).unwrap_err();
    match (one.why, other.why) {
        (Refused::Here(reason), Refused::ByPeer(told)) => assert_eq!(reason, told),
        other => panic!("{other:?}"),
    }
    match one.why {
        Refused::Here(reason) | Refused::ByPeer(reason) => reason,
    }
}

#[test]
fn handshake_1_two_members_meet() {
    for secret in [true, false] {
        let with = |number| {
            let mut local = node(number);
            local.secret = local.secret.filter(|_| secret);
            local
        };
        let (seen_by_dialler, seen_by_other) =
            meet(with(1), Some(NodeId::new(2)), with(2)).unwrap();
        assert_eq!(seen_by_dialler.identity, node(2).identity);
        assert_eq!(seen_by_other.identity, node(1).identity);
        assert_eq!((seen_by_dialler.version, seen_by_other.version), (1, 1));
    }
}

#[test]
fn whoever_looks_for_a_cluster_is_let_in_by_a_member_only() {
    let guest = |number| {
        let mut local = node(number);
        (local.identity.cluster, local.identity.node) = (None, None);
        local
    };
    let (member, seen) = meet(guest(1), None, node(2)).unwrap();
    assert_eq!(
        (member.identity.cluster, seen.identity.node),
        (Some(CLUSTER), None)
    );
    assert_eq!(refused(guest(1), None, guest(2)), Refusal::NoCluster);
    assert_eq!(refused(node(1), None, guest(2)), Refusal::NoCluster);
}

#[test]
fn the_newest_common_version_is_settled_on() {
    let with = |number, oldest, newest| Local {
        versions: Versions::new(oldest, newest).unwrap(),
        ..node(number)
    };
    let (one, other) = meet(with(1, 1, 4), None, with(2, 3, 9)).unwrap();
    assert_eq!((one.version, other.version), (4, 4));
    let (refuser, refused_versions) = (Versions::new(3, 9).unwrap(), Versions::OURS);
    let expected = Refusal::Versions {
        refuser,
        refused: refused_versions,
    };
    assert_eq!(refused(node(1), None, with(2, 3, 9)), expected);
}

#[test]
fn strangers_are_refused_with_a_reason() {
    let mut foreign = node(2);
    foreign.identity.cluster = Some(ClusterId::new(7));
    let another = Refusal::AnotherCluster {
        refuser: ClusterId::new(7),
        refused: CLUSTER,
    };
    assert_eq!(refused(node(1), None, foreign), another);

    let same = NodeId::new(1);
    assert_eq!(
        refused(node(1), None, node(1)),
        Refusal::SameNode { node: same }
    );

    let (expected, found) = (NodeId::new(3), Some(NodeId::new(2)));
    let another = Refusal::AnotherNode { expected, found };
    assert_eq!(refused(node(1), Some(expected), node(2)), another);

    let open = |number| Local {
        secret: None,
        ..node(number)
    };
    assert_eq!(refused(open(1), None, node(2)), Refusal::SecretMissing);
    assert_eq!(refused(node(1), None, open(2)), Refusal::SecretNotAsked);
    let secret = Secret::new(b"another secret than theirs").ok();
    let wrong = Local { secret, ..node(1) };
    assert_eq!(refused(wrong.clone(), None, node(2)), Refusal::SecretWrong);
}

#[test]
fn handshake_2_claiming_a_secret_that_is_not_there_proves_nothing() {
    // A liar on either side: it says that it has the secret, and does not know it.
    let mut listens = Handshake::accept(node(2), challenge(2));
    let lie = Hello {
        has_secret: true,
        ..Hello::of(
            &Local {
                secret: None,
                ..node(1)
            },
            challenge(1),
        )
    };
    let hello = sent(say(&mut listens, &Message::Hello(lie.clone())).unwrap());
    let Message::Hello(theirs) = hello else {
        panic!("{hello:?}")
    };
    let proof = Message::Proof(secret::tag(None, &Both::of(&lie, &theirs).dials()));
    let failure = say(&mut listens, &proof).unwrap_err();
    assert_eq!(failure.why, Refused::Here(Refusal::SecretWrong));

    let (mut dials, _) = Handshake::dial(node(1), None, challenge(3));
    let lie = Hello {
        has_secret: true,
        ..Hello::of(
            &Local {
                secret: None,
                ..node(2)
            },
            challenge(4),
        )
    };
    let proof = sent(say(&mut dials, &Message::Hello(lie)).unwrap());
    // The best that it has: the proof that it was just given.
    let Message::Proof(tag) = proof else {
        panic!("{proof:?}")
    };
    let failure = say(&mut dials, &Message::Accepted(tag)).unwrap_err();
    assert_eq!(failure.why, Refused::Here(Refusal::SecretWrong));
}

#[test]
fn handshake_2_a_recorded_handshake_opens_nothing() {
    // Everything that the dialling side said in a good handshake …
    let (mut dials, hello) = Handshake::dial(node(1), None, challenge(1));
    let mut listens = Handshake::accept(node(2), challenge(2));
    let answer = sent(say(&mut listens, &hello).unwrap());
    let proof = sent(say(&mut dials, &answer).unwrap());
    assert!(matches!(say(&mut listens, &proof), Ok(Progress::Admit(_))));
    let accepted = listens.admit();
    // … said again to the same node,
    let mut again = Handshake::accept(node(2), challenge(3));
    sent(say(&mut again, &hello).unwrap());
    assert_eq!(
        say(&mut again, &proof).unwrap_err().why,
        Refused::Here(Refusal::SecretWrong)
    );
    // and what the other side said, to a node that dials again.
    let (mut again, _) = Handshake::dial(node(1), None, challenge(4));
    sent(say(&mut again, &answer).unwrap());
    assert_eq!(
        say(&mut again, &accepted).unwrap_err().why,
        Refused::Here(Refusal::SecretWrong)
    );
    // A mirror, which sends a node its own words under another name.
    let (mut dials, hello) = Handshake::dial(node(1), None, challenge(5));
    let Message::Hello(mut mirrored) = hello else {
        panic!("{hello:?}")
    };
    mirrored.identity.node = Some(NodeId::new(2));
    let failure = say(&mut dials, &Message::Hello(mirrored)).unwrap_err();
    assert_eq!(failure.why, Refused::Here(Refusal::Echo));
}

#[test]
fn handshake_1_nobody_in_between_changes_a_word() {
    let (_, hello) = Handshake::dial(node(1), None, challenge(1));
    let payload = hello.payload();
    for bit in 0..payload.len() * 8 {
        let mut changed = payload.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (mut dials, _) = Handshake::dial(node(1), None, challenge(1));
        let mut listens = Handshake::accept(node(2), challenge(2));
        let Ok(progress) = listens.handle(Kind::Hello, &changed) else {
            continue;
        };
        let Ok(progress) = say(&mut dials, &sent(progress)) else {
            continue;
        };
        let failure = say(&mut listens, &sent(progress)).unwrap_err();
        assert_eq!(
            failure.why,
            Refused::Here(Refusal::SecretWrong),
            "bit {bit}"
        );
    }
}

#[test]
fn messages_out_of_turn_and_after_the_end_are_refused() {
    let out_of_turn = Refused::Here(Refusal::OutOfTurn);
    let (mut dials, hello) = Handshake::dial(node(1), None, challenge(1));
    let accepted = Message::Accepted(Tag([0; 32]));
    assert_eq!(say(&mut dials, &accepted).unwrap_err().why, out_of_turn);
    assert_eq!(say(&mut dials, &hello).unwrap_err().why, out_of_turn);
    let mut listens = Handshake::accept(node(2), challenge(2));
    assert!(say(&mut listens, &hello).is_ok());
    assert_eq!(say(&mut listens, &hello).unwrap_err().why, out_of_turn);
    let mut listens = Handshake::accept(node(2), challenge(2));
    let malformed = listens
        .handle(Kind::Consensus, &hello.payload())
        .unwrap_err();
    assert_eq!(malformed.why, Refused::Here(Refusal::Malformed));
}

#[test]
fn an_owner_refuses_whom_it_knows_better() {
    let (mut dials, hello) = Handshake::dial(node(1), None, challenge(1));
    let mut listens = Handshake::accept(node(2), challenge(2));
    let answer = sent(say(&mut listens, &hello).unwrap());
    let proof = sent(say(&mut dials, &answer).unwrap());
    assert!(matches!(say(&mut listens, &proof), Ok(Progress::Admit(_))));
    let reason = Refusal::Removed {
        node: NodeId::new(1),
    };
    let tell = listens.refuse(reason).tell().unwrap();
    let told = say(&mut dials, &tell).unwrap_err();
    assert_eq!(told.why, Refused::ByPeer(reason));
    assert_eq!(
        told.to_string(),
        "the other node refuses: node 0000000000000001 was removed from the cluster: to come back it \
         joins as a new node, with an empty data directory"
    );
}

fn refusals() -> vec::Vec<Refusal> {
    let node = NodeId::new(1);
    let (refuser, refused) = (Versions::OURS, Versions::new(2, 3).unwrap());
    let (ours, theirs) = (CLUSTER, ClusterId::new(2));
    vec![
        Refusal::Malformed,
        Refusal::OutOfTurn,
        Refusal::Versions { refuser, refused },
        Refusal::AnotherCluster {
            refuser: ours,
            refused: theirs,
        },
        Refusal::NoCluster,
        Refusal::SameNode { node },
        Refusal::AnotherNode {
            expected: node,
            found: None,
        },
        Refusal::AnotherNode {
            expected: node,
            found: Some(NodeId::new(2)),
        },
        Refusal::SecretMissing,
        Refusal::SecretNotAsked,
        Refusal::SecretWrong,
        Refusal::Echo,
        Refusal::Removed { node },
        Refusal::NoMember { node },
        Refusal::Replaced {
            node,
            generation: 7,
        },
    ]
}

#[test]
fn refusals_are_read_back_and_each_has_words_of_its_own() {
    let mut words = BTreeSet::new();
    for refusal in refusals() {
        let bytes = refusal.to_vec();
        assert_eq!(Refusal::decode(&bytes), Ok(refusal));
        assert!((0..bytes.len()).all(|cut| Refusal::decode(&bytes[..cut]).is_err()));
        assert!(words.insert(refusal.to_string()));
    }
}

#[test]
fn handshake_3_the_longest_hello_fits() {
    let mut local = node(1);
    local.identity.name = "n".repeat(NAME_LEN_MAX);
    let hello = Hello::of(&local, challenge(1));
    assert!(hello.to_vec().len() <= PAYLOAD_LEN_MAX);
    assert_eq!(Hello::decode(&hello.to_vec()), Ok(hello.clone()));
    let mut longer = hello.to_vec();
    longer[46] += 1;
    longer.insert(47, b'n');
    assert!(Hello::decode(&longer).is_err());
    let control = Hello {
        identity: Identity {
            name: "a\x1b[31m".into(),
            ..hello.identity.clone()
        },
        ..hello
    };
    assert!(Hello::decode(&control.to_vec()).is_err());
}

proptest! {
    #[test]
    fn handshake_3_any_bytes_are_read_or_refused(kind in 0..Kind::ALL.len(), bytes: vec::Vec<u8>) {
        let kind = Kind::ALL[kind];
        if let Some(message) = Message::read(kind, &bytes) {
            prop_assert_eq!((message.kind(), message.payload()), (kind, bytes.clone()));
        }
        let mut listens = Handshake::accept(node(2), challenge(2));
        let failure = listens.handle(kind, &bytes).unwrap_err();
        prop_assert!(!failure.to_string().is_empty());
    }
}

#[test]
fn a_hello_is_this_to_the_byte() {
    let (_, hello) = Handshake::dial(
        node(1),
        None,
        Challenge(core::array::from_fn(|at| u8::try_from(at).unwrap())),
    );
    let mut stream = vec::Vec::new();
    hello.kind().frame(hello.payload()).write(&mut stream);
    let hex: String = stream.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        concat!(
            "52570000490000000100010000000000000000001713653a",
            "0107010001000b00000000000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f026e31",
            "eeffc00000000000000000000000000001000000000000005967d5d53d2724f6",
        )
    );
    let frame = Decoder::new(PAYLOAD_LEN_MAX).feed(&mut &stream[..]);
    let Frame { head, payload } = frame.unwrap().unwrap();
    let kind = Kind::of(&head, Versions::OURS.newest()).unwrap();
    assert_eq!(Message::read(kind, &payload), Some(hello));
}
