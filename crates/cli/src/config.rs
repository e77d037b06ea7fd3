//! Configuration: flag over environment (`RINGWOOD_…`) over file over default.
//!
//! [`Raw`] is what people write; [`Loaded`] knows where each value came from; [`Loaded::check`] makes
//! of it, once, what the node and the server take. An unknown key is an error with a suggestion.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use figment::error::Kind;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};
use ringwood_lsm::Compression;
use ringwood_node::NodeConfig;
use ringwood_server::{ServerConfig, object};
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::units::{Bytes, Names, Span};

const PREFIX: &str = "RINGWOOD_";
/// Variables of this prefix that are about clients, or name the file itself.
const NOT_OURS: &[&str] = &["url", "namespace", "output", "config"];
/// Connections of `dev`.
const DEV_CONNECTIONS: usize = 1000;
/// Words less alike than this are no suggestion.
const ALIKE: f64 = 0.75;

/// What stands in a configuration file. The defaults are here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    data_dir: PathBuf,
    listen: SocketAddr,
    grace: Span,
    #[serde(deserialize_with = "object")]
    http: RawHttp,
    #[serde(deserialize_with = "object")]
    storage: RawStorage,
    #[serde(deserialize_with = "object")]
    limits: RawLimits,
    #[serde(deserialize_with = "object")]
    log: RawLog,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawHttp {
    allowed_hosts: Names,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawStorage {
    memory_budget: Bytes,
    background_threads: usize,
    background_rate: Bytes,
    block_len: Bytes,
    compression: String,
    bottom_compression: String,
    filter_bits_per_key: u8,
    table_len: Bytes,
    log_segment_len: Bytes,
    open_tables_max: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    value_len: Bytes,
    batch_len: Bytes,
    batch_items: usize,
    page_items: usize,
    namespaces: usize,
    connections: usize,
    requests: usize,
    body_bytes: Bytes,
    answer_bytes: Bytes,
    request_timeout: Span,
    idle_timeout: Span,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    filter: String,
    format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object on each line.
    Json,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            data_dir: "ringwood-data".into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            grace: Span(10_000),
            http: RawHttp::default(),
            storage: RawStorage::default(),
            limits: RawLimits::default(),
            log: RawLog::default(),
        }
    }
}

impl Default for RawStorage {
    fn default() -> Self {
        Self {
            memory_budget: Bytes(512 << 20),
            background_threads: 2,
            background_rate: Bytes(0),
            block_len: Bytes(4 << 10),
            compression: "lz4".into(),
            bottom_compression: "lz4".into(),
            filter_bits_per_key: 10,
            table_len: Bytes(64 << 20),
            log_segment_len: Bytes(64 << 20),
            open_tables_max: 4096,
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            value_len: Bytes(1 << 20),
            batch_len: Bytes(8 << 20),
            batch_items: 10_000,
            page_items: 10_000,
            namespaces: 1024,
            connections: 20_000,
            requests: 4096,
            body_bytes: Bytes(128 << 20),
            answer_bytes: Bytes(128 << 20),
            request_timeout: Span(10_000),
            idle_timeout: Span(300_000),
        }
    }
}

impl Default for RawLog {
    fn default() -> Self {
        Self {
            filter: "info".into(),
            format: LogFormat::Text,
        }
    }
}

/// What is wrong with the configuration. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A key that is none.
    #[error("unknown key {key:?} in {origin}{suggestion}")]
    UnknownKey {
        /// As it was written.
        key: String,
        /// Where.
        origin: String,
        /// Begins with what separates it.
        suggestion: String,
    },
    /// A value that does not fit its key.
    #[error("{key} in {origin}: {why}")]
    BadValue {
        /// The key.
        key: String,
        /// Where it was set.
        origin: String,
        /// What would fit.
        why: String,
    },
    /// The file cannot be used at all.
    #[error("configuration file {path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A flag that is no setting.
    #[error("--set {0:?} is no KEY=VALUE")]
    NoSetting(String),
}

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

/// A configuration and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    raw: Raw,
    figment: Figment,
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

/// Every key there is, sections with a dot.
pub(crate) fn keys() -> Vec<String> {
    let defaults = Value::serialize(Raw::default()).expect("our own shapes serialize");
    let mut keys = Vec::new();
    flatten("", &defaults, &mut |key, _| keys.push(key.to_owned()));
    keys
}

fn flatten(prefix: &str, value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Dict(_, dict) => {
            for (name, value) in dict {
                let key = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&key, value, visit);
            }
        }
        _ => visit(prefix, value),
    }
}

/// The first thing that is wrong, in our words.
fn explain(error: &figment::Error) -> ConfigError {
    let origin = error
        .metadata
        .as_ref()
        .map_or_else(|| "the configuration".to_owned(), origin_of);
    let from_environment = origin == ENVIRONMENT;
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(name, _) => {
            let key = if path.is_empty() || path.ends_with(name.as_str()) {
                if path.is_empty() { name.clone() } else { path }
            } else {
                format!("{path}.{name}")
            };
            let (spell, key): (fn(&str) -> String, _) = match from_environment {
                true => (variable, format!("{PREFIX}{}", key.to_uppercase())),
                false => (str::to_owned, key),
            };
            let suggestion = suggest(&key, spell);
            ConfigError::UnknownKey {
                key,
                origin,
                suggestion,
            }
        }
        kind if path.is_empty()
            && error
                .metadata
                .as_ref()
                .is_some_and(|from| from.source.is_some()) =>
        {
            let path = error
                .metadata
                .as_ref()
                .and_then(|from| from.source.as_ref()?.file_path());
            ConfigError::File {
                path: path.unwrap_or(Path::new("?")).to_owned(),
                why: kind.to_string(),
            }
        }
        kind => ConfigError::BadValue {
            key: path,
            origin,
            why: kind.to_string(),
        },
    }
}

const ENVIRONMENT: &str = "the environment";

fn origin_of(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(Source::File(path)) => format!("file {}", path.display()),
        _ if metadata.name.contains("environment") => ENVIRONMENT.to_owned(),
        _ if metadata.name.starts_with("flag") => metadata.name.to_string(),
        _ => "default".to_owned(),
    }
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The known key most like this one, if one is; a section may have been left out.
fn suggest(wrong: &str, spell: fn(&str) -> String) -> String {
    let likeness = |key: &str| {
        let bare = key.rsplit('.').next().unwrap_or(key);
        let wrong_bare = wrong.rsplit('.').next().unwrap_or(wrong);
        strsim::normalized_damerau_levenshtein(&spell(key), wrong)
            .max(strsim::normalized_damerau_levenshtein(bare, wrong_bare))
    };
    let all = keys().into_iter().map(|key| (likeness(&key), key));
    let best = all
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= ALIKE);
    best.map_or_else(
        || "; `ringwood config show` lists the keys there are".to_owned(),
        |(_, key)| format!("; did you mean {:?}?", spell(&key)),
    )
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

    /// Makes what the node and the server take; these check bounds themselves.
    ///
    /// # Errors
    /// [`ConfigError::BadValue`].
    pub(crate) fn check(self) -> Result<Config, ConfigError> {
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
            log_filter: self.raw.log.filter,
            log_format: self.raw.log.format,
        })
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
        let settings = sources.load()?.settings(origin);
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
    fn the_reference_has_every_key_with_its_default() {
        let page = include_str!("../../../docs/configuration.md");
        for Setting { key, value, .. } in set(&[]).unwrap().settings(false) {
            let row = format!("| `{key}` | `{value}` |");
            assert!(page.contains(&row), "configuration.md lacks: {row}");
        }
        let known = keys();
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let key = line.split('`').nth(1).unwrap();
            assert!(
                known.iter().any(|known| known == key),
                "configuration.md has {key}"
            );
        }
    }
}
