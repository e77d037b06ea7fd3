//! Where a configuration is taken from: flag over environment over file over default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::keys::{PREFIX, keys};
use super::mistake::{ConfigError, explain};
use super::raw::Raw;
use crate::units::Bytes;

/// Variables of this prefix that are about clients, or name the file itself.
const NOT_OURS: &[&str] = &["url", "namespace", "output", "quiet", "config"];

/// Where a configuration is taken from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The configuration file (TOML).
    #[arg(long, env = "RINGWOOD_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where the data is kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// The address to serve HTTP on; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,

    /// A name or address that requests may be sent to besides loopback and localhost; several times for
    /// several.
    #[arg(long, value_name = "HOST")]
    pub(crate) allowed_host: Vec<String>,

    /// All memory the engine may use, such as 2GiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_budget: Option<Bytes>,

    /// Any other key: `--set limits.value_len=4MiB`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// A configuration and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) raw: Raw,
    pub(super) figment: Figment,
}

/// A value given by a flag.
struct Flag {
    name: String,
    key: String,
    value: Value,
}

impl Provider for Flag {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}

impl Sources {
    /// Reads them all.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Raw::default()));
        if let Some(path) = &self.config {
            figment = figment.merge(file(path)?);
        }
        figment = figment.merge(environment());
        for flag in self.flags()? {
            figment = figment.merge(flag);
        }
        match figment.extract() {
            Ok(raw) => Ok(Loaded { raw, figment }),
            Err(error) => Err(explain(&error)),
        }
    }

    fn flags(&self) -> Result<Vec<Flag>, ConfigError> {
        let given = [
            (
                "data_dir",
                self.data_dir
                    .as_ref()
                    .map(|path| path.display().to_string()),
            ),
            ("listen", self.listen.map(|address| address.to_string())),
            (
                "http.allowed_hosts",
                (!self.allowed_host.is_empty()).then(|| self.allowed_host.join(",")),
            ),
            (
                "storage.memory_budget",
                self.memory_budget.map(|size| size.to_string()),
            ),
        ];
        let flag = |(key, value): (&str, Option<String>)| {
            let last = key.rsplit('.').next().unwrap_or(key);
            let last = match key {
                // Given once for each.
                "http.allowed_hosts" => "allowed_host",
                _ => last,
            };
            let name = format!("flag --{}", last.replace('_', "-"));
            Some(Flag {
                name,
                key: key.to_owned(),
                value: Value::from(value?),
            })
        };
        let mut flags: Vec<_> = given.into_iter().filter_map(flag).collect();
        for setting in &self.set {
            let no_setting = || ConfigError::NoSetting(setting.clone());
            let (key, value) = setting.split_once('=').ok_or_else(no_setting)?;
            let value = value.parse().unwrap_or_else(|_| Value::from(value));
            flags.push(Flag {
                name: "flag --set".into(),
                key: key.trim().to_owned(),
                value,
            });
        }
        Ok(flags)
    }
}

fn file(path: &Path) -> Result<figment::providers::Data<Toml>, ConfigError> {
    // A file that was named must be there; figment would pass over it.
    std::fs::metadata(path).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    Ok(Toml::file_exact(path))
}

/// `RINGWOOD_LIMITS_VALUE_LEN` is `limits.value_len`.
fn environment() -> Env {
    let known = keys();
    Env::prefixed(PREFIX)
        .filter(|name| !NOT_OURS.iter().any(|other| name == *other))
        .map(move |name| {
            let known = known
                .iter()
                .find(|key| name == key.replace('.', "_").as_str());
            known.map_or_else(|| name.into(), |key| key.clone().into())
        })
}
