//! What the store consisted of, as far as it can be told.

use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::{self, CURRENT, FileKind, FileNumber};
use crate::manifest::{Manifest, State};
use crate::recovery;
use crate::verify::{damage_of, levels_are_sound};

use super::{Aside, Bench};

/// What is known of the store before its tables are looked at.
pub(super) struct Catalog {
    pub(super) state: State,
    /// Whether the state is the store's last. If not, it is one that it once had, perhaps the empty one.
    pub(super) is_trusted: bool,
}

/// Reads the manifest in force, or whatever else still says something.
pub(super) fn read(bench: &mut Bench<'_>) -> Result<Catalog> {
    let path = &bench.options.path;
    let catalog = match Manifest::read(&*bench.disk, path) {
        Ok(reading) => {
            bench.report.healed = reading.damage;
            Catalog {
                state: reading.state,
                is_trusted: true,
            }
        }
        Err(error @ (Error::NotFound { .. } | Error::UnsupportedFormat { .. })) => {
            return Err(error);
        }
        Err(error) => {
            let damage = damage_of(error)?;
            bench.problem(damage);
            from_any_manifest(bench)?
        }
    };
    let catalog = doubt(bench, catalog)?;
    bench.report.manifest_rebuilt = !catalog.is_trusted;
    if !catalog.is_trusted {
        set_manifests_aside(bench)?;
    }
    Ok(catalog)
}

/// The newest manifest, if it is whole; else the newest that says anything.
fn from_any_manifest(bench: &mut Bench<'_>) -> Result<Catalog> {
    set_manifests_aside(bench)?;
    let mut hint = None;
    for (place, number) in manifests(bench)?.into_iter().rev().enumerate() {
        let path = files::manifest_path(&bench.options.path, number);
        let (state, damage) = match Manifest::salvage(&*bench.disk, &path) {
            Err(error @ Error::UnsupportedFormat { .. }) => return Err(error),
            Err(error) => (State::default(), Some(damage_of(error)?)),
            Ok(read) => read,
        };
        match damage {
            None if place == 0 && !is_superseded(bench, number) => {
                return Ok(Catalog {
                    state,
                    is_trusted: true,
                });
            }
            None => {}
            Some(damage) => bench.problem(damage),
        }
        if !state.keyspaces.is_empty() {
            hint.get_or_insert(state);
        }
    }
    Ok(Catalog {
        state: hint.unwrap_or_default(),
        is_trusted: false,
    })
}

/// Whether a newer manifest than this one was in force: it was named as missing.
fn is_superseded(bench: &Bench<'_>, number: FileNumber) -> bool {
    bench.report.problems.iter().any(|damage| {
        let name = damage.file.file_name().unwrap_or_default();
        let kind = FileKind::parse(&name.to_string_lossy());
        matches!(kind, Some(FileKind::Manifest(in_force)) if in_force > number)
    })
}

/// Looks for signs that the state is not the store's last.
fn doubt(bench: &mut Bench<'_>, mut catalog: Catalog) -> Result<Catalog> {
    let (disk, options) = (&*bench.disk, bench.options);
    let unlisted = recovery::unlisted_logs(disk, options, &catalog.state)?;
    let is_sound = catalog
        .state
        .keyspaces
        .values()
        .all(|one| levels_are_sound(one));
    if catalog.is_trusted && !unlisted.is_empty() {
        let current = options.file(CURRENT);
        bench.problem(Corruption::new(&current, 0, CorruptionKind::MissingRecord));
        catalog.is_trusted = false;
    } else if catalog.is_trusted && !is_sound {
        let current = options.file(CURRENT);
        bench.problem(Corruption::new(&current, 0, CorruptionKind::Order));
        catalog.is_trusted = false;
    }
    Ok(catalog)
}

fn manifests(bench: &Bench<'_>) -> Result<Vec<FileNumber>> {
    let path = &bench.options.path;
    let names = bench
        .disk
        .read_dir(path)
        .map_err(|error| Error::io("list", path, error))?;
    let mut numbers: Vec<_> = names
        .iter()
        .filter_map(|entry| match FileKind::parse(&entry.name) {
            Some(FileKind::Manifest(number)) => Some(number),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn set_manifests_aside(bench: &mut Bench<'_>) -> Result<()> {
    let directory = &bench.options.path;
    let manifests = manifests(bench)?.into_iter();
    let paths = manifests.map(|number| files::manifest_path(directory, number));
    for path in paths.chain([bench.options.file(CURRENT)]) {
        let aside = Aside { path, link: false };
        if !bench.asides.contains(&aside) {
            bench.asides.push(aside);
        }
    }
    Ok(())
}
