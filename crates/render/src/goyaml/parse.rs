//! From text to nodes.
//!
//! Scanning is libyaml's, of which go-yaml is a port too; aliases, merge keys, duplicate keys and limits are handled here.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

use libyaml_safer::{EventData, MappingStyle, Parser, ScalarStyle as Written, SequenceStyle};

use super::{
    Dialect, Error, MAX_BYTES, MAX_DEPTH, MAX_VALUES, Node, Scalar, ScalarStyle, TOO_MANY_VALUES, Tag, Value,
    resolve::{key_text, tag_of, to_value},
};

/// The documents of a text, as values. Empty documents are `null`.
pub fn parse_documents(input: &[u8], dialect: Dialect) -> Result<Vec<Value>, Error> {
    parse_nodes(input, dialect)?.iter().map(|node| to_value(node, dialect)).collect()
}

/// The first document of a text, as `yaml.Unmarshal` reads it: what follows it need not even be YAML. `None` for an empty text.
pub fn parse_first(input: &[u8], dialect: Dialect) -> Result<Option<Value>, Error> {
    parse(input, dialect, 1)?.first().map(|node| to_value(node, dialect)).transpose()
}

/// The first document of a text as [`parse_nodes`] gives it; what follows it need not even be YAML.
pub fn parse_first_node(input: &[u8], dialect: Dialect) -> Result<Option<Node>, Error> {
    Ok(parse(input, dialect, 1)?.into_iter().next())
}

/// The documents of a text, with the style and tag of each scalar; aliases and merge keys are expanded.
///
/// An alias belongs to its document. The sum of what aliases expand to is limited, so is nesting. A key given twice is an
/// error for go-yaml 3; for go-yaml 2 the last one wins.
pub fn parse_nodes(input: &[u8], dialect: Dialect) -> Result<Vec<Node>, Error> {
    parse(input, dialect, usize::MAX)
}

fn parse(input: &[u8], dialect: Dialect, most: usize) -> Result<Vec<Node>, Error> {
    if input.len() > MAX_BYTES {
        return Err(Error::new(0, 0, format!("larger than {MAX_BYTES} bytes")));
    }
    let mut text = utf8(input)?;
    let open_ended = !matches!(text.last(), None | Some(b'\n'));
    if open_ended {
        // The scanner cannot read a block scalar that ends without a line end; its text is put right in `Composer::scalar`.
        text.push(b'\n');
    }
    let mut scanner = SPARE.take().unwrap_or_else(|| Box::new(Parser::new()));
    // A net only: malformed text gives errors, but the scanner is not free of assertions.
    let (documents, mut scanner) = catch_unwind(AssertUnwindSafe(|| {
        let end = text.len() as u64;
        scanner.set_input(Cursor::new(text));
        let mut composer = Composer::new(scanner, end, dialect, open_ended);
        (composer.stream(most), composer.parser)
    }))
    .map_err(|_| Error::new(0, 0, "malformed document"))?;
    if input.len() <= SPARE_BYTES {
        scanner.reset();
        SPARE.set(Some(scanner));
    }
    documents
}

/// A copy of the text with room for one more byte; UTF-16 with a byte order mark is read as such, as by libyaml.
fn utf8(input: &[u8]) -> Result<Vec<u8>, Error> {
    let unit: fn([u8; 2]) -> u16 = match input {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let mut text = Vec::with_capacity(input.len() + 1);
            text.extend_from_slice(input);
            return Ok(text);
        }
    };
    let (units, rest) = input.get(2..).unwrap_or_default().as_chunks::<2>();
    let text = char::decode_utf16(units.iter().map(|pair| unit(*pair))).collect::<Result<String, _>>();
    match text {
        Ok(text) if rest.is_empty() => Ok(text.into_bytes()),
        _ => Err(Error::new(0, 0, "invalid UTF-16")),
    }
}

type Scanner = Parser<Cursor<Vec<u8>>>;

thread_local! {
    /// The scanner's buffers are large and most texts small: a file of many documents would spend a tenth of its time on them.
    static SPARE: Cell<Option<Box<Scanner>>> = const { Cell::new(None) };
}

/// Buffers that held more than this are not kept.
const SPARE_BYTES: usize = 16 * 1024;

/// What aliases and merges of one text may copy, in nodes. A text of its own size is always allowed.
const MIN_ALIAS_NODES: usize = 200_000;

struct Composer {
    parser: Box<Scanner>,
    dialect: Dialect,
    /// The text had no final line end.
    open_ended: bool,
    end: u64,
    anchors: HashMap<String, (Node, usize)>,
    /// Nodes that aliases may still copy.
    budget: usize,
    /// Nodes that may still come.
    left: usize,
    /// Inside a flow collection.
    in_flow: bool,
}

/// Where something stands, from 0.
type Mark = libyaml_safer::Mark;

// === impl Composer ===

impl Composer {
    /// `end`: how many bytes the text has.
    fn new(parser: Box<Scanner>, end: u64, dialect: Dialect, open_ended: bool) -> Self {
        let budget = MIN_ALIAS_NODES.max(usize::try_from(end / 4).unwrap_or(usize::MAX));
        Self { parser, dialect, open_ended, end, anchors: HashMap::new(), budget, left: MAX_VALUES, in_flow: false }
    }

    /// Enters a collection and returns whether the outer one is in flow style.
    fn enter(&mut self, flow: bool) -> bool {
        let outer = self.in_flow;
        self.in_flow |= flow;
        outer
    }

    fn next(&mut self) -> Result<(EventData, Mark, Mark), Error> {
        match self.parser.parse() {
            Ok(event) => Ok((event.data, event.start_mark, event.end_mark)),
            Err(error) => {
                let (line, column) = error.problem_mark().map_or((0, 0), |mark| (mark.line + 1, mark.column + 1));
                Err(Error::new(line, column, error.problem()))
            }
        }
    }

    fn stream(&mut self, most: usize) -> Result<Vec<Node>, Error> {
        let mut documents = Vec::new();
        loop {
            match self.next()?.0 {
                EventData::DocumentEnd { .. } if documents.len() == most => return Ok(documents),
                EventData::StreamStart { .. } | EventData::DocumentEnd { .. } => {}
                EventData::DocumentStart { .. } => {
                    self.anchors.clear();
                    let (event, start, end) = self.next()?;
                    let (node, _) = self.node(event, start, end, 0)?;
                    documents.push(node);
                }
                EventData::StreamEnd => return Ok(documents),
                _ => return Err(Error::new(0, 0, "content outside a document")),
            }
        }
    }

    /// One node and how many nodes it consists of.
    fn node(&mut self, event: EventData, start: Mark, end: Mark, depth: usize) -> Result<(Node, usize), Error> {
        if depth > MAX_DEPTH {
            return Err(at(start, format!("nesting exceeds the limit of {MAX_DEPTH}")));
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(at(start, TOO_MANY_VALUES.to_owned())),
        }
        let (anchor, (node, size)) = match event {
            EventData::Scalar { anchor, tag, value, style, .. } => {
                (anchor, (Node::Scalar(self.scalar(value, tag.as_deref(), style, end)), 1))
            }
            EventData::SequenceStart { anchor, style, .. } => {
                let outer = self.enter(style == SequenceStyle::Flow);
                let list = self.sequence(depth)?;
                self.in_flow = outer;
                (anchor, list)
            }
            EventData::MappingStart { anchor, style, .. } => {
                let outer = self.enter(style == MappingStyle::Flow);
                let map = self.mapping(depth, start)?;
                self.in_flow = outer;
                (anchor, map)
            }
            EventData::Alias { anchor } => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(at(start, format!("unknown anchor '{anchor}' referenced")));
                };
                match self.budget.checked_sub(*size) {
                    Some(left) => self.budget = left,
                    None => return Err(at(start, "aliases expand to too much".to_owned())),
                }
                return Ok((node.clone(), *size));
            }
            _ => return Err(at(start, "unexpected end of the document".to_owned())),
        };
        if let Some(anchor) = anchor {
            match self.budget.checked_sub(size) {
                Some(left) => self.budget = left,
                None => return Err(at(start, "anchors hold too much".to_owned())),
            }
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok((node, size))
    }

    fn scalar(&self, mut value: String, tag: Option<&str>, style: Written, end: Mark) -> Scalar {
        let style = match style {
            Written::SingleQuoted => ScalarStyle::SingleQuoted,
            Written::DoubleQuoted => ScalarStyle::DoubleQuoted,
            Written::Literal => ScalarStyle::Literal,
            Written::Folded => ScalarStyle::Folded,
            _ => ScalarStyle::Plain,
        };
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if block && self.open_ended && end.index >= self.end && value.ends_with('\n') {
            value.pop();
        }
        let tag = tag.filter(|tag| !tag.is_empty());
        let resolved = tag_of(&value, style, tag, self.dialect);
        let in_flow = self.in_flow;
        Scalar { value: value.into(), tag: resolved, style, explicit_tag: tag.is_some(), in_flow, shared: 0 }
    }

    fn sequence(&mut self, depth: usize) -> Result<(Node, usize), Error> {
        let (mut items, mut size) = (Vec::new(), 1);
        loop {
            let (event, start, end) = self.next()?;
            if matches!(event, EventData::SequenceEnd) {
                return Ok((Node::List(items), size));
            }
            let (node, nodes) = self.node(event, start, end, depth + 1)?;
            size += nodes;
            items.push(node);
        }
    }

    fn mapping(&mut self, depth: usize, begin: Mark) -> Result<(Node, usize), Error> {
        let mut entries: Vec<(Scalar, Node)> = Vec::new();
        let mut merges: Vec<Node> = Vec::new();
        let mut size = 1;
        // A set pays only for large mappings.
        let mut seen: Option<HashSet<Box<[u8]>>> = None;
        loop {
            let (event, start, end) = self.next()?;
            if matches!(event, EventData::MappingEnd) {
                break;
            }
            let (key, _) = self.node(event, start, end, depth + 1)?;
            let Node::Scalar(key) = key else {
                return Err(at(start, "a mapping key is a mapping or a sequence; only words can be keys".to_owned()));
            };
            let (event, value_start, value_end) = self.next()?;
            let (value, nodes) = self.node(event, value_start, value_end, depth + 1)?;
            size += nodes + 1;
            let is_merge = &*key.value == "<<"
                && (key.tag == Tag::Merge || (key.style == ScalarStyle::Plain && !key.explicit_tag));
            if is_merge {
                match self.dialect {
                    Dialect::V2 => self.merge(&mut entries, value, begin)?,
                    Dialect::V3 if !merges.is_empty() => return Err(at(start, "duplicate merge key".to_owned())),
                    Dialect::V3 => merges.push(value),
                }
                continue;
            }
            if self.is_duplicate(&entries, &mut seen, &key)? {
                if self.dialect == Dialect::V2 {
                    if let Some((_, old)) = entries.iter_mut().find(|(other, _)| other.value == key.value) {
                        *old = value;
                    }
                    continue;
                }
                return Err(at(start, format!("key {:?} is already set in this mapping", key.value)));
            }
            entries.push((key, value));
        }
        for merge in merges {
            self.merge(&mut entries, merge, begin)?;
        }
        Ok((Node::Map(entries), size))
    }

    fn is_duplicate(
        &self,
        entries: &[(Scalar, Node)],
        seen: &mut Option<HashSet<Box<[u8]>>>,
        key: &Scalar,
    ) -> Result<bool, Error> {
        const LARGE: usize = 24;
        if entries.len() < LARGE {
            return Ok(entries.iter().any(|(other, _)| other.value == key.value && other.tag == key.tag));
        }
        let identity = |key: &Scalar| -> Result<Box<[u8]>, Error> {
            Ok(key_text(key, self.dialect).map_or_else(|_| key.value.as_bytes().into(), |text| text.as_ref().into()))
        };
        let seen = match seen {
            Some(seen) => seen,
            None => seen.insert(entries.iter().map(|(key, _)| identity(key)).collect::<Result<_, _>>()?),
        };
        Ok(!seen.insert(identity(key)?))
    }

    /// `<<`: a mapping or a list of mappings, earlier ones win. For go-yaml 3 keys of the mapping itself win, for go-yaml 2
    /// whatever stands later.
    fn merge(&self, entries: &mut Vec<(Scalar, Node)>, merge: Node, begin: Mark) -> Result<(), Error> {
        let sources = match merge {
            Node::Map(entries) => vec![entries],
            Node::List(items) => items
                .into_iter()
                .map(|item| match item {
                    Node::Map(entries) => Ok(entries),
                    _ => Err(at(begin, "map merge requires map or sequence of maps as the value".to_owned())),
                })
                .collect::<Result<_, _>>()?,
            Node::Scalar(_) => {
                return Err(at(begin, "map merge requires map or sequence of maps as the value".to_owned()));
            }
        };
        if self.dialect == Dialect::V2 {
            let mut merged = HashSet::new();
            for (key, value) in sources.into_iter().flatten() {
                if merged.insert(key.value.clone()) {
                    match entries.iter_mut().find(|(other, _)| other.value == key.value) {
                        Some((_, old)) => *old = value,
                        None => entries.push((key, value)),
                    }
                }
            }
            return Ok(());
        }
        let mut present: HashSet<Box<str>> = entries.iter().map(|(key, _)| key.value.clone()).collect();
        for (key, value) in sources.into_iter().flatten() {
            if present.insert(key.value.clone()) {
                entries.push((key, value));
            }
        }
        Ok(())
    }
}

fn at(mark: Mark, message: String) -> Error {
    Error::new(mark.line + 1, mark.column + 1, message)
}
