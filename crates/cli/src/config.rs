//! Configuration: flag over environment (`RINGWOOD_…`) over file over default.
//!
//! `raw` is what people write, `keys` how its keys are spelled, `sources` where it is taken from; [`Loaded`] knows where each value
//! came from, and [`Loaded::check`] makes of it, once, what the node and the server take. An unknown key
//! is an error with a suggestion (`mistake`).

mod keys;
mod mistake;
mod raw;
mod sources;

use anyhow::Result;
use clap::Subcommand;
use figment::value::Value;
use ringwood_lsm::{self as lsm, Compression};
use ringwood_node::{NodeConfig, OpenError};
use ringwood_server::{BindError, Server, ServerConfig};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::outcome::Outcome;
use crate::output::{self, Format};

use keys::{ENVIRONMENT, flatten, origin_of, variable};
pub(crate) use mistake::ConfigError;
pub(crate) use raw::LogFormat;
pub(crate) use sources::{Loaded, Sources};

/// Connections of `dev`.
const DEV_CONNECTIONS: usize = 1000;

/// Look at the configuration.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print every key with its value.
    Show {
        #[command(flatten)]
        sources: Sources,

        /// Say where each value came from.
        #[arg(long)]
        origin: bool,
    },
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) node: NodeConfig,
    pub(crate) server: ServerConfig,
    pub(crate) log_filter: String,
    pub(crate) log_format: LogFormat,
}

/// One key, for people.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    key: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

impl Loaded {
    /// What suits one person at one machine, where nothing else was said: few connections, which any
    /// machine allows, and a log of what matters.
    pub(crate) fn prefer_modest(&mut self) {
        if self.origin("log.filter") == "default" {
            self.raw.log.filter = "warn".into();
        }
        if self.origin("limits.connections") == "default" {
            self.raw.limits.connections = DEV_CONNECTIONS;
        }
    }

    fn origin(&self, key: &str) -> String {
        match self.figment.find_metadata(key).map(origin_of) {
            Some(origin) if origin == ENVIRONMENT => format!("environment {}", variable(key)),
            Some(origin) => origin,
            None => "default".into(),
        }
    }

    /// Every key with its value, and where that came from.
    pub(crate) fn settings(&self, with_origin: bool) -> Vec<Setting> {
        let effective = Value::serialize(&self.raw).expect("our own shapes serialize");
        let mut settings = Vec::new();
        flatten("", &effective, &mut |key, value| {
            let value = match value {
                Value::String(_, text) => text.clone(),
                other => other.to_num().map_or_else(
                    || format!("{other:?}"),
                    |number| {
                        number
                            .to_u128()
                            .map_or_else(|| format!("{number:?}"), |number| number.to_string())
                    },
                ),
            };
            let origin = with_origin.then(|| self.origin(key));
            settings.push(Setting {
                key: key.to_owned(),
                value,
                origin,
            });
        });
        settings
    }

    /// Makes what the node and the server take, and has them check it: whatever passes here is not refused
    /// by them later.
    ///
    /// # Errors
    /// [`ConfigError::BadValue`].
    pub(crate) fn check(&self) -> Result<Config, ConfigError> {
        let config = self.convert()?;
        let wrong = |key: &str, why: String| ConfigError::BadValue {
            key: key.to_owned(),
            origin: self.origin(key),
            why,
        };
        match config.node.validate() {
            Ok(()) => {}
            Err(
                OpenError::InvalidOption { option, why }
                | OpenError::Engine(lsm::Error::InvalidOption { option, why }),
            ) => return Err(wrong(key_of(option), why.to_owned())),
            Err(other) => return Err(wrong("storage", other.to_string())),
        }
        let greatest = config.node.value_len_greatest();
        if config.node.value_len_max > greatest {
            let why = format!(
                "must be at most {greatest} bytes: with its key it takes half a log segment at most, and \
                 storage.log_segment_len is {}",
                self.raw.storage.log_segment_len
            );
            return Err(wrong("limits.value_len", why));
        }
        match Server::check(&config.server) {
            Ok(()) => {}
            Err(error @ BindError::NotLoopback(_)) => {
                return Err(wrong("listen", error.to_string()));
            }
            Err(error @ BindError::NothingAllowed(name)) => {
                return Err(wrong(&format!("limits.{name}"), error.to_string()));
            }
            Err(error) => return Err(wrong("http.allowed_hosts", error.to_string())),
        }
        EnvFilter::try_new(&config.log_filter).map_err(|error| {
            wrong(
                "log.filter",
                format!("{error}; write warn, or info,ringwood_lsm=debug"),
            )
        })?;
        Ok(config)
    }

    fn convert(&self) -> Result<Config, ConfigError> {
        let compression = |key: &str, text: &str| {
            parse_compression(text).ok_or_else(|| ConfigError::BadValue {
                key: key.to_owned(),
                origin: self.origin(key),
                why: format!("{text:?} is no compression; write none, lz4, or zstd:1 to zstd:19"),
            })
        };
        let storage = &self.raw.storage;
        let data_compression = compression("storage.compression", &storage.compression)?;
        let bottom = compression("storage.bottom_compression", &storage.bottom_compression)?;
        let mut node = NodeConfig::new(self.raw.data_dir.clone());
        node.engine.memory_budget = storage.memory_budget.len();
        node.engine.threads = storage.background_threads.max(1);
        node.engine.background_rate = Some(storage.background_rate.0).filter(|rate| *rate > 0);
        node.engine.log_segment_len = storage.log_segment_len.0;
        node.engine.open_tables_max = storage.open_tables_max;
        node.engine.clock_leap_max = storage.clock_leap_max.into();
        node.data.block_len = storage.block_len.len();
        node.data.compression = data_compression;
        node.data.bottom_compression = bottom;
        node.data.filter_bits_per_key = storage.filter_bits_per_key;
        node.data.table_len = storage.table_len.0;
        let limits = &self.raw.limits;
        node.value_len_max = limits.value_len.len();
        node.batch_items_max = limits.batch_items;
        node.page_entries_max = limits.page_items;
        node.namespaces_max = limits.namespaces;
        let mut server = ServerConfig {
            listen: self.raw.listen,
            allowed_hosts: self.raw.http.allowed_hosts.0.clone(),
            grace: self.raw.grace.into(),
            ..ServerConfig::default()
        };
        server.limits.value_len = limits.value_len.len();
        server.limits.batch_len = limits.batch_len.len();
        server.limits.connections = limits.connections;
        server.limits.requests = limits.requests;
        server.limits.body_bytes = limits.body_bytes.len();
        server.limits.answer_bytes = limits.answer_bytes.len();
        server.limits.request_timeout = limits.request_timeout.into();
        server.limits.idle_timeout = limits.idle_timeout.into();
        Ok(Config {
            node,
            server,
            log_filter: self.raw.log.filter.clone(),
            log_format: self.raw.log.format,
        })
    }
}

/// The key that sets an option of the node or the engine.
fn key_of(option: &str) -> &str {
    match option {
        "value_len_max" => "limits.value_len",
        "batch_items_max" => "limits.batch_items",
        "page_entries_max" => "limits.page_items",
        "namespaces_max" => "limits.namespaces",
        "block_len" => "storage.block_len",
        "compression" => "storage.compression",
        "filter_bits_per_key" => "storage.filter_bits_per_key",
        "table_len" => "storage.table_len",
        "log_segment_len" => "storage.log_segment_len",
        "memory_budget" | "memtable_len" => "storage.memory_budget",
        "open_tables_max" => "storage.open_tables_max",
        "clock_leap_max" => "storage.clock_leap_max",
        "background_rate" => "storage.background_rate",
        other => other,
    }
}

fn parse_compression(text: &str) -> Option<Compression> {
    match text {
        "none" => Some(Compression::None),
        "lz4" => Some(Compression::Lz4),
        _ => {
            let level = text.strip_prefix("zstd:")?.parse().ok()?;
            (1..=19)
                .contains(&level)
                .then_some(Compression::Zstd(level))
        }
    }
}

impl Command {
    /// Prints the configuration.
    ///
    /// # Errors
    /// [`ConfigError`], or when stdout cannot be written.
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        let Self::Show { sources, origin } = self;
        let loaded = sources.load()?;
        loaded.check()?;
        let settings = loaded.settings(origin);
        output::show(format, &settings, |settings| {
            let row = |setting: &Setting| {
                let mut row = vec![setting.key.clone(), setting.value.clone()];
                row.extend(setting.origin.clone());
                row
            };
            settings.iter().map(row).collect()
        })?;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &[&str]) -> Result<Loaded, ConfigError> {
        let set = settings.iter().map(|one| (*one).to_owned()).collect();
        Sources {
            set,
            ..Sources::default()
        }
        .load()
    }

    #[test]
    fn defaults_are_what_the_node_and_the_server_have_by_themselves() {
        let config = set(&[]).unwrap().check().unwrap();
        let (mut node, server) = (NodeConfig::new("ringwood-data"), ServerConfig::default());
        node.on_rest = config.node.on_rest; // a function has no equal
        assert_eq!(format!("{:?}", config.node), format!("{node:?}"));
        assert_eq!(format!("{:?}", config.server), format!("{server:?}"));
    }

    #[test]
    fn hosts_are_given_as_a_list_as_text_or_one_by_one() {
        let hosts = |sources: Sources| {
            sources
                .load()
                .unwrap()
                .check()
                .unwrap()
                .server
                .allowed_hosts
        };
        let both = ["a.example".to_owned(), "b.example".to_owned()];
        let flags = Sources {
            allowed_host: both.to_vec(),
            ..Sources::default()
        };
        assert_eq!(hosts(flags), both);
        for text in ["a.example, b.example", r#"["a.example", "b.example"]"#] {
            let setting = format!("http.allowed_hosts={text}");
            let config = set(&[&setting]).unwrap().check().unwrap();
            assert_eq!(config.server.allowed_hosts, both, "{text}");
        }
        let none = set(&["http.allowed_hosts=none"]).unwrap().check().unwrap();
        assert!(none.server.allowed_hosts.is_empty());
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        for (wrong, right) in [
            ("storage.memroy_budget=1", "storage.memory_budget"),
            ("memory_budget=1", "storage.memory_budget"),
            ("lisen=1", "listen"),
        ] {
            let error = set(&[wrong]).unwrap_err().to_string();
            assert!(error.contains("flag --set"), "{error}");
            assert!(
                error.contains(&format!("did you mean {right:?}?")),
                "{error}"
            );
        }
        let error = set(&["zebra=1"]).unwrap_err().to_string();
        assert!(error.contains("config show"), "{error}");
    }

    #[test]
    fn values_that_do_not_fit_name_their_key() {
        for bad in [
            "storage.memory_budget=lots",
            "listen=here",
            "limits.connections=-1",
            "log.format=xml",
            "http=[none]",
            "log=[info, json]",
        ] {
            let key = bad.split('=').next().unwrap();
            let error = set(&[bad]).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
        for bad in [
            "storage.compression=zip",
            "storage.bottom_compression=zstd:40",
        ] {
            let error = set(&[bad]).unwrap().check().unwrap_err().to_string();
            assert!(error.contains("is no compression"), "{error}");
        }
        assert!(matches!(set(&["x"]), Err(ConfigError::NoSetting(_))));
    }

    #[test]
    fn what_the_node_and_the_server_refuse_is_refused_beforehand_by_its_key() {
        for bad in [
            "storage.memory_budget=64KiB",
            "storage.log_segment_len=5000",
            "storage.open_tables_max=1",
            "storage.clock_leap_max=10ms",
            "storage.block_len=1MiB",
            "storage.table_len=1KiB",
            "storage.filter_bits_per_key=33",
            "limits.value_len=1GiB",
            "limits.value_len=16MiB",
            "limits.connections=0",
            "limits.requests=0",
            "limits.batch_len=0",
            "limits.body_bytes=0",
            "limits.answer_bytes=0",
            "limits.batch_items=0",
            "limits.page_items=0",
            "limits.namespaces=0",
            "listen=0.0.0.0:7400",
            "http.allowed_hosts=a.example:80",
            "log.filter=ringwood=loud",
        ] {
            let key = bad.split('=').next().unwrap();
            let error = set(&[bad]).unwrap().check().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{key} in flag --set:")),
                "{error}"
            );
        }
    }

    #[test]
    fn the_longest_value_can_be_stored_and_is_told() {
        for (segment, longest) in [("64MiB", 16_776_933), ("4MiB", 2_093_056), ("16KiB", 4096)] {
            let segment = format!("storage.log_segment_len={segment}");
            let with = |len: u64| {
                set(&[&segment, &format!("limits.value_len={len}")])
                    .unwrap()
                    .check()
            };
            with(longest).unwrap();
            let error = with(longest + 1).unwrap_err().to_string();
            assert!(
                error.starts_with("limits.value_len in flag --set:"),
                "{error}"
            );
            assert!(
                error.contains(&format!("at most {longest} bytes")),
                "{error}"
            );
        }
        let error = set(&["storage.log_segment_len=1MiB"])
            .unwrap()
            .check()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("storage.log_segment_len is 1MiB"),
            "{error}"
        );
    }

    #[test]
    fn the_reference_has_every_key_with_its_default() {
        let page = include_str!("../../../docs/configuration.md");
        for Setting { key, value, .. } in set(&[]).unwrap().settings(false) {
            let row = format!("| `{key}` | `{value}` |");
            assert!(page.contains(&row), "configuration.md lacks: {row}");
        }
        let known = keys::keys();
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let key = line.split('`').nth(1).unwrap();
            assert!(
                known.iter().any(|known| known == key),
                "configuration.md has {key}"
            );
        }
    }
}
