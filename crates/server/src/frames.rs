//! Where the frames of HTTP/2 begin and end in what a client sends, so far as to know whether it owes the
//! rest of one.
//!
//! The protocol's own reader keeps what has come of a frame, and of a head in several, for as long as
//! the rest takes. A piece of a body is no concern here: bodies have deadlines of their own.
//!
//! *Format* (RFC 9113, 4.1): length (3 bytes), type, flags, stream (4), then so many bytes of payload.

/// Length of what stands before each payload.
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames of a connection from behind its preface.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; FRAME_HEAD],
    /// Bytes of it that have come.
    head_len: usize,
    payload_left: usize,
    /// Whether a head has begun that goes on in the next frame.
    goes_on: bool,
}

/// What the client owes after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    /// Whether it was done with all that it had begun, at the end or on the way.
    pub(crate) was_done: bool,
    /// Whether it has begun what it has to finish.
    pub(crate) rest: bool,
}

impl Frames {
    /// Passes over the bytes that come next.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) -> Owed {
        let mut was_done = !self.is_open();
        while !bytes.is_empty() {
            bytes = match self.head_len < FRAME_HEAD {
                true => self.pass_head(bytes),
                false => self.pass_payload(bytes),
            };
            if self.head_len == FRAME_HEAD && self.payload_left == 0 {
                self.end();
            }
            was_done |= !self.is_open();
        }
        Owed {
            was_done,
            rest: self.is_open(),
        }
    }

    fn pass_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let len = bytes.len().min(FRAME_HEAD - self.head_len);
        let (now, rest) = bytes.split_at(len);
        self.head[self.head_len..][..len].copy_from_slice(now);
        self.head_len += len;
        let [a, b, c, ..] = self.head;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        rest
    }

    fn pass_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let len = bytes.len().min(self.payload_left);
        self.payload_left -= len;
        &bytes[len..]
    }

    fn end(&mut self) {
        let [.., kind, flags, _, _, _, _] = self.head;
        self.goes_on = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
        self.head_len = 0;
    }

    fn is_open(&self) -> bool {
        let is_body = self.head_len == FRAME_HEAD && self.head[3] == DATA;
        self.goes_on || (self.head_len > 0 && !is_body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, len: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, len, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(7, len.into()));
        frame
    }

    #[test]
    fn a_client_owes_the_rest_of_what_it_began() {
        let done = (true, false);
        for (bytes, expected) in [
            (vec![], done),
            (frame(4, 0, 0), done),
            (frame(4, 0, 6), done),
            (frame(HEADERS, END_HEADERS, 20), done),
            (frame(HEADERS, 0, 20), (true, true)),
            (frame(HEADERS, 1, 0), (true, true)),
            (
                [frame(HEADERS, 0, 20), frame(CONTINUATION, 0, 3)].concat(),
                (true, true),
            ),
            (
                [frame(HEADERS, 0, 20), frame(CONTINUATION, END_HEADERS, 3)].concat(),
                done,
            ),
            (frame(HEADERS, END_HEADERS, 20)[..28].to_vec(), (true, true)),
            (frame(4, 0, 6)[..1].to_vec(), (true, true)),
            (frame(DATA, 0, 100)[..8].to_vec(), (true, true)),
            (frame(DATA, 0, 100)[..9].to_vec(), done),
            (frame(DATA, 0, 100)[..50].to_vec(), done),
        ] {
            let mut whole = Frames::default();
            let owed = whole.pass(&bytes);
            assert_eq!((owed.was_done, owed.rest), expected, "{bytes:?}");
            let mut bytewise = Frames::default();
            for byte in &bytes {
                bytewise.pass(&[*byte]);
            }
            assert_eq!(bytewise.is_open(), expected.1, "{bytes:?}");
        }
    }

    #[test]
    fn a_head_that_is_finished_and_followed_by_another_was_done() {
        let mut frames = Frames::default();
        let head = frame(HEADERS, END_HEADERS, 20);
        assert!(frames.pass(&head[..10]).rest);
        assert_eq!(
            frames.pass(&head[10..15]),
            Owed {
                was_done: false,
                rest: true
            }
        );
        let next = [&head[15..], &head[..3]].concat();
        assert_eq!(
            frames.pass(&next),
            Owed {
                was_done: true,
                rest: true
            }
        );
    }
}
