//! ConfigMaps and Secrets from files, literals and environment files.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    kustomization::{Generator, GeneratorOptions},
    loader::Loader,
    output,
    resource::{Behavior, Resource, new_key, set_field},
};
use crate::{
    Error,
    goyaml::{Node, Scalar, ScalarStyle, Tag},
};

/// Base64 of this many letters and more is broken into lines.
const LINE: usize = 70;

/// The object of one entry. `kind` is `ConfigMap` or `Secret`.
pub(super) fn generate(
    loader: &Loader<'_>,
    kind: &str,
    generator: &Generator,
    global: &GeneratorOptions,
) -> Result<Resource, Error> {
    if kind == "ConfigMap" && !generator.secret_type.is_empty() {
        return Err(loader.error(format!("configMapGenerator {:?}: unknown field \"type\"", generator.name)));
    }
    if generator.name.is_empty() {
        return Err(loader.error(format!("a {kind} generator has no name")));
    }
    let options = merged(generator.options.as_ref(), global);
    let pairs = pairs(loader, kind, generator)?;
    let mut node = Node::map();
    set_field(&mut node, "apiVersion", Node::string("v1"));
    set_field(&mut node, "kind", Node::string(kind));
    let mut metadata = Node::map();
    set_field(&mut metadata, "name", Node::string(generator.name.as_str()));
    if !generator.namespace.is_empty() {
        set_field(&mut metadata, "namespace", Node::string(generator.namespace.as_str()));
    }
    set_field(&mut node, "metadata", metadata);
    let (mut data, mut binary) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        match std::str::from_utf8(&value) {
            Ok(text) if kind == "ConfigMap" => data.push((new_key(&key), block(text.to_owned()))),
            Err(_) if kind == "ConfigMap" => binary.push((new_key(&key), block(wrapped(&value)))),
            _ => data.push((new_key(&key), block(wrapped(&value)))),
        }
    }
    for (field, entries) in [("data", data), ("binaryData", binary)] {
        if !entries.is_empty() || (kind, field) == ("Secret", "data") {
            set_field(&mut node, field, Node::Map(entries));
        }
    }
    if kind == "Secret" {
        let secret_type = if generator.secret_type.is_empty() { "Opaque" } else { &generator.secret_type };
        set_field(&mut node, "type", Node::string(secret_type));
    }
    if options.immutable {
        set_field(
            &mut node,
            "immutable",
            Node::Scalar(Scalar { value: "true".into(), tag: Tag::Bool, ..Scalar::default() }),
        );
    }
    let mut resource = Resource::new(node);
    for (field, words) in [("labels", options.labels), ("annotations", options.annotations)] {
        if !words.is_empty() {
            resource.set_words(field, words.into_iter().collect());
        }
    }
    resource.behavior = match generator.behavior.as_str() {
        "merge" => Behavior::Merge,
        "replace" => Behavior::Replace,
        _ => Behavior::Create,
    };
    resource.needs_hash = !options.disable_name_suffix_hash;
    Ok(resource)
}

fn merged(local: Option<&GeneratorOptions>, global: &GeneratorOptions) -> GeneratorOptions {
    let mut options = global.clone();
    if let Some(local) = local {
        options.labels.extend(local.labels.clone());
        options.annotations.extend(local.annotations.clone());
        options.disable_name_suffix_hash |= local.disable_name_suffix_hash;
        options.immutable |= local.immutable;
    }
    options
}

fn pairs(loader: &Loader<'_>, kind: &str, generator: &Generator) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let refuse = |message: String| loader.error(format!("{kind} generator {:?}: {message}", generator.name));
    let mut pairs = BTreeMap::new();
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for path in &generator.envs {
        environment(&loader.file(path)?, &mut all)
            .map_err(|message| refuse(format!("env file {path:?}: {message}")))?;
    }
    for literal in &generator.literals {
        // Literals are printed and read on the way to the generator.
        let literal = output::text_value(literal).map_err(refuse)?;
        let literal = literal.as_str().unwrap_or_default();
        match literal.split_once('=') {
            Some((key, value)) if !key.is_empty() => all.push((key.to_owned(), unquoted(value).as_bytes().to_vec())),
            _ => return Err(refuse(format!("literal {literal:?} is not key=value"))),
        }
    }
    for source in &generator.files {
        let (key, path) = match source.split_once('=') {
            None => (source.rsplit('/').next().unwrap_or(source), source.as_str()),
            Some((key, path)) if !key.is_empty() && !path.is_empty() && !path.contains('=') => (key, path),
            Some(_) => return Err(refuse(format!("file {source:?} is neither a path nor key=path"))),
        };
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) || key.is_empty()
        {
            return Err(refuse(format!("{key:?} is no valid key; use letters, digits, '-', '_' and '.'")));
        }
        all.push((key.to_owned(), loader.file(path)?.into_owned()));
    }
    for (key, value) in all {
        if pairs.insert(key.clone(), value).is_some() {
            return Err(refuse(format!("the key {key:?} is given twice")));
        }
    }
    Ok(pairs)
}

/// Lines `key=value`; a key alone would take its value from the environment, of which there is none here.
fn environment(content: &[u8], pairs: &mut Vec<(String, Vec<u8>)>) -> Result<(), String> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    for line in content.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if key.is_empty() {
            continue;
        }
        pairs.push((key.to_owned(), value.as_bytes().to_vec()));
    }
    Ok(())
}

/// One pair of quotes around a value goes away.
fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote)))
        .unwrap_or(value)
}

fn wrapped(value: &[u8]) -> String {
    let encoded = STANDARD.encode(value);
    if encoded.len() < LINE {
        return encoded;
    }
    let mut text = String::with_capacity(encoded.len() + encoded.len() / LINE + 1);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text
}

fn block(text: String) -> Node {
    let style = if text.contains('\n') { ScalarStyle::Literal } else { ScalarStyle::Plain };
    Node::Scalar(Scalar { value: text.into(), tag: Tag::Str, style, ..Scalar::default() })
}
