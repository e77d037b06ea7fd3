//! What a request takes of the server's own code, in counts that do not depend on the machine.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::Results;

/// How much of everything one request takes, on the average of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Instructions, of all threads; none of the kernel's.
    pub instructions: f64,
    /// Calls of the allocator that give memory.
    pub allocations: f64,
    /// Questions to a clock.
    pub clock_reads: f64,
}

impl Counts {
    /// Each count with its name.
    pub fn named(&self) -> [(&'static str, f64); 3] {
        [
            ("instructions", self.instructions),
            ("allocations", self.allocations),
            ("clock reads", self.clock_reads),
        ]
    }
}

/// One kind of request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub ringwood: Counts,
    /// The bare handler's, where it has such a request.
    pub bare: Option<Counts>,
}

/// Every kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub rows: Vec<Row>,
}

impl Results for Run {
    const NAME: &'static str = "counts";

    fn page(&self) -> String {
        let mut page = String::from(
            "# Counts\n\nBy Callgrind: what one request takes, the kernel left out.\n\n\
             | a request | | instructions | allocations | clock reads |\n|---|---|---|---|---|\n",
        );
        for Row {
            name,
            ringwood,
            bare,
        } in &self.rows
        {
            line(&mut page, name, "Ringwood", ringwood);
            if let Some(bare) = bare {
                line(&mut page, "", "bare handler", bare);
                let ratio = ringwood.instructions / bare.instructions;
                let _ = writeln!(page, "| | ratio | **{ratio:.2}** | | |");
            }
        }
        page
    }
}

fn line(page: &mut String, name: &str, who: &str, counts: &Counts) {
    let Counts {
        instructions,
        allocations,
        clock_reads,
    } = counts;
    let _ = writeln!(
        page,
        "| {name} | {who} | {instructions:.0} | {allocations:.1} | {clock_reads:.1} |"
    );
}
