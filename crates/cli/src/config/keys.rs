//! The keys there are, as files and variables spell them, and where a value came from.

use figment::value::Value;
use figment::{Metadata, Source};

use super::raw::Raw;

pub(super) const PREFIX: &str = "RINGWOOD_";
pub(super) const ENVIRONMENT: &str = "the environment";

/// Every key there is, sections with a dot.
pub(super) fn keys() -> Vec<String> {
    let defaults = Value::serialize(Raw::default()).expect("our own shapes serialize");
    let mut keys = Vec::new();
    flatten("", &defaults, &mut |key, _| keys.push(key.to_owned()));
    keys
}

pub(super) fn flatten(prefix: &str, value: &Value, visit: &mut impl FnMut(&str, &Value)) {
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

pub(super) fn origin_of(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(Source::File(path)) => format!("file {}", path.display()),
        _ if metadata.name.contains("environment") => ENVIRONMENT.to_owned(),
        _ if metadata.name.starts_with("flag") => metadata.name.to_string(),
        _ => "default".to_owned(),
    }
}

pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}
