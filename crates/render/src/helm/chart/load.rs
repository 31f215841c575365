//! Puts a chart together from its files.

use std::collections::BTreeMap;

use super::{
    Chart, File, TemplateFile, archive, ignore,
    metadata::{Metadata, requirements},
    wrong,
};
use crate::{
    Error, Tree,
    helm::{value::Text, values},
    join, normalize,
};

/// Charts inside each other.
const MAX_NESTING: usize = 16;

/// Bytes of a chart, subcharts unpacked.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// Files of a chart.
pub(super) const MAX_FILES: usize = 50_000;

impl Chart {
    /// Reads the chart in a directory of the tree; what `.helmignore` names is left out.
    pub fn load(tree: &dyn Tree, directory: &str) -> Result<Self, Error> {
        let directory = normalize(directory)?;
        let rules = match tree.exists(&join(&directory, ".helmignore")) {
            true => {
                let path = join(&directory, ".helmignore");
                ignore::Rules::parse(&tree.read(&path)?).map_err(|message| wrong(&path, message))?
            }
            false => ignore::Rules::default(),
        };
        let mut files = Vec::new();
        let mut bytes = 0;
        for path in tree.files(&directory)? {
            let name = path.strip_prefix(&directory).unwrap_or(&path).trim_start_matches('/');
            if rules.ignores(name) {
                continue;
            }
            let data = tree.read(&path)?;
            bytes += data.len() as u64;
            let too_much = |what, limit| Err(Error::Limit { path: directory.clone(), what, limit });
            if bytes > MAX_BYTES {
                return too_much("size of the chart in bytes", MAX_BYTES);
            }
            if files.len() == MAX_FILES {
                return too_much("number of files of the chart", MAX_FILES as u64);
            }
            files.push(File { name: name.to_owned(), data: without_mark(&data) });
        }
        let name = if directory.is_empty() { "." } else { &directory };
        assemble(name, files, MAX_NESTING)
    }

    /// Reads a packed chart (`.tgz`): one directory that holds the chart. `name` is for messages.
    pub fn from_archive(name: &str, packed: &[u8]) -> Result<Self, Error> {
        assemble(name, archive::unpack(name, packed)?, MAX_NESTING)
    }
}

/// The bytes without the mark that some editors put before UTF-8.
pub(super) fn without_mark(data: &[u8]) -> Text {
    data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data).into()
}

fn assemble(path: &str, files: Vec<File>, nesting: usize) -> Result<Chart, Error> {
    if nesting == 0 {
        return Err(Error::Limit { path: path.to_owned(), what: "nesting of charts", limit: MAX_NESTING as u64 });
    }
    let inside = |name: &str| format!("{path}/{name}");
    let Some(description) = files.iter().find(|file| file.name == "Chart.yaml") else {
        return Err(wrong(path, "Chart.yaml file is missing"));
    };
    let mut metadata = Metadata::parse(&inside("Chart.yaml"), &description.data)?;
    let mut chart = Chart::default();
    let (mut others, mut below) = (Vec::new(), BTreeMap::<String, Vec<File>>::new());
    for file in files {
        match file.name.as_str() {
            "Chart.yaml" | "Chart.lock" => {}
            "values.yaml" => chart.values = values::parse(&inside("values.yaml"), &file.data)?,
            "values.schema.json" => chart.schema = Some(file.data),
            "requirements.yaml" => {
                let listed = requirements(&inside("requirements.yaml"), &file.data)?;
                if !listed.is_empty() {
                    metadata.dependencies = listed;
                }
                if metadata.api_version == "v1" {
                    others.push(file);
                }
            }
            "requirements.lock" => {
                if metadata.api_version == "v1" {
                    others.push(file);
                }
            }
            name if name.starts_with("templates/") => chart.templates.push(TemplateFile::new(file).into()),
            name => match name.strip_prefix("charts/") {
                Some(name) if !name.ends_with(".prov") => {
                    let entry = name.split('/').next().unwrap_or_default().to_owned();
                    let name = name.to_owned();
                    below.entry(entry).or_default().push(File { name, data: file.data });
                }
                _ => others.push(file),
            },
        }
    }
    metadata.check(&inside("Chart.yaml"))?;
    chart.metadata = metadata;
    chart.files = others.into();
    for (entry, files) in below {
        if entry.starts_with(['_', '.']) {
            continue;
        }
        let path = inside(&format!("charts/{entry}"));
        let files = if entry.ends_with(".tgz") {
            match files.first() {
                Some(file) if file.name == entry => archive::unpack(&path, &file.data)?,
                _ => return Err(wrong(&path, "is a directory, but its name ends in .tgz")),
            }
        } else {
            let prefix = format!("{entry}/");
            let inner = |file: File| {
                let name = file.name.strip_prefix(&prefix)?.to_owned();
                Some(File { name, ..file })
            };
            files.into_iter().filter_map(inner).collect()
        };
        chart.dependencies.push(assemble(&path, files, nesting - 1)?);
    }
    Ok(chart)
}
