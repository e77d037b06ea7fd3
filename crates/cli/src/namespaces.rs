//! `namespace`: tenants' own key spaces, each with its policy.

use anyhow::Result;
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::client::Client;
use crate::outcome::Outcome;
use crate::output::{self, Format};

/// List, make and drop namespaces.
#[derive(Subcommand, Debug)]
pub(crate) enum Namespace {
    /// List all, with their policies.
    List,
    /// Make one.
    Create(Create),
    /// Drop one, with all its keys.
    Drop {
        /// Its name.
        name: String,
    },
}

/// Make a namespace.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// 1 to 63 of a-z, 0-9, '.', '_' and '-'.
    name: String,
    /// Seconds to live of what is put without a time of its own.
    #[arg(long, value_name = "SECONDS")]
    default_ttl: Option<u64>,
    /// Acknowledge writes when the system has them, not when they are on disk.
    #[arg(long)]
    buffered: bool,
}

impl Namespace {
    /// Does it.
    ///
    /// # Errors
    /// [`ClientError`](crate::client::ClientError).
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        match self {
            Self::List => {
                let listed: Value = client.get_json("/v1/namespaces")?;
                output::show(format, &listed, rows)?;
            }
            Self::Create(create) => {
                let durability = if create.buffered {
                    "buffered"
                } else {
                    "synced"
                };
                let mut policy = json!({ "durability": durability });
                if let Some(ttl) = create.default_ttl {
                    policy["default_ttl"] = ttl.into();
                }
                let body = json!({ "name": create.name, "policy": policy });
                let made = client.send_json("POST", "/v1/namespaces", &body)?;
                if format == Format::Json {
                    output::json(&mut std::io::stdout(), &made)?;
                }
            }
            Self::Drop { name } => {
                client.delete_path(&format!(
                    "/v1/namespaces/{}",
                    utf8_percent_encode(&name, NON_ALPHANUMERIC)
                ))?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn rows(listed: &Value) -> Vec<Vec<String>> {
    let all = listed["namespaces"].as_array().into_iter().flatten();
    let row = |one: &Value| {
        let name = one["name"].as_str().unwrap_or_default().to_owned();
        let ttl = one["policy"]["default_ttl"].as_u64();
        let durability = one["policy"]["durability"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        vec![
            name,
            durability,
            ttl.map_or_else(String::new, |ttl| format!("ttl {ttl}s")),
        ]
    };
    all.map(row).collect()
}
