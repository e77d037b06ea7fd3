//! `verify`, `repair`, `checkpoint`: work on a data directory that no server has open.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ringwood_lsm::{Db, Options};
use serde_json::json;

use crate::outcome::Outcome;
use crate::output::{self, Format};

/// Copy a data directory that no server has open.
///
/// The copy is a store of its own. Tables are linked, not copied, so it takes no time and little
/// space, and must be on the same file system.
#[derive(Args, Debug)]
pub(crate) struct Checkpoint {
    /// The data directory.
    data_dir: PathBuf,
    /// Where the copy goes; must not be there yet, or be empty.
    to: PathBuf,
}

impl Checkpoint {
    /// Makes it; durable on return.
    ///
    /// # Errors
    /// When the directory is in use, or damaged, or the copy cannot be written.
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        let mut options = Options::new(&self.data_dir);
        options.create = false;
        let db = Db::open(options).with_context(|| {
            format!("cannot open the data directory {}", self.data_dir.display())
        })?;
        db.checkpoint(&self.to)
            .with_context(|| format!("cannot copy to {}", self.to.display()))?;
        db.close()?;
        output::show(
            format,
            &json!({ "status": "copied", "to": self.to }),
            |_| vec![vec!["copied to".to_owned(), self.to.display().to_string()]],
        )?;
        Ok(Outcome::Done)
    }
}
