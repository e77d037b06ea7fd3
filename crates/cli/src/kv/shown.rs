//! How keys with their values are printed, wherever they come from.

use std::io::Write;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;

use crate::client::Item;
use crate::output::{self, Format};

/// How much of a value a line of a table shows.
const SHOWN: usize = 60;

/// How values of many keys are printed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Shown {
    /// Print values in base64, not as text where they are text.
    #[arg(long)]
    pub(crate) base64: bool,
    /// Print whole values, not how long ones begin.
    #[arg(long)]
    full: bool,
}

impl Shown {
    /// Prints a key that was found.
    pub(crate) fn item(self, out: &mut impl Write, format: Format, item: &Item) -> Result<()> {
        if format == Format::Json {
            output::json(out, item)?;
            return Ok(());
        }
        out.write_all(output::printable(&item.key_bytes().unwrap_or_default()).as_bytes())?;
        if let Some(value) = item.value_bytes() {
            write!(out, "\t{}", self.value(&value))?;
        }
        out.write_all(b"\n")?;
        Ok(())
    }

    /// Prints what became of an item of a batch.
    pub(crate) fn result(self, out: &mut impl Write, format: Format, result: &Value) -> Result<()> {
        if format == Format::Json {
            output::json(out, result)?;
            return Ok(());
        }
        let text = |name: &str| result[name].as_str().unwrap_or_default();
        let item = serde_json::from_value::<Item>(result.clone()).unwrap_or_default();
        let told = match text("status") {
            "failed" => format!("{}: {}", text("code"), text("detail")),
            _ => item
                .value_bytes()
                .map_or_else(String::new, |value| self.value(&value)),
        };
        writeln!(
            out,
            "{}\t{}\t{}",
            output::plain(text("status")),
            output::printable(&item.key_bytes().unwrap_or_default()),
            output::plain(&told)
        )?;
        Ok(())
    }

    /// A value on one line.
    fn value(self, value: &[u8]) -> String {
        let cut = match self.full {
            true => value,
            false => &value[..value.len().min(SHOWN)],
        };
        let more = if cut.len() < value.len() { "…" } else { "" };
        match self.base64 {
            true => STANDARD.encode(cut) + more,
            false => output::printable(cut) + more,
        }
    }

    /// Has a get of a batch answered as a range is: as text where that is wanted and nothing else said.
    pub(crate) fn ask(self, item: &mut Value) {
        if !self.base64 && item["op"] == "get" && item.get("encoding").is_none() {
            item["encoding"] = "utf8".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_look_the_same_wherever_they_come_from() {
        let item = |value: &[u8]| json!({ "status": "found", "key": "k", "value": STANDARD.encode(value) });
        let lines = |shown: Shown, value: &[u8]| {
            let (mut scanned, mut got) = (Vec::new(), Vec::new());
            let scan = serde_json::from_value(item(value)).unwrap();
            shown.item(&mut scanned, Format::Table, &scan).unwrap();
            shown.result(&mut got, Format::Table, &item(value)).unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            let (scanned, got) = (text(scanned), text(got));
            assert_eq!(format!("found\t{scanned}"), got);
            scanned
        };
        let (base64, full) = (Shown::default(), Shown::default());
        let (base64, full) = (
            Shown {
                base64: true,
                ..base64
            },
            Shown { full: true, ..full },
        );
        assert_eq!(lines(Shown::default(), b"a\xff\x1b"), "k\ta\\xff\\u{1b}\n");
        assert_eq!(lines(base64, b"a\xff\x1b"), "k\tYf8b\n");
        let long = [b'x'; SHOWN + 1];
        assert!(lines(Shown::default(), &long).ends_with("x…\n"));
        assert!(lines(full, &long).ends_with("xx\n"));
        assert!(lines(base64, &long).ends_with("…\n"));
    }
}
