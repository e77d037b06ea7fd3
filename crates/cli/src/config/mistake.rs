//! What is wrong with a configuration, in our words.

use std::path::{Path, PathBuf};

use figment::error::Kind;

use super::keys::{ENVIRONMENT, PREFIX, keys, origin_of, variable};

/// Words less alike than this are no suggestion.
const ALIKE: f64 = 0.75;

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

/// The first thing that is wrong, in our words.
pub(super) fn explain(error: &figment::Error) -> ConfigError {
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
