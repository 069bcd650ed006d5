//! Where values come from: flags over environment over file over defaults.

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};

use super::{Config, ConfigError, keys};

/// What the values of keys are sought in.
#[derive(Debug)]
pub(crate) struct Sources {
    name: String,
    file: Figment,
    environment: Figment,
    flags: Figment,
}

impl Sources {
    /// Reads a file, the environment, and flags of the form `section.key=value`.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that is not there, and for a key that nobody reads.
    pub(crate) fn read(path: &Path, flags: &[String]) -> Result<Self, ConfigError> {
        let environment = Env::prefixed("ROTARY_").filter(|key| key.as_str().contains("__"));
        Self::with_environment(path, Figment::from(environment.split("__")), flags)
    }

    /// The same, with something in the environment's place.
    pub(super) fn with_environment(
        path: &Path,
        environment: Figment,
        flags: &[String],
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let file = Figment::from(Toml::string(&text));
        let flags = flags_of(flags)?;
        let name = path.display().to_string();
        let sources = Self { name, file, environment, flags };
        keys::check(&sources.file, &sources.name)?;
        keys::check(&sources.environment, "environment")?;
        keys::check(&sources.flags, "--set")?;
        Ok(sources)
    }

    /// The name of the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Every key with the value of the strongest source that has it.
    pub(super) fn merged(&self) -> Result<Config, ConfigError> {
        let merged = Figment::from(Serialized::defaults(Config::default()))
            .merge(&self.file)
            .merge(&self.environment)
            .merge(&self.flags);
        merged.extract().map_err(|error| {
            let errors: Vec<String> = error.into_iter().map(|error| error.to_string()).collect();
            ConfigError::Value(format!("{}: {}", self.name, errors.join("; ")))
        })
    }

    /// Which source the value of a key is from, as one would find it again.
    pub(crate) fn origin(&self, key: &str) -> String {
        if self.flags.find_value(key).is_ok() {
            "--set".to_owned()
        } else if self.environment.find_value(key).is_ok() {
            format!("ROTARY_{}", key.replace('.', "__").to_uppercase())
        } else if self.file.find_value(key).is_ok() {
            self.name.clone()
        } else {
            "default".to_owned()
        }
    }
}

/// Flags as a source of their own: `section.key=value`, the value as in the file.
fn flags_of(flags: &[String]) -> Result<Figment, ConfigError> {
    let mut figment = Figment::new();
    for flag in flags {
        let Some((key, value)) = flag.split_once('=') else {
            return Err(ConfigError::Value(format!("--set {flag}: section.key=value expected")));
        };
        let value: figment::value::Value = value.parse().unwrap_or_else(|never| match never {});
        figment = figment.merge((key.trim().to_owned(), value));
    }
    Ok(figment)
}
