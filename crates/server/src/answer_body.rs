//! An answer in the hands of the transport: bytes that carry what was charged for them.

use std::convert::Infallible;
use std::mem::{replace, take};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use ringwood_lsm::Slice;

use crate::activity::Activity;
use crate::answers::SHORT;
use crate::budget::Share;

/// The body of an answer: all of it is there.
#[derive(Debug, Default)]
pub struct AnswerBody {
    bytes: Content,
    hold: Hold,
}

/// The bytes of an answer.
#[derive(Debug)]
enum Content {
    Made(Bytes),
    /// A value where the engine has it: to make [`Bytes`] of it would take an allocation.
    Found(Slice),
}

impl Default for Content {
    fn default() -> Self {
        Self::Made(Bytes::new())
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Made(bytes) => bytes,
            Self::Found(slice) => slice,
        }
    }
}

impl Content {
    /// Leaves the first `count` bytes behind.
    fn advance(&mut self, count: usize) {
        match self {
            Self::Made(bytes) => bytes.advance(count),
            Self::Found(slice) => *slice = replace(slice, Slice::empty()).skip(count),
        }
    }
}

/// What an answer holds on to until it is gone.
#[derive(Debug, Default)]
struct Hold {
    share: Option<Share>,
    debt: Option<Debt>,
}

/// Bytes that a connection has to take.
#[derive(Debug)]
struct Debt {
    activity: Arc<Activity>,
    len: usize,
    /// Its place among the long answers of the connection.
    place: Option<usize>,
}

impl Drop for Debt {
    fn drop(&mut self) {
        // INVARIANT answers-2
        self.activity.answer_gone(self.len, self.place);
    }
}

impl From<Content> for AnswerBody {
    fn from(bytes: Content) -> Self {
        Self {
            bytes,
            hold: Hold::default(),
        }
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        Content::Made(bytes).into()
    }
}

impl From<Slice> for AnswerBody {
    fn from(value: Slice) -> Self {
        Content::Found(value).into()
    }
}

impl AnswerBody {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it must have a share and has none.
    pub(crate) fn needs_share(&self) -> bool {
        self.len() > SHORT && self.hold.share.is_none()
    }

    /// Gives it its share, of which it keeps as much as it is long.
    pub(crate) fn hold(&mut self, mut share: Share) {
        share.shrink_to(self.len());
        self.hold.share = Some(share);
    }

    /// From here on a connection owes it to its client.
    pub(crate) fn owe(&mut self, activity: &Arc<Activity>) {
        let len = self.len();
        if len == 0 {
            return;
        }
        let is_long = self.hold.share.is_some();
        if !is_long && activity.is_multiplexed() {
            // A stream that nobody reads would pin the block or memtable that the value lies in.
            self.bytes = Content::Made(Bytes::copy_from_slice(&self.bytes));
        }
        self.hold.debt = Some(Debt {
            place: activity.answer_made(len, is_long),
            activity: Arc::clone(activity),
            len,
        });
    }
}

impl Body for AnswerBody {
    type Data = Portion;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Portion>, Infallible>>> {
        let Self { bytes, hold } = take(&mut *self);
        let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(Portion { bytes, hold })));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// The bytes of an answer in the hands of the transport, which drops them when they are sent.
#[derive(Debug)]
pub struct Portion {
    bytes: Content,
    hold: Hold,
}

impl Buf for Portion {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(debt) = &self.hold.debt {
            debt.activity.answer_moved(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Answers;
    use crate::config::Limits;

    fn answer(len: usize) -> AnswerBody {
        AnswerBody::from(Bytes::from(vec![7; len]))
    }

    fn portion(body: AnswerBody) -> Portion {
        let mut body = std::pin::pin!(body);
        let mut context = Context::from_waker(std::task::Waker::noop());
        match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_leaves_where_it_lies_piece_by_piece() {
        let value = Slice::from(b"hello world".to_vec());
        let at = value.as_ptr();
        let mut portion = portion(AnswerBody::from(value));
        assert_eq!(portion.chunk().as_ptr(), at, "no copy");
        portion.advance(6);
        assert_eq!((portion.chunk(), portion.remaining()), (&b"world"[..], 5));
        portion.advance(5);
        assert!(!portion.has_remaining());
        assert!(AnswerBody::from(Slice::empty()).is_end_stream());
    }

    #[tokio::test]
    async fn answers_2_what_is_charged_comes_back_when_the_last_byte_is_gone() {
        let answers = Arc::new(Answers::new(4 << 20));
        let activity = Arc::new(Activity::new(&Limits::default(), &answers));
        let mut long = answer(1 << 20);
        assert!(long.needs_share());
        long.hold(answers.long.try_take(2 << 20).unwrap());
        assert_eq!(answers.held(), 1 << 20);
        let mut short = [answer(4 << 10), answer(1000)];
        long.owe(&activity);
        short.iter_mut().for_each(|short| short.owe(&activity));
        assert_eq!(answers.held(), (1 << 20) + 1000);
        let mut long = portion(long);
        long.advance(1000);
        assert_eq!(
            answers.held(),
            (1 << 20) + 1000,
            "it is one piece of memory"
        );
        long.advance(long.remaining());
        drop(long);
        assert_eq!(answers.held(), 1000);
        let [first, second] = short;
        drop(portion(first));
        assert_eq!(answers.held(), 0, "what is left is free");
        drop(second);
        assert_eq!(answers.held(), 0);
    }
}
