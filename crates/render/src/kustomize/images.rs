//! Names, tags and digests of container images.

use regex::Regex;

use super::{
    field_spec::{Create, FieldSpec, selected},
    kustomization::Image,
    resource::{Resource, untyped},
};
use crate::goyaml::{Node, Scalar};

/// Which images a name means. It goes into a regular expression as it is.
enum ImagePattern<'a> {
    /// Of letters whose only special one is the point, which stands for any: no expression is needed.
    Name(&'a str),
    Expression(Box<Regex>),
}

// === impl ImagePattern ===

impl<'a> ImagePattern<'a> {
    fn new(name: &'a str) -> Result<Self, String> {
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b':' | b'.')) {
            return Ok(Self::Name(name));
        }
        Regex::new(&format!("^{name}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$"))
            .map(|expression| Self::Expression(Box::new(expression)))
            .map_err(|_| format!("images: name {name:?} is no valid regular expression"))
    }

    fn is_match(&self, image: &str) -> bool {
        let name = match self {
            Self::Expression(expression) => return expression.is_match(image),
            Self::Name(name) => name,
        };
        let mut rest = image.chars();
        let begins =
            name.chars().all(|wanted| rest.next().is_some_and(|own| own == wanted || wanted == '.' && own != '\n'));
        let word = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'{' | b'}' | b'-'))
        };
        let (tag, digest) = match rest.as_str().split_once('@') {
            Some((tag, digest)) => (tag, Some(digest)),
            None => (rest.as_str(), None),
        };
        begins
            && (tag.is_empty() || tag.strip_prefix(':').is_some_and(word))
            && digest.is_none_or(|digest| digest.strip_prefix("sha256:").is_some_and(word))
    }
}

/// Gives an image another name, tag or digest wherever it is used.
pub(super) fn set_image(resources: &mut [Resource], image: &Image, specs: &[FieldSpec]) -> Result<(), String> {
    let expression = ImagePattern::new(&image.name)?;
    for resource in resources.iter_mut() {
        if resource.kind() == "CustomResourceDefinition" {
            continue;
        }
        everywhere(&mut resource.node, image, &expression);
        for spec in selected(specs, &resource.gvk()) {
            // The original would create the field; an empty image never matches, so it is only looked for.
            spec.visit(&mut resource.node, Create::Nothing, &mut |node| {
                update_image(node, image, &expression);
                Ok(())
            })
            .map_err(|error| format!("images: {} {}: {error}", resource.kind(), resource.name()))?;
        }
    }
    Ok(())
}

/// Every `image` in lists called `containers` or `initContainers`, wherever they are.
fn everywhere(node: &mut Node, image: &Image, expression: &ImagePattern<'_>) {
    match node {
        Node::Map(entries) => {
            for (key, value) in entries {
                everywhere(value, image, expression);
                if let ("containers" | "initContainers", Node::List(items)) = (&*key.value, value) {
                    items
                        .iter_mut()
                        .filter_map(|item| item.get_mut("image"))
                        .for_each(|found| update_image(found, image, expression));
                }
            }
        }
        Node::List(items) => items.iter_mut().for_each(|item| everywhere(item, image, expression)),
        Node::Scalar(_) => {}
    }
}

fn update_image(node: &mut Node, image: &Image, expression: &ImagePattern<'_>) {
    let Node::Scalar(scalar) = node else { return };
    if !expression.is_match(&scalar.value) {
        return;
    }
    let (mut name, mut tag, mut digest) = split_image(&scalar.value);
    if !image.new_name.is_empty() {
        name = &image.new_name;
    }
    let suffixed;
    if !image.new_tag.is_empty() || !image.digest.is_empty() {
        (tag, digest) = (&image.new_tag, &image.digest);
    } else if !image.tag_suffix.is_empty() {
        suffixed = format!("{tag}{}", image.tag_suffix);
        (tag, digest) = (&suffixed, "");
    }
    let mut text = name.to_owned();
    for (separator, part) in [(':', tag), ('@', digest)] {
        if !part.is_empty() {
            text.push(separator);
            text.push_str(part);
        }
    }
    let style = scalar.style;
    if let Node::Scalar(new) = untyped(&text) {
        *scalar = Scalar { style, ..new };
    }
}

/// Name, tag and digest. A colon in the host is no tag.
fn split_image(image: &str) -> (&str, &str, &str) {
    let host = image.find('/').unwrap_or(0);
    let (rest, digest) = match image.get(host..).and_then(|path| path.find('@')) {
        Some(at) => (image.get(..host + at).unwrap_or(image), image.get(host + at + 1..).unwrap_or_default()),
        None => (image, ""),
    };
    match rest.get(host..).and_then(|path| path.find(':')) {
        Some(at) => (rest.get(..host + at).unwrap_or(rest), rest.get(host + at + 1..).unwrap_or_default(), digest),
        None => (rest, "", digest),
    }
}
