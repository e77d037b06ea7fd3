//! One run from a seed: several lives of a store, each ended in one way or another.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringwood_env::FaultPlan;
use ringwood_env::faulty::{BadSector, Operation};

use super::coverage::Coverage;
use super::draw;
use super::model::Restart;
use super::world::{Kept, Violation, World, violation};

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    /// The power fails in this call of the first life; otherwise faults are drawn.
    pub crash_at: Option<u64>,
    /// A planted defect of the disk.
    pub plant: FaultPlan,
}

/// What a run came to.
pub struct Outcome {
    pub coverage: Coverage,
    /// Calls of the disk.
    pub operations: u64,
    /// The broken promise, with the seed and what was done.
    pub violation: Option<String>,
}

impl Schedule {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            crash_at: None,
            plant: FaultPlan::default(),
        }
    }

    pub fn run(&self) -> Outcome {
        let world = World::new(self.seed, 60, self.plant.clone());
        watched(world, format!("{self:?}"), |world| match self.crash_at {
            Some(n) => one_life(world, n),
            None => lives(world),
        })
    }
}

/// `steps` steps in which nothing fails; the process is killed or closes the store now and then.
pub fn without_faults(seed: u64, keys_max: u64, steps: u64) -> Outcome {
    let world = World::new(seed, keys_max, FaultPlan::default());
    watched(world, format!("seed {seed}"), |world| {
        world.open(Restart::Process)?;
        let mut left = steps;
        while left > 0 {
            let steps = left.min(1 + world.random.below(2000));
            for _ in 0..steps {
                world.step()?;
            }
            left -= steps;
            world.check_all(None)?;
            end(world)?;
        }
        Ok(())
    })
}

/// Runs it, and reports a broken promise or a panic.
fn watched(mut world: World, name: String, run: impl FnOnce(&mut World) -> Kept) -> Outcome {
    let ran = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    let ran = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        violation(format!("panic: {}", text.unwrap_or_default()))
    });
    Outcome {
        operations: world.disk.operations(),
        violation: ran.err().map(|broken| report(&world, &name, &broken)),
        coverage: world.coverage,
    }
}

fn report(world: &World, name: &str, Violation(what): &Violation) -> String {
    let last =
        |lines: Vec<String>, count: usize| lines[lines.len().saturating_sub(count)..].join("\n");
    let calls = world.disk.trace().iter().map(ToString::to_string).collect();
    format!(
        "{name}\n{what}\n--- done:\n{}\n--- calls:\n{}\n",
        last(world.log.clone(), 400),
        last(calls, 60)
    )
}

/// A run whose every call may be the last one: for loops over `n`.
fn one_life(world: &mut World, n: u64) -> Kept {
    world.plan(FaultPlan::crash_at(n));
    match ringwood_lsm::Db::open(world.options.clone()) {
        Ok(db) => world.db = Some(db),
        Err(_) if world.disk.is_crashed() => {}
        Err(error) => return violation(format!("it cannot be created: {error}")),
    }
    for _ in 0..60 {
        if world.is_down() {
            break;
        }
        world.step()?;
    }
    world
        .coverage
        .note_if(world.disk.is_crashed(), "crashes at a planned call");
    power_cut_twice(world)
}

fn lives(world: &mut World) -> Kept {
    world.open(Restart::Power)?;
    for _ in 0..1 + world.random.below(4) {
        let ops = draw::skewed(&world.random, 150) * world.habits.endurance;
        live(world, ops)?;
        end(world)?;
    }
    world.restart(Restart::Power);
    world.open(Restart::Power)?;
    power_cut_twice(world)
}

/// The same state is recovered twice.
fn power_cut_twice(world: &mut World) -> Kept {
    for _ in 0..2 {
        world.restart(Restart::Power);
        world.open(Restart::Power)?;
    }
    world.check_all(None)
}

/// Works until the store is down, or has done enough.
fn live(world: &mut World, ops: u64) -> Kept {
    let fault = world.random.below(11);
    let disk_fills = fault == 9;
    match fault {
        0..6 => {
            let at = draw::skewed(&world.random, 8 * ops);
            world.plan(FaultPlan::crash_at(at));
        }
        6 | 7 => {
            let mut plan = draw::failures(&world.random);
            if world.random.chance(0.3) {
                plan.crash_at = Some(draw::skewed(&world.random, 8 * ops));
            }
            world.say(format!("planned: {plan:?}"));
            world.plan(plan);
        }
        9 => fill_disk(world),
        10 => spoil_a_sector(world),
        _ => {}
    }
    for _ in 0..ops {
        world.step()?;
        if world.is_down() {
            break;
        }
    }
    if disk_fills && !world.is_down() {
        room_returns(world)?;
    }
    if world.is_down() && !world.disk.is_crashed() {
        check_read_only(world)?;
    }
    Ok(())
}

fn fill_disk(world: &mut World) {
    let path = std::path::Path::new("");
    let huge = 1 << 40;
    world.disk.set_capacity(Some(huge));
    let free = ringwood_env::Disk::available_space(&world.disk, path).unwrap_or(huge);
    let left = draw::skewed(&world.random, 200 << 10);
    world.disk.set_capacity(Some(huge - free + left));
    world.faults_planned = true;
    world.say(format!("{left} bytes are left on the disk"));
}

/// A sector of some table cannot be read for the rest of this life.
fn spoil_a_sector(world: &mut World) {
    let is_table = |path: &String| path.starts_with("store/") && path.ends_with(".sst");
    let tables: Vec<_> = world.disk.paths().into_iter().filter(is_table).collect();
    if tables.is_empty() {
        return;
    }
    let path = world.random.pick(&tables).clone();
    let len = world.disk.read_file(&path).map_or(0, |bytes| bytes.len());
    let offset = world.random.below(1 + len as u64);
    world.say(format!("a sector of {path} is bad, at {offset}"));
    world.plan(FaultPlan {
        bad_sectors: vec![BadSector { path, offset }],
        ..FaultPlan::default()
    });
    world.coverage.note("lives with a bad sector");
}

/// E4: writes resume by themselves.
fn room_returns(world: &mut World) -> Kept {
    let was_full = world.db().statistics().disk_full;
    world.disk.set_capacity(None);
    world.faults_planned = false;
    world.say("the disk has room again");
    world.run_all_jobs()?;
    for _ in 0..5 {
        world.step()?;
    }
    world
        .coverage
        .note_if(was_full, "writes resumed on a disk that was full");
    Ok(())
}

/// E4: a store that failed refuses writes, and what it shows is right.
fn check_read_only(world: &mut World) -> Kept {
    world.coverage.note("stores that refused writes");
    for _ in 0..5 {
        world.step()?;
    }
    world.check_all(None)
}

fn end(world: &mut World) -> Kept {
    let closes = !world.is_down() && world.random.chance(0.4);
    let closed = closes && world.close()?;
    world.coverage.note_if(closed, "closed in order");
    // A file system that cannot save its directories takes no more changes before it is mounted anew.
    let must_cut = world.disk.is_crashed() || world.has_failed(Operation::SyncDir, "");
    let restart = if must_cut || world.random.chance(0.5) {
        Restart::Power
    } else {
        Restart::Process
    };
    if restart == Restart::Process {
        let [any, log] = ["", ".log"].map(|suffix| world.has_failed(Operation::Sync, suffix));
        let coverage = &mut world.coverage;
        coverage.note_if(any, "processes restarted after a failed sync");
        coverage.note_if(log, "processes restarted after a failed sync of the log");
    }
    world.restart(restart);
    world.open(restart)
}
