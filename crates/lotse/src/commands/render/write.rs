//! `--output-dir`: files instead of one text.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use lotse_render::{Manifest, goyaml};

use super::{Outcome, failed};
use crate::exit::{Failure, Kind};

/// Writes exactly what each template of a chart has printed.
pub(super) fn raw(outcome: &Outcome, directory: &Path) -> Result<(), Failure> {
    let Outcome::Chart(rendered, _) = outcome else {
        return Err(Failure::new(Kind::Usage, "--raw is for charts: only templates print bytes of their own"));
    };
    rendered.files.iter().try_for_each(|(name, content)| write(directory, name, content, false).map(drop))
}

/// Writes the documents: those of a chart below the names of their templates, as Helm does; objects of a kustomization or a
/// directory one by one, as Kustomize does.
pub(super) fn files(outcome: &Outcome, directory: &Path) -> Result<(), Failure> {
    match outcome {
        Outcome::Chart(rendered, options) => {
            let mut begun = BTreeSet::new();
            for document in rendered.printed(options).map_err(failed)? {
                let mut text = Vec::new();
                document.write(&mut text);
                let first = begun.insert(document.path);
                let file = write(directory, document.path, &text, !first)?;
                if first {
                    println!("wrote {}", file.display());
                }
            }
            Ok(())
        }
        Outcome::Kustomization(_, manifests) | Outcome::Directory(manifests) => {
            manifests.iter().try_for_each(|manifest| {
                let object = goyaml::from_json_value(&manifest.object);
                let text = goyaml::emit(&object, goyaml::EmitStyle::V2);
                write(directory, &file_name(manifest), &text, false).map(drop)
            })
        }
    }
}

/// `apps_v1_deployment_web.yaml`
fn file_name(manifest: &Manifest) -> String {
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_lowercase().replace('/', "_");
    let object = &manifest.object;
    let namespace = word(&object["metadata"]["namespace"]);
    let parts = [namespace, word(&object["apiVersion"]), word(&object["kind"]), word(&object["metadata"]["name"])];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}.yaml", parts.join("_").replace(':', "-"))
}

fn write(directory: &Path, name: &str, content: &[u8], append: bool) -> Result<PathBuf, Failure> {
    // Names come from charts: they stay below the directory whatever they say.
    let name = lotse_render::normalize(name).map_err(|error| Failure::new(Kind::Failed, error.to_string()))?;
    let path = directory.join(name);
    let failed = |error: std::io::Error| Failure::new(Kind::Failed, format!("{}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).append(append).truncate(!append);
    options.open(&path).and_then(|mut file| file.write_all(content)).map_err(failed)?;
    Ok(path)
}
