//! Documents as written: scalars keep their text, tag and style.

/// How a scalar was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScalarStyle {
    /// Without quotes.
    #[default]
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// What a scalar is, as go-yaml resolves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tag {
    /// Not decided: resolve the text when it is needed.
    Empty,
    /// `!!null`
    Null,
    /// `!!bool`
    Bool,
    /// `!!int`
    Int,
    /// `!!float`
    Float,
    /// `!!str`
    #[default]
    Str,
    /// `!!timestamp`
    Timestamp,
    /// `!!binary`
    Binary,
    /// `!!merge`
    Merge,
    /// Any other.
    Other(Box<str>),
}

/// A scalar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scalar {
    /// The text after unquoting.
    pub value: Box<str>,
    /// What it is.
    pub tag: Tag,
    /// How it was written.
    pub style: ScalarStyle,
    /// Whether the tag was written out.
    pub explicit_tag: bool,
    /// Whether it stands in a flow collection.
    pub in_flow: bool,
    /// Which scalars are one and the same; 0 is this one alone.
    pub shared: u32,
}

/// A node of a document; aliases and merge keys are expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A scalar.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the text.
    Map(Vec<(Scalar, Node)>),
}

// === impl Scalar ===

impl Scalar {
    /// Text, to be quoted where it would be read as something else.
    pub fn string(value: impl Into<Box<str>>) -> Self {
        Self { value: value.into(), ..Self::default() }
    }
}

// === impl Node ===

impl Default for Node {
    fn default() -> Self {
        Self::null()
    }
}

impl Node {
    /// Text.
    pub fn string(value: impl Into<Box<str>>) -> Self {
        Self::Scalar(Scalar::string(value))
    }

    /// `null`
    pub fn null() -> Self {
        Self::Scalar(Scalar { value: "null".into(), tag: Tag::Null, ..Scalar::default() })
    }

    /// An empty mapping.
    pub fn map() -> Self {
        Self::Map(Vec::new())
    }

    /// Whether this is a scalar that is tagged null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(Scalar { tag: Tag::Null, .. }))
    }

    /// Puts another node in the place of this one. A scalar in the place of a scalar keeps how it is written, quotes above
    /// all, and with which others it is shared.
    pub fn overwrite(&mut self, new: Node) {
        *self = match (&*self, new) {
            (&Self::Scalar(Scalar { style, shared, .. }), Self::Scalar(new)) => {
                Self::Scalar(Scalar { style, shared, ..new })
            }
            (_, new) => new,
        };
    }

    /// The text of a scalar, whatever its tag.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(scalar) => Some(&scalar.value),
            _ => None,
        }
    }

    /// The text of a scalar that is no null.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Scalar(Scalar { tag: Tag::Null, .. }) => None,
            other => other.text(),
        }
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> &[(Scalar, Node)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The elements of a sequence.
    pub fn items(&self) -> &[Node] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| &*name.value == key).map(|(_, value)| value)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match self {
            Self::Map(entries) => entries.iter_mut().find(|(name, _)| &*name.value == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The value below several keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Sets a key of a mapping, in place or at the end. Does nothing on other nodes.
    pub fn set(&mut self, key: &str, value: Node) {
        if let Self::Map(entries) = self {
            match entries.iter_mut().find(|(name, _)| &*name.value == key) {
                Some((_, old)) => *old = value,
                None => entries.push((Scalar::string(key), value)),
            }
        }
    }

    /// Takes a key out of a mapping.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        match self {
            Self::Map(entries) => {
                let index = entries.iter().position(|(name, _)| &*name.value == key)?;
                Some(entries.remove(index).1)
            }
            _ => None,
        }
    }
}
