//! Helm charts.
mod failure;
mod format;
mod functions;
mod object;
mod options;
mod semver;
mod strconv;
mod template;
mod value;

pub use options::{Capabilities, KubeVersion, Limits, Lookup, Offline, Options, Release, Values};
