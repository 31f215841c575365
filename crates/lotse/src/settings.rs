//! Settings: flags, then the environment (`LOTSE_*`), then `/etc/lotse/config.toml`, then what the profile used last, then
//! the defaults.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    exit::{Failure, Kind},
    profile::{Profile, write_atomically},
};

/// Settings that may be absent, from any of the places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Partial {
    /// Port of the Kubernetes API.
    pub(crate) api_port: Option<u16>,
    /// Port of the edge for HTTP.
    pub(crate) http_port: Option<u16>,
    /// Port of the edge for HTTPS.
    pub(crate) https_port: Option<u16>,
    /// Seconds between two looks at a remote repository.
    pub(crate) poll_seconds: Option<u64>,
}

/// All settings, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) api_port: u16,
    pub(crate) http_port: u16,
    pub(crate) https_port: u16,
    pub(crate) poll_seconds: u64,
}

/// Where administrators put settings for the machine, unless `LOTSE_CONFIG` names another file.
const CONFIG_FILE: &str = "/etc/lotse/config.toml";

impl Settings {
    /// Settings for `profile`: `given` (flags and environment) win.
    pub(crate) fn resolve(profile: &Profile, given: &Partial) -> Result<Self, Failure> {
        let path = std::env::var("LOTSE_CONFIG").unwrap_or_else(|_| CONFIG_FILE.to_owned());
        let file = read_config(Path::new(&path))?;
        let last = read_last(profile);
        Ok(Self::merge(profile.index, given, &file, &last))
    }

    fn merge(index: u8, given: &Partial, file: &Partial, last: &Partial) -> Self {
        let shift = |base: u16, shifted: u16| if index == 0 { base } else { shifted + u16::from(index) };
        // The file speaks for the machine; ports of further profiles would collide with it.
        let file =
            if index == 0 { file.clone() } else { Partial { poll_seconds: file.poll_seconds, ..Partial::default() } };
        Self {
            api_port: given.api_port.or(file.api_port).or(last.api_port).unwrap_or(6443 + u16::from(index)),
            http_port: given.http_port.or(file.http_port).or(last.http_port).unwrap_or(shift(80, 8080)),
            https_port: given.https_port.or(file.https_port).or(last.https_port).unwrap_or(shift(443, 8443)),
            poll_seconds: given.poll_seconds.or(file.poll_seconds).or(last.poll_seconds).unwrap_or(10).max(1),
        }
    }

    /// Remembers the ports, so that the next start without flags uses the same.
    pub(crate) fn remember(&self, profile: &Profile) -> Result<(), Failure> {
        let last = Partial {
            api_port: Some(self.api_port),
            http_port: Some(self.http_port),
            https_port: Some(self.https_port),
            poll_seconds: None,
        };
        let text = serde_json::to_string_pretty(&last).map_err(|error| Failure::from_error("settings", &error))?;
        write_atomically(&profile.data_dir.join("settings.json"), text.as_bytes())
    }
}

fn read_config(path: &Path) -> Result<Partial, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| {
            Failure::new(Kind::Usage, format!("{}: {}", path.display(), error.to_string().trim()))
                .with_hint("known settings: api-port, http-port, https-port, poll-seconds")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Partial::default()),
        Err(error) => Err(Failure::from_error(path.display(), &error)),
    }
}

/// Nothing when the file is missing or damaged: the defaults serve then.
fn read_last(profile: &Profile) -> Partial {
    let text = fs::read(profile.data_dir.join("settings.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(api_port: Option<u16>) -> Partial {
        Partial { api_port, ..Partial::default() }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_last_use() {
        let none = Partial::default();
        let api = |given: &Partial, file: &Partial, last: &Partial| Settings::merge(0, given, file, last).api_port;
        assert_eq!(api(&ports(Some(1)), &ports(Some(2)), &ports(Some(3))), 1);
        assert_eq!(api(&none, &ports(Some(2)), &ports(Some(3))), 2);
        assert_eq!(api(&none, &none, &ports(Some(3))), 3);
        assert_eq!(api(&none, &none, &none), 6443);
    }

    #[test]
    fn further_profiles_get_ports_of_their_own() {
        let none = Partial::default();
        let settings = Settings::merge(2, &none, &ports(Some(6443)), &none);
        assert_eq!((settings.api_port, settings.http_port, settings.https_port), (6445, 8082, 8445));
    }
}
