//! `namespace`: tenants' own key spaces, each with its policy.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::str::FromStr;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::client::Client;
use crate::human;
use crate::outcome::{Outcome, UsageError};
use crate::output::{self, Format};
use crate::units::{Bytes, Rate, Seconds, Span};

/// List, make, change and drop namespaces.
#[derive(Subcommand, Debug)]
pub(crate) enum Namespace {
    /// List all, with their policies.
    List,
    /// Make one.
    Create(Named),
    /// Change the policy of one; what is left out stays as it is.
    Set(Named),
    /// Drop one, with all its keys.
    ///
    /// Asks before it does, on a terminal; elsewhere it needs --yes.
    Drop {
        /// Its name.
        name: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

/// A namespace and its policy.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// 1 to 63 of a-z, 0-9, '.', '_' and '-'.
    name: String,
    #[command(flatten)]
    policy: Policy,
}

/// What of a policy can be chosen; `none` takes a limit away.
#[derive(Args, Debug)]
struct Policy {
    /// How long lives what is put without a time of its own: seconds, or 90s, 1h30m, 7d.
    #[arg(long, value_name = "TIME|none")]
    default_ttl: Option<Limit<Seconds>>,
    /// When writes are acknowledged: on disk, or when the system has them.
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// Longest value, such as 64KiB.
    #[arg(long, value_name = "SIZE|none")]
    value_len_max: Option<Limit<Bytes>>,
    /// Requests a second that are answered, items of batches each for itself; the others get 429.
    #[arg(long, value_name = "RATE|none")]
    requests_per_second: Option<Limit<Rate>>,
    /// How much the namespace may hold, roughly, such as 10GiB; then puts are refused.
    #[arg(long, value_name = "SIZE|none")]
    bytes_max: Option<Limit<Bytes>>,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Durability {
    Synced,
    Buffered,
}

/// A limit, or that there is none.
#[derive(Clone, Copy, Debug)]
struct Limit<T>(Option<T>);

impl<T: FromStr<Err: Display>> FromStr for Limit<T> {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            text => match text.parse() {
                Ok(limit) => Ok(Self(Some(limit))),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

impl Policy {
    /// The fields that were given, as the API takes them.
    fn to_json(&self) -> Value {
        let bytes = |limit: Limit<Bytes>| limit.0.map(|Bytes(bytes)| bytes);
        let limits = [
            (
                "default_ttl",
                self.default_ttl
                    .map(|limit| limit.0.map(|Seconds(seconds)| seconds)),
            ),
            ("value_len_max", self.value_len_max.map(bytes)),
            (
                "requests_per_second",
                self.requests_per_second
                    .map(|limit| limit.0.map(|Rate(rate)| rate)),
            ),
            ("bytes_max", self.bytes_max.map(bytes)),
        ];
        let mut policy = json!({});
        for (name, limit) in limits {
            if let Some(limit) = limit {
                policy[name] = json!(limit);
            }
        }
        if let Some(durability) = self.durability {
            policy["durability"] = match durability {
                Durability::Synced => "synced".into(),
                Durability::Buffered => "buffered".into(),
            };
        }
        policy
    }
}

impl Namespace {
    /// Does it.
    ///
    /// # Errors
    /// [`ClientError`](crate::client::ClientError).
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        match self {
            Self::List => {
                let namespaces = client.namespaces(usize::MAX)?;
                output::show(format, &json!({ "namespaces": namespaces }), rows)?;
            }
            Self::Create(Named { name, policy }) => {
                let body = json!({ "name": name, "policy": policy.to_json() });
                tell(&client.post("/v1/namespaces", &body)?, "made", format)?;
            }
            Self::Set(Named { name, policy }) => {
                let now = client.send_json("PUT", &path(&name), &policy.to_json())?;
                tell(&now, "changed", format)?;
            }
            Self::Drop { name, yes } => {
                if !yes && !is_meant(&name)? {
                    output::say(format, "nothing was dropped");
                    return Ok(Outcome::Error);
                }
                client.delete_path(&path(&name))?;
                match format {
                    Format::Json => {
                        let dropped = json!({ "name": name, "status": "dropped" });
                        output::json(&mut io::stdout(), &dropped)?;
                    }
                    Format::Table => output::note(
                        format,
                        format_args!("dropped namespace {name} with all its keys"),
                    ),
                }
            }
        }
        Ok(Outcome::Done)
    }
}

fn path(name: &str) -> String {
    format!(
        "/v1/namespaces/{}",
        utf8_percent_encode(name, NON_ALPHANUMERIC)
    )
}

/// Asks the person at the terminal.
///
/// # Errors
/// [`UsageError`] where there is none to be asked.
fn is_meant(name: &str) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let what = format!("dropping namespace {name} removes all its keys; nothing was dropped");
        return Err(UsageError::new(what)
            .with_help("say --yes if that is meant")
            .into());
    }
    let question = format!("drop namespace {name} with all its keys? [y/N] ");
    let mut to_person = io::stderr().lock();
    to_person.write_all(output::plain(&question).as_bytes())?;
    to_person.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Programs see the namespace as it is now, people that it is.
fn tell(namespace: &Value, done: &str, format: Format) -> Result<()> {
    match format {
        Format::Json => output::json(&mut io::stdout(), namespace)?,
        Format::Table => {
            let [name, durability, limits] = row(namespace);
            let limits = match limits.is_empty() {
                true => "no limits".to_owned(),
                false => limits,
            };
            output::note(
                format,
                format_args!("{done} namespace {name}: {durability}, {limits}"),
            );
        }
    }
    Ok(())
}

fn rows(listed: &Value) -> Vec<Vec<String>> {
    let all = listed["namespaces"].as_array().into_iter().flatten();
    all.map(|one| row(one).to_vec()).collect()
}

/// Its name, its durability, and what it is held to.
fn row(one: &Value) -> [String; 3] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let policy = &one["policy"];
    let limit = |name| policy[name].as_u64();
    let limits = [
        limit("default_ttl").map(|ttl| format!("ttl {}", Span(ttl.saturating_mul(1000)))),
        limit("value_len_max").map(|len| format!("values {}", human::bytes(len))),
        limit("requests_per_second").map(|rate| format!("{rate} requests/s")),
        limit("bytes_max").map(|bytes| format!("at most {}", human::bytes(bytes))),
    ];
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    [
        text(&one["name"]),
        text(&policy["durability"]),
        limits.join(", "),
    ]
}
