//! Writes what fuzzers begin with: the files of a small store, and requests of every kind.
//!
//! ```console
//! $ cargo run -- ../corpus
//! ```

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwood_env::faulty::FaultyDisk;
use ringwood_lsm::{Batch, Compression, Db, Durability, KeyspaceOptions, Options};
use ringwood_types::bytes::Reader;
use ringwood_types::{
    ClusterId, Dot, Hlc, Incarnation, NamespaceId, NodeId, PartitionId, Record, Version,
    VersionVector, context,
};
use ringwood_wire::handshake::{Challenge, Handshake, Identity, Local, Secret};
use ringwood_wire::{Kind, Versions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where a log's frames and a manifest's records begin.
const LOG_PAGE_LEN: usize = 4096;
const MANIFEST_RECORDS: usize = 64;
const MANIFEST_RECORD_HEAD: usize = 24;
/// No seed is longer; segments end in zeros.
const SEED_LEN: usize = 16 << 10;

const TARGETS: &[&str] = &[
    "/",
    "/kv/photos/1",
    "/kv/a%2Fb%00%ff?ttl=60&durability=buffered",
    "/kv/?key64=_-8",
    "/v1/kv/k?encoding=utf8&r=1",
    "/v1/kv?prefix=a&limit=10&reverse&keys_only=true&cursor=AQEAAAA",
    "/v1/kv?start=a+b&end=c%20d",
    "/v1/namespaces/users/kv/k",
    "/v1/namespaces/users/raw/k",
    "/api/v1/kv/range?start=a",
];

const BODIES: &[&str] = &[
    r#"{"value":"aGk=","ttl":3,"content_type":"text/plain","context":"AQ"}"#,
    r#"{"value":"hi","encoding":"utf8","ttl":"never"}"#,
    r#"{"items":[{"op":"put","key":"k","value":"aGk="},{"op":"get","key64":"_w"},{"op":"delete","key":"b"}]}"#,
    r#"{"name":"users","policy":{"mode":"eventual","default_ttl":60,"durability":"synced"}}"#,
    r#"{"default_ttl":null,"value_len_max":1024}"#,
];

const CONVERSATIONS: &[&str] = &[
    "PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhiGET /kv/a HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-0\r\n\r\n",
    "PUT /v1/kv/b?encoding=utf8 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"value\":\"text\"}\r\n0\r\n\r\n",
    "GET /v1/kv?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\nDELETE /v1/kv/b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 56\r\n\r\n{\"items\":[{\"op\":\"put\",\"key\":\"k\",\"value\":\"aGk=\",\"ttl\":9}]}",
    "POST /v1/namespaces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"name\":\"us\"}",
    "HEAD /kv/a HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\nRingwood-Consistency: one\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
];

fn main() -> Result<()> {
    let corpus = PathBuf::from(std::env::args_os().nth(1).ok_or("where to?")?);
    texts(&corpus, "http_target", TARGETS)?;
    texts(&corpus, "http_body", BODIES)?;
    texts(&corpus, "http_connection", CONVERSATIONS)?;
    small_values(&corpus)?;
    peers(&corpus)?;
    topology(&corpus)?;
    let disk = FaultyDisk::new(1);
    fill_store(&disk)?;
    for name in disk.paths() {
        if let Some(bytes) = disk.read_file(&name) {
            store_file(&corpus, &name, &bytes)?;
        }
    }
    Ok(())
}

/// A store with a bit of everything.
fn fill_store(disk: &FaultyDisk) -> Result<()> {
    let mut options = Options::new("store");
    options.disk = Arc::new(disk.clone());
    options.memory_budget = 16 << 20;
    options.log_segment_len = 4 << 20;
    let db = Db::open(options)?;
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd(1)] {
        let options = KeyspaceOptions {
            compression,
            block_len: 1024,
            ..KeyspaceOptions::default()
        };
        let keyspace = db.create_keyspace(&format!("{compression:?}"), options)?;
        for flush in [true, true, false] {
            let mut batch = Batch::new();
            for n in 0..40_u64 {
                let (key, value) = (format!("key {n:04}"), [n.to_le_bytes(); 4].concat());
                match n % 4 {
                    0 => batch.delete(keyspace.id(), key.as_bytes())?,
                    1 => batch.put_expiring(keyspace.id(), key.as_bytes(), &value, 1 << 50)?,
                    _ => batch.put(keyspace.id(), key.as_bytes(), &value)?,
                }
            }
            batch.delete_range(keyspace.id(), b"key 0010", b"key 0012")?;
            db.write(&batch, Durability::Synced)?;
            if flush {
                db.flush()?;
            }
        }
    }
    db.close()?;
    Ok(())
}

/// Gives a file to the targets that read it.
fn store_file(corpus: &Path, path: &str, bytes: &[u8]) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name == "CURRENT" {
        let claim = bytes
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        let claim = claim
            .get(..claim.len().saturating_sub(16))
            .unwrap_or_default();
        seed(corpus, "current", "claim", claim)?;
        seed(corpus, "current", name, bytes)
    } else if name.starts_with("MANIFEST") {
        seed(corpus, "manifest_records", name, &manifest_payloads(bytes))?;
        seed(corpus, "manifest", name, bytes)
    } else if name.ends_with(".log") {
        let (header, frames) = bytes.split_at(LOG_PAGE_LEN.min(bytes.len()));
        seed(corpus, "log_header", name, &header[..header.len().min(64)])?;
        seed(corpus, "log_segment", name, frames)
    } else if name.ends_with(".sst") {
        seed(corpus, "table_block", name, bytes)?;
        seed(corpus, "table", name, bytes)
    } else {
        Ok(())
    }
}

/// The records of a manifest, each a length of two bytes and its edits.
fn manifest_payloads(bytes: &[u8]) -> Vec<u8> {
    let mut payloads = Vec::new();
    let mut rest = bytes.get(MANIFEST_RECORDS..).unwrap_or_default();
    while let Some((head, behind)) = rest.split_first_chunk::<MANIFEST_RECORD_HEAD>() {
        let len = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let Some(payload) = behind.get(..len) else {
            break;
        };
        payloads.extend_from_slice(&head[4..6]);
        payloads.extend_from_slice(payload);
        // Each record stands there twice.
        rest = rest
            .get(2 * (MANIFEST_RECORD_HEAD + len)..)
            .unwrap_or_default();
    }
    payloads
}

/// Batches, records and tokens.
/// What nodes say to each other.
fn peers(corpus: &Path) -> Result<()> {
    // Less the length of the chunks, which the target takes from the end of its input.
    let mut stream = Vec::new();
    for kind in Kind::ALL {
        kind.frame(kind.to_string().into_bytes()).write(&mut stream);
    }
    seed(corpus, "peer_frames", "each kind", &stream)?;
    let identity = Identity {
        cluster: Some(ClusterId::new(1)),
        node: Some(NodeId::new(2)),
        name: "n2".to_owned(),
        generation: 1,
    };
    let (versions, secret) = (Versions::OURS, Secret::new(&[7; 32]).ok());
    let local = Local {
        identity,
        versions,
        secret,
    };
    let (_, hello) = Handshake::dial(local, None, Challenge([2; 32]));
    seed(corpus, "peer_handshake", "hello", &hello.payload())
}

/// What the metadata group wrote in a life of its own: commands, and the state that they led to.
fn topology(corpus: &Path) -> Result<()> {
    let mut log = Reader(include_bytes!(
        "../../../crates/protocol/tests/fixtures/topology-1.log"
    ));
    let snapshot = include_bytes!("../../../crates/protocol/tests/fixtures/topology-1.snapshot");
    seed(corpus, "topology", "snapshot", snapshot)?;
    let mut number = 0;
    while let Some(command) = log.bytes() {
        seed(corpus, "topology", &format!("command {number}"), command)?;
        number += 1;
    }
    Ok(())
}

fn small_values(corpus: &Path) -> Result<()> {
    let version = Version {
        time: Hlc::from_bits(3),
        dot: Dot {
            incarnation: Incarnation::new(1),
            counter: 2,
        },
    };
    let record = Record {
        version,
        content_type: "text/plain",
        value: b"value",
    };
    seed(corpus, "record", "record", &record.to_vec())?;
    let vector = VersionVector::from_iter([version.dot]);
    let token = context::encode(NamespaceId::new(1), PartitionId::new(0), &vector);
    seed(corpus, "context", "token", token.as_bytes())?;
    let mut content = vec![1, 1, 0, 0, 0, 0, 0, 1, 0];
    content.extend([[1, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0]].concat());
    seed(corpus, "context", "content", &content)?;
    let mut position = vec![1, 1, 0, 0, 0];
    position.extend([[2, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0]].concat());
    seed(
        corpus,
        "cursor",
        "position",
        &[&position[..], b"last key"].concat(),
    )?;
    // put "key" = "value" in keyspace 1
    let batch = [1, 1, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0];
    seed(corpus, "batch", "put", &[&batch[..], b"keyvalue"].concat())?;
    seed(
        corpus,
        "table_edited",
        "edits",
        &[0, 1, 0, 0, 255, 0, 3, 9, 0, 0, 1, 0],
    )
}

fn texts(corpus: &Path, target: &str, texts: &[&str]) -> Result<()> {
    for (i, text) in texts.iter().enumerate() {
        seed(corpus, target, &i.to_string(), text.as_bytes())?;
    }
    Ok(())
}

fn seed(corpus: &Path, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let directory = corpus.join(target);
    fs::create_dir_all(&directory)?;
    let end = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    let len = if name.ends_with(".log") {
        end
    } else {
        bytes.len()
    };
    fs::write(
        directory.join(format!("seed-{name}")),
        &bytes[..len.min(SEED_LEN)],
    )?;
    Ok(())
}
