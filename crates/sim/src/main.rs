//! `cargo run -p ringwood-sim --release -- --seed 42`: worlds from seeds.

use std::process::ExitCode;

use clap::Parser;
use ringwood_sim::{Mix, run};

/// Runs simulated worlds.
#[derive(Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Say what each world was like and what came of it.
    #[arg(long)]
    explain: bool,
}

fn main() -> ExitCode {
    let Arguments {
        seed,
        count,
        explain,
    } = Arguments::parse();
    let mut failed = 0_u64;
    for seed in seed..seed + count {
        if explain {
            println!("{:?}", Mix::draw(seed));
        }
        match run(seed) {
            Ok(report) if explain || count == 1 => println!("seed {seed}: {report:?}"),
            Ok(_) => {}
            Err(violation) => {
                println!("{violation}");
                failed += 1;
            }
        }
    }
    println!("{count} worlds, {failed} violations");
    ExitCode::from(u8::from(failed > 0))
}
