//! Dependencies of charts that are not in `charts/`: what `helm dependency build` would put there.

use lotse_render::{
    Tree,
    helm::{Chart, Dependency, choose_version, unpack},
    normalize,
};
use serde::Deserialize;

use super::session::Session;
use crate::Error;

/// Charts that depend on one another.
const MAX_DEPTH: usize = 16;

/// `Chart.lock`, or `requirements.lock` of Helm 2.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Lock {
    dependencies: Vec<Locked>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Locked {
    name: String,
    version: String,
    repository: String,
}

impl Session {
    /// Puts the dependencies that a chart wants and does not have into it. The chart is in a directory of `tree`, where
    /// `file://` is looked up.
    pub fn complete(&self, chart: &mut Chart, tree: &dyn Tree, directory: &str) -> Result<(), Error> {
        self.complete_at(chart, tree, &normalize(directory)?, MAX_DEPTH)
    }

    fn complete_at(&self, chart: &mut Chart, tree: &dyn Tree, directory: &str, depth: usize) -> Result<(), Error> {
        let missing: Vec<String> = chart.missing_dependencies().into_iter().map(str::to_owned).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let parent = chart.metadata.name.clone();
        if depth == 0 {
            let message = format!("more than {MAX_DEPTH} charts depend on one another; the last one is {parent}");
            return Err(lotse_render::Error::Chart { path: directory.to_owned(), message }.into());
        }
        let lock = Lock::read(tree, directory, &chart.metadata.dependencies)?;
        let wanted = chart.metadata.dependencies.clone();
        let mut added: Vec<(String, String)> = Vec::new();
        for (position, dependency) in wanted.iter().enumerate() {
            if !missing.contains(&dependency.name) {
                continue;
            }
            let pinned = lock.as_ref().and_then(|lock| lock.dependencies.get(position));
            let version = pinned.map_or(dependency.version.as_str(), |locked| locked.version.as_str());
            let identity = (dependency.name.clone(), version.to_owned());
            if added.contains(&identity) {
                continue;
            }
            let wanted_by = |error: Error| Error::Wanted {
                wanted_by: format!("chart {parent}: dependency {} {version}", dependency.name),
                source: Box::new(error),
            };
            let subchart = self.dependency(dependency, version, tree, directory, depth - 1).map_err(wanted_by)?;
            chart.add_dependency(subchart);
            added.push(identity);
        }
        Ok(())
    }

    /// One dependency, complete itself.
    fn dependency(
        &self,
        wanted: &Dependency,
        version: &str,
        tree: &dyn Tree,
        directory: &str,
        depth: usize,
    ) -> Result<Chart, Error> {
        let failed = |message: String| Error::Repository { url: wanted.repository.clone(), message };
        let subchart = if wanted.repository.is_empty() {
            let message = "is not in charts/, and Chart.yaml names no repository for it".to_owned();
            return Err(Error::Render(lotse_render::Error::Chart { path: format!("charts/{}", wanted.name), message }));
        } else if let Some(path) = wanted.repository.strip_prefix("file://") {
            if path.starts_with('/') {
                return Err(failed(
                    "is an absolute path; name the chart relative to this one: file://../name".to_owned(),
                ));
            }
            let place = normalize(&format!("{directory}/{path}"))?;
            let mut subchart = Chart::load(tree, &place)?;
            let found = subchart.metadata.version.clone();
            if choose_version(version, &[&found]).map_err(failed)?.is_none() {
                return Err(failed(format!("has version {found}")));
            }
            self.complete_at(&mut subchart, tree, &place, depth)?;
            subchart
        } else {
            let fetched = self.chart(&wanted.repository, &wanted.name, version)?;
            let name = format!("{}-{}.tgz", wanted.name, fetched.version);
            let mut subchart = Chart::from_archive(&name, &fetched.packed)?;
            if !subchart.missing_dependencies().is_empty() {
                self.complete_at(&mut subchart, &unpack(&name, &fetched.packed)?, "", depth)?;
            }
            subchart
        };
        if subchart.metadata.name != wanted.name {
            return Err(failed(format!("the chart there is called {:?}", subchart.metadata.name)));
        }
        Ok(subchart)
    }
}

// === impl Lock ===

impl Lock {
    /// The lock of a chart, if it is there and still about these dependencies.
    fn read(tree: &dyn Tree, directory: &str, wanted: &[Dependency]) -> Result<Option<Self>, Error> {
        let inside = |name: &str| if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
        let places = ["Chart.lock", "requirements.lock"].map(inside);
        let Some(path) = places.into_iter().find(|path| tree.exists(path)) else { return Ok(None) };
        let document = lotse_render::yaml::documents(&path, &tree.read(&path)?)?.into_iter().next().unwrap_or_default();
        let lock = serde_json::from_value::<Option<Self>>(document).map_err(|error| {
            Error::Render(lotse_render::Error::Chart { path, message: format!("cannot be read: {error}") })
        })?;
        Ok(lock.filter(|lock| lock.is_in_sync(wanted)))
    }

    /// The same charts of the same repositories, each in a version that is wanted.
    fn is_in_sync(&self, wanted: &[Dependency]) -> bool {
        let fits = |(locked, wanted): (&Locked, &Dependency)| {
            locked.name == wanted.name
                && locked.repository.trim_end_matches('/') == wanted.repository.trim_end_matches('/')
                && choose_version(&wanted.version, &[&locked.version]).is_ok_and(|found| found.is_some())
        };
        self.dependencies.len() == wanted.len() && self.dependencies.iter().zip(wanted).all(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_counts_only_while_it_is_about_the_same_dependencies() {
        let wanted = |version: &str| Dependency {
            name: "db".to_owned(),
            version: version.to_owned(),
            repository: "https://charts.example.org/".to_owned(),
            ..Dependency::default()
        };
        let locked = Locked {
            name: "db".to_owned(),
            version: "1.2.3".to_owned(),
            repository: "https://charts.example.org".to_owned(),
        };
        let lock = Lock { dependencies: vec![locked] };
        assert!(lock.is_in_sync(&[wanted("1.x")]) && lock.is_in_sync(&[wanted("")]));
        assert!(!lock.is_in_sync(&[wanted("^2")]) && !lock.is_in_sync(&[]));
        assert!(!lock.is_in_sync(&[wanted("1.x"), wanted("1.x")]));
    }
}
