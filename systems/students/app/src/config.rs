//! Configuration: `DB_HOST`, `DB_PORT` and `DB_NAME` from the environment; user and password from the files `db_user` and
//! `db_password` under `/etc/app-secrets`, or from `DB_USER` and `DB_PASSWORD` where there are no such files.

use std::{env, fs, io, path::Path};

/// Where a Secret is mounted, unless `APP_SECRETS_DIR` names another directory.
const SECRETS_DIR: &str = "/etc/app-secrets";

/// What the application needs to know.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) port: u16,
    pub(crate) db_host: String,
    pub(crate) db_port: u16,
    pub(crate) db_name: String,
    pub(crate) db_user: String,
    pub(crate) db_password: String,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{0} is not set: give it in the environment{1}")]
    Missing(&'static str, &'static str),
    #[error("{name} must be a port number from 1 to 65535, not {value:?}")]
    Port { name: &'static str, value: String },
    #[error("cannot read the secret {path}")]
    Secret {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Config {
    pub(crate) fn from_environment() -> Result<Self, ConfigError> {
        let secrets = env::var("APP_SECRETS_DIR").unwrap_or_else(|_| SECRETS_DIR.to_owned());
        Self::from(|name| env::var(name).ok(), Path::new(&secrets))
    }

    fn from(variable: impl Fn(&str) -> Option<String>, secrets: &Path) -> Result<Self, ConfigError> {
        let required = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        let port = |name: &'static str, default: u16| match variable(name) {
            None => Ok(default),
            Some(value) => match value.parse() {
                Ok(port) if port > 0 => Ok(port),
                _ => Err(ConfigError::Port { name, value }),
            },
        };
        let secret = |file: &str, name: &'static str| {
            let path = secrets.join(file);
            match fs::read_to_string(&path) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    required(name).ok_or(ConfigError::Missing(name, " or as a file under /etc/app-secrets"))
                }
                Err(source) => Err(ConfigError::Secret { path: path.display().to_string(), source }),
            }
        };
        Ok(Self {
            port: port("PORT", 8080)?,
            db_host: required("DB_HOST").ok_or(ConfigError::Missing("DB_HOST", ""))?,
            db_port: port("DB_PORT", 5432)?,
            db_name: required("DB_NAME").ok_or(ConfigError::Missing("DB_NAME", ""))?,
            db_user: secret("db_user", "DB_USER")?,
            db_password: secret("db_password", "DB_PASSWORD")?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn variables<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |wanted| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
    }

    const BASE: [(&str, &str); 2] = [("DB_HOST", "db"), ("DB_NAME", "students")];

    #[test]
    fn secret_files_win_over_the_environment_and_lose_their_line_end() {
        let dir = std::env::temp_dir().join(format!("students-config-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("db_user"), "file-user\n").unwrap();
        fs::write(dir.join("db_password"), "file-password").unwrap();
        let all = [BASE.as_slice(), &[("DB_USER", "x"), ("DB_PASSWORD", "y")]].concat();
        let config = Config::from(variables(&all), &dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((config.db_user.as_str(), config.db_password.as_str()), ("file-user", "file-password"));
        assert_eq!((config.port, config.db_port), (8080, 5432));
    }

    #[test]
    fn the_environment_serves_where_there_are_no_secret_files() {
        let all = [BASE.as_slice(), &[("DB_USER", "x"), ("DB_PASSWORD", "y")]].concat();
        let config = Config::from(variables(&all), Path::new("/nonexistent")).unwrap();
        assert_eq!((config.db_user.as_str(), config.db_password.as_str()), ("x", "y"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Config::from(variables(&[]), Path::new("/nonexistent")).err().unwrap();
        assert_eq!(error.to_string(), "DB_HOST is not set: give it in the environment");
        let error = Config::from(variables(&BASE), Path::new("/nonexistent")).err().unwrap();
        assert!(error.to_string().starts_with("DB_USER is not set"), "{error}");
    }
}
