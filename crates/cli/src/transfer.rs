//! `import` and `export`: whole directory trees and lines of JSON, in and out.
//!
//! Both survive the server's restarts (they repeat what was not acknowledged) and their own (a
//! journal says how far they came). Writes are repeatable: the same key gets the same value.
//!
//! `tree` and `ndjson` are the two shapes; `patience` repeats, `journal` remembers, `pump` spreads
//! work over threads, `pages` reads a range to its end, `summary` counts and tells.

mod journal;
mod ndjson;
mod pages;
mod patience;
mod pump;
mod summary;
mod tree;

use anyhow::Result;
use clap::Subcommand;

use crate::client::Client;
use crate::outcome::Outcome;
use crate::output::Format;

/// Bring data in.
#[derive(Subcommand, Debug)]
pub(crate) enum Import {
    /// Every file below a directory; the key is the prefix and the file's path.
    Tree(tree::ImportTree),
    /// One JSON object on each line, as `export ndjson` writes them.
    Ndjson(ndjson::ImportNdjson),
}

/// Take data out.
#[derive(Subcommand, Debug)]
pub(crate) enum Export {
    /// A file for every key, below a directory.
    Tree(tree::ExportTree),
    /// One JSON object on each line.
    Ndjson(ndjson::ExportNdjson),
}

impl Import {
    /// Runs to the end, or until nothing goes forward any more.
    ///
    /// # Errors
    /// When the server stays away, or refuses all; what was acknowledged is in the journal.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        match self {
            Self::Tree(tree) => tree.run(client, format),
            Self::Ndjson(ndjson) => ndjson.run(client, format),
        }
    }
}

impl Export {
    /// Runs to the end, or until nothing goes forward any more.
    ///
    /// # Errors
    /// As [`Import::run`].
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        match self {
            Self::Tree(tree) => tree.run(client, format),
            Self::Ndjson(ndjson) => ndjson.run(client, format),
        }
    }
}
