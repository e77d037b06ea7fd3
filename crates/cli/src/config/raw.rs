//! What people write: the keys of a configuration file, and their defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ringwood_server::object;
use serde::{Deserialize, Serialize};

use crate::units::{ByteRate, Bytes, Names, Span};

/// What stands in a configuration file. The defaults are here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    pub(super) data_dir: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) grace: Span,
    #[serde(deserialize_with = "object")]
    pub(super) http: RawHttp,
    #[serde(deserialize_with = "object")]
    pub(super) storage: RawStorage,
    #[serde(deserialize_with = "object")]
    pub(super) limits: RawLimits,
    #[serde(deserialize_with = "object")]
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawHttp {
    pub(super) allowed_hosts: Names,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawStorage {
    pub(super) memory_budget: Bytes,
    pub(super) background_threads: usize,
    pub(super) background_rate: ByteRate,
    pub(super) block_len: Bytes,
    pub(super) compression: String,
    pub(super) bottom_compression: String,
    pub(super) filter_bits_per_key: u8,
    pub(super) table_len: Bytes,
    pub(super) log_segment_len: Bytes,
    pub(super) open_tables_max: usize,
    pub(super) clock_leap_max: Span,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    pub(super) value_len: Bytes,
    pub(super) batch_len: Bytes,
    pub(super) batch_items: usize,
    pub(super) page_items: usize,
    pub(super) namespaces: usize,
    pub(super) connections: usize,
    pub(super) requests: usize,
    pub(super) body_bytes: Bytes,
    pub(super) answer_bytes: Bytes,
    pub(super) request_timeout: Span,
    pub(super) idle_timeout: Span,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLog {
    pub(super) filter: String,
    pub(super) format: LogFormat,
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
            background_rate: ByteRate(0),
            block_len: Bytes(4 << 10),
            compression: "lz4".into(),
            bottom_compression: "lz4".into(),
            filter_bits_per_key: 10,
            table_len: Bytes(64 << 20),
            log_segment_len: Bytes(64 << 20),
            open_tables_max: 4096,
            clock_leap_max: Span(3_600_000),
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
