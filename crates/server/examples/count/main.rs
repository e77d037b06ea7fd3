//! What `cargo xtask count` looks at: a server in one process with its clients, and nothing beside.
//!
//! ```console
//! $ cargo run --release -p ringwood-server --example count -- ringwood get 1000
//! ```

#[path = "../bare/constant.rs"]
mod constant;
mod load;
mod stream;

use std::error::Error;

use crate::load::{Bench, Load};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [who, name, requests] = &arguments[..] else {
        return Err("usage: count ringwood|bare LOAD REQUESTS".into());
    };
    let load = Load::ALL.into_iter().find(|(known, _)| known == name);
    let (_, load) = load.ok_or("there is no such load")?;
    let mut bench = match who.as_str() {
        "ringwood" => Bench::of_node(load),
        "bare" => Bench::of_constants(load),
        _ => return Err("who is to be asked?".into()),
    };
    bench.run(requests.parse()?);
    // Closing a store writes out what was put, which is no part of a request. Its directory stays.
    std::process::exit(0)
}
