//! A range, page by page to its end, whatever becomes of the server in between.

use crate::client::{Client, ClientError, Item, Page, Range};

use super::patience::Patience;

/// Reads a range in key order. A page that failed is asked for again by its first key, as a server
/// that was restarted may not know the cursor.
pub(crate) struct Pages<'a> {
    client: &'a Client,
    patience: &'a Patience,
    range: Range,
    cursor: Option<String>,
    last_key: Option<Vec<u8>>,
    done: bool,
}

impl<'a> Pages<'a> {
    /// The pages of a range, behind `last_key` if there is one.
    pub(crate) fn new(
        client: &'a Client,
        patience: &'a Patience,
        range: Range,
        last_key: Option<Vec<u8>>,
    ) -> Self {
        Self {
            client,
            patience,
            range,
            cursor: None,
            last_key,
            done: false,
        }
    }

    /// The next page with something in it; `None` at the end.
    ///
    /// # Errors
    /// What will not pass, or the last failure when patience ended.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Item>>, ClientError> {
        while !self.done {
            let warm = self
                .cursor
                .take()
                .and_then(|cursor| self.client.page(&self.range, Some(&cursor)).ok());
            let page = match warm {
                Some(page) => page,
                None => self.seek()?,
            };
            if let Some(last) = page.items.last().and_then(Item::key_bytes) {
                self.last_key = Some(last);
            }
            self.done = page.cursor.is_none();
            self.cursor = page.cursor;
            if !page.items.is_empty() {
                return Ok(Some(page.items));
            }
        }
        Ok(None)
    }

    /// The page that begins behind the last key.
    fn seek(&mut self) -> Result<Page, ClientError> {
        if let Some(last) = &self.last_key {
            // The smallest key that is larger.
            self.range.start = Some([last.as_slice(), &[0]].concat());
        }
        self.patience.insist(|| self.client.page(&self.range, None))
    }
}
