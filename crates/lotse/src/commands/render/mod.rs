//! `lotse render`: what `kustomize build` and `helm template` print, without either.

mod disk;
mod fetch;
mod validate;
mod write;

use std::{
    fs,
    io::{IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use lotse_delivery::{git, remotes::Origin};
use lotse_render::{
    DirectoryOptions, Manifest, SourceType, Tree, goyaml,
    helm::{
        Chart, InflateCharts, KubeVersion, Offline, Options, PrintOptions, Release, Rendered, Values,
        files_of_arguments, print, render, render_files,
    },
    kustomize, normalize,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    cli::{Render, RenderFormat},
    exit::{Failure, Kind},
};
use disk::DiskTree;

/// What is to be printed or written.
enum Outcome {
    /// A chart's, with the options of printing.
    Chart(Box<Rendered>, PrintOptions),
    /// The text of a kustomization, and its objects.
    Kustomization(Vec<u8>, Vec<Manifest>),
    /// Plain objects.
    Directory(Vec<Manifest>),
}

/// Runs the command. Nothing is printed unless everything worked.
pub(super) fn run(arguments: &Render) -> Result<(), Failure> {
    let outcome = outcome(arguments)?;
    if arguments.raw {
        let directory = arguments.output_dir.as_deref().unwrap_or(Path::new("."));
        return write::raw(&outcome, directory);
    }
    if arguments.validate {
        validate::check(&outcome.manifests()?)?;
    }
    if let Some(directory) = &arguments.output_dir {
        return write::files(&outcome, directory);
    }
    let text = match arguments.output {
        RenderFormat::Yaml => outcome.text()?,
        RenderFormat::Json => {
            let manifests = outcome.manifests()?;
            let items: Vec<_> = manifests.iter().map(|manifest| &manifest.object).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            let mut text = serde_json::to_vec_pretty(&list).map_err(|error| Failure::from_error("output", &error))?;
            text.push(b'\n');
            text
        }
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(&text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Kind::Failed, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

impl Outcome {
    fn manifests(&self) -> Result<Vec<Manifest>, Failure> {
        match self {
            Outcome::Chart(rendered, options) => rendered.manifests(options).map_err(failed),
            Outcome::Kustomization(_, manifests) | Outcome::Directory(manifests) => Ok(manifests.clone()),
        }
    }

    fn text(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Outcome::Chart(rendered, options) => print(rendered, options).map_err(failed),
            Outcome::Kustomization(text, _) => Ok(text.clone()),
            Outcome::Directory(manifests) => {
                let document = |manifest: &Manifest| {
                    let object = goyaml::from_json_value(&manifest.object);
                    goyaml::emit(&object, goyaml::EmitStyle::V2)
                };
                Ok(manifests.iter().map(document).collect::<Vec<_>>().join(b"---\n".as_slice()))
            }
        }
    }
}

fn failed(error: lotse_render::Error) -> Failure {
    match error {
        lotse_render::Error::NotFound { .. } => Failure::new(Kind::NotFound, error.to_string()),
        error => Failure::new(Kind::Failed, error.to_string()),
    }
}

/// What could not be rendered, or fetched for it.
fn not_fetched(error: lotse_delivery::Error) -> Failure {
    match error {
        lotse_delivery::Error::Render(error) => failed(error),
        error => Failure::new(Kind::Failed, error.to_string()),
    }
}

fn outcome(arguments: &Render) -> Result<Outcome, Failure> {
    let path = &arguments.path;
    if let Some(chart) = fetch::chart(arguments)? {
        return of_chart(&chart, arguments);
    }
    let is_remote = path.contains("://") || (path.contains('@') && path.contains(':'));
    if is_remote {
        // What the user names may be on this machine, what a repository of another machine names may not.
        let named = fetch::session(arguments, Origin::Local)?;
        let tree = named.repository(path, arguments.revision.as_deref()).map_err(not_fetched)?;
        let origin = if path.starts_with("file:") { Origin::Local } else { Origin::Elsewhere };
        return of_tree(&tree, &arguments.directory, arguments, &fetch::session(arguments, origin)?);
    }
    let session = fetch::session(arguments, Origin::Local)?;
    let metadata = fs::metadata(path).map_err(|error| Failure::new(Kind::NotFound, format!("{path}: {error}")))?;
    if metadata.is_file() {
        let packed = fs::read(path).map_err(|error| Failure::new(Kind::Failed, format!("{path}: {error}")))?;
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        return of_chart(&Chart::from_archive(&name, &packed).map_err(failed)?, arguments);
    }
    let found = DiskTree::around(Path::new(path));
    let (tree, directory) = found.map_err(|error| Failure::new(Kind::Failed, format!("{path}: {error}")))?;
    let directory = join(&directory, &arguments.directory)?;
    match &arguments.revision {
        None => of_tree(&tree, &directory, arguments, &session),
        Some(revision) => {
            let root = tree.root().display().to_string();
            let tree = git::tree_at(&root, revision, &copies()?);
            of_tree(&tree.map_err(|error| Failure::from_error("render", &error))?, &directory, arguments, &session)
        }
    }
}

fn join(directory: &str, below: &str) -> Result<String, Failure> {
    normalize(&format!("{directory}/{below}")).or_else(|_| normalize(below)).map_err(failed)
}

/// Where copies of remote repositories are kept.
fn copies() -> Result<PathBuf, Failure> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let cache = cache.ok_or_else(|| {
        Failure::new(Kind::Environment, "there is no place for copies of repositories")
            .with_hint("set HOME or XDG_CACHE_HOME")
    })?;
    Ok(cache.join("lotse/repositories"))
}

fn of_tree(tree: &dyn Tree, directory: &str, arguments: &Render, session: &fetch::Session) -> Result<Outcome, Failure> {
    let directory = normalize(directory).map_err(failed)?;
    match lotse_render::detect(tree, &directory).map_err(failed)? {
        SourceType::Helm => {
            let mut chart = Chart::load(tree, &directory).map_err(failed)?;
            if arguments.chart.dependency_update {
                session.complete(&mut chart, tree, &directory).map_err(not_fetched)?;
            }
            of_chart(&chart, arguments)
        }
        SourceType::Kustomize => {
            let charts = InflateCharts { options: chart_options(arguments)? };
            let options = kustomize::Options { charts: Some(&charts), ..kustomize::Options::default() };
            let build = session.build(tree, &directory, &options).map_err(not_fetched)?;
            let manifests = build.manifests();
            Ok(Outcome::Kustomization(build.text, manifests))
        }
        SourceType::Directory => {
            let options = DirectoryOptions { recurse: arguments.recurse, ..DirectoryOptions::default() };
            let manifests = lotse_render::render_directory(tree, &directory, &options).map_err(failed)?;
            if manifests.is_empty() {
                let what = format!("{}: no kustomization, no chart and no manifests", arguments.path);
                let hint = "name the directory that holds kustomization.yaml or Chart.yaml, or add --recurse";
                return Err(Failure::new(Kind::NotFound, what).with_hint(hint));
            }
            Ok(Outcome::Directory(manifests))
        }
    }
}

fn of_chart(chart: &Chart, arguments: &Render) -> Result<Outcome, Failure> {
    let name = &chart.metadata.name;
    if let Some(missing) = chart.missing_dependencies().first() {
        let what = format!("chart {name}: its dependency {missing} is not in charts/");
        let hint = "--dependency-update fetches it; `helm dependency build` puts it there";
        return Err(Failure::new(Kind::Failed, what).with_hint(hint));
    }
    if chart.metadata.is_library() {
        let what = format!("chart {name} is a library: it has nothing of its own to render");
        return Err(Failure::new(Kind::Failed, what));
    }
    let options = chart_options(arguments)?;
    let rendered =
        if arguments.raw { render_files(chart, &options, &Offline) } else { render(chart, &options, &Offline) };
    if chart.metadata.deprecated && std::io::stderr().is_terminal() {
        eprintln!("warning: chart {name} is deprecated");
    }
    let given = &arguments.chart;
    let printed = PrintOptions {
        include_crds: given.include_crds,
        no_hooks: given.no_hooks,
        skip_tests: given.skip_tests,
        show_only: given.show_only.clone(),
    };
    Ok(Outcome::Chart(Box::new(rendered.map_err(failed)?), printed))
}

fn chart_options(arguments: &Render) -> Result<Options, Failure> {
    let given = &arguments.chart;
    let read = |path: &Path| {
        let name = path.display().to_string();
        match fs::read(path) {
            Ok(content) => Ok((name, content)),
            Err(error) => Err(Failure::new(Kind::NotFound, format!("{name}: {error}"))),
        }
    };
    let mut values = Values {
        set: given.set.clone(),
        set_string: given.set_string.clone(),
        set_json: given.set_json.clone(),
        set_file: given.set_file.clone(),
        set_literal: given.set_literal.clone(),
        ..Values::default()
    };
    for path in &given.values {
        values.files.push(read(path)?);
    }
    for path in files_of_arguments(&given.set_file).map_err(failed)? {
        values.file_contents.push(read(Path::new(&path))?);
    }
    let mut options = Options {
        release: Release {
            name: given.name.clone(),
            namespace: given.namespace.clone(),
            is_upgrade: given.is_upgrade,
            ..Release::default()
        },
        values,
        skip_schema_validation: given.skip_schema_validation,
        seed: seed(given.seed.as_deref())?,
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().try_into().unwrap_or(0)),
        ..Options::default()
    };
    options.capabilities.api_versions.extend(given.api_versions.iter().cloned());
    if let Some(version) = &given.kube_version {
        options.capabilities.kube_version = KubeVersion::parse(version).ok_or_else(|| {
            Failure::new(Kind::Usage, format!("--kube-version {version:?} is no version such as 1.32"))
        })?;
    }
    Ok(options)
}

/// A seed of a text, or of the machine's randomness.
fn seed(text: Option<&str>) -> Result<[u8; 32], Failure> {
    if let Some(text) = text {
        return Ok(Sha256::digest(text).into());
    }
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut seed))
        .map_err(|error| Failure::new(Kind::Environment, format!("/dev/urandom: {error}")))?;
    Ok(seed)
}
