//! Which keys there are, and which of them somebody may have meant.

use std::collections::BTreeSet;

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::{Config, ConfigError, PeerNode};
use crate::nearest::{self, distance};

/// Refuses a source that has a key which nobody reads.
pub(super) fn check(source: &Figment, name: &str) -> Result<(), ConfigError> {
    let known = known();
    for key in keys_of(source) {
        if !known.contains(&key) {
            let nearest = nearest(&key, &known);
            return Err(ConfigError::UnknownKey { source_name: name.to_owned(), key, nearest });
        }
    }
    Ok(())
}

/// Every key that is read; `cluster.peers.id` stands for that of each entry.
fn known() -> BTreeSet<String> {
    let mut config = Config::default();
    let address = config.listen.peer;
    config.cluster.peers.push(PeerNode { id: 1, peer: address, public: String::new() });
    let mut keys = keys_of(&Figment::from(Serialized::defaults(config)));
    // A list of tables may be empty.
    keys.insert("cluster.peers".to_owned());
    keys
}

fn keys_of(figment: &Figment) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let dict = figment.extract::<Dict>().unwrap_or_default();
    for (key, value) in &dict {
        collect(key, value, &mut keys);
    }
    keys
}

fn collect(path: &str, value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Dict(_, dict) => {
            for (key, value) in dict {
                collect(&format!("{path}.{key}"), value, keys);
            }
        }
        Value::Array(_, items) if items.iter().any(|item| item.as_dict().is_some()) => {
            items.iter().for_each(|item| collect(path, item, keys));
        }
        _ => {
            keys.insert(path.to_owned());
        }
    }
}

/// The known key that may be meant: the nearest one, or one of the same name elsewhere.
fn nearest(key: &str, known: &BTreeSet<String>) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let near = nearest::nearest(key, known.iter().map(String::as_str));
    let same_name = known.iter().find(|other| last(other) == last(key));
    match (near, same_name) {
        (Some(near), _) if distance(key, near) <= 3 => Some(near.to_owned()),
        (_, Some(same)) => Some(same.clone()),
        (near, None) => near.map(str::to_owned),
    }
}
