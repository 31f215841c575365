//! `/openapi/v2` in the Protobuf encoding that Go clients ask for and for which they have no other form: `kubectl` reads it when
//! a manifest holds a `List` or a kind that the server does not know, before it says so.
//!
//! The messages are those of `openapiv2/OpenAPIv2.proto` (gnostic). Each is one table here: key of the JSON document, number of
//! the field, form of the value. What the tables do not name has no place in the encoding and is left out.

use serde_json::{Map, Value};

/// How a value is written.
enum Form {
    /// Text.
    Text,
    /// `true`; `false` is absent.
    Flag,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Number,
    /// A list of texts.
    Texts,
    /// Any value, as YAML.
    Any,
    /// A list of any values.
    AnyList,
    /// A message.
    Message(&'static Message),
    /// A list of messages.
    Messages(&'static Message),
    /// A map of messages: (name, value) pairs behind one number in a message of their own.
    Named { number: u32, value: &'static Wrapped },
    /// A type or a list of types.
    Types,
    /// One schema or a list of them.
    Items,
    /// A schema, or whether anything is allowed.
    Additional,
    /// Parameters: the message depends on where each stands.
    Parameters,
}

/// A message inside the messages of `oneof` that lead to it, outermost first.
struct Wrapped {
    through: &'static [u32],
    message: &'static Message,
}

/// One message.
struct Message {
    fields: &'static [(&'static str, u32, Form)],
    /// Number under which keys beginning with `x-` stand.
    extensions: u32,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::Message(&INFO)),
        ("paths", 8, Form::Named { number: 2, value: &PATH_ITEM }),
        ("definitions", 9, Form::Named { number: 1, value: &NAMED_SCHEMA }),
    ],
    extensions: 16,
};

static INFO: Message = Message { fields: &[("title", 1, Form::Text), ("version", 2, Form::Text)], extensions: 7 };

static PATH_ITEM: Wrapped = Wrapped {
    through: &[],
    message: &Message {
        fields: &[
            ("get", 2, Form::Message(&OPERATION)),
            ("put", 3, Form::Message(&OPERATION)),
            ("post", 4, Form::Message(&OPERATION)),
            ("delete", 5, Form::Message(&OPERATION)),
            ("patch", 8, Form::Message(&OPERATION)),
            ("parameters", 9, Form::Parameters),
        ],
        extensions: 10,
    },
};

static OPERATION: Message = Message {
    fields: &[
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Texts),
        ("consumes", 7, Form::Texts),
        ("parameters", 8, Form::Parameters),
        ("responses", 9, Form::Named { number: 1, value: &RESPONSE }),
    ],
    extensions: 13,
};

/// `ResponseValue.response`.
static RESPONSE: Wrapped = Wrapped {
    through: &[1],
    message: &Message {
        fields: &[("description", 1, Form::Text), ("schema", 2, Form::Message(&SCHEMA_ITEM))],
        extensions: 5,
    },
};

/// `SchemaItem`, whose one field has no key of its own in the document.
static SCHEMA_ITEM: Message = Message { fields: &[("", 1, Form::Message(&SCHEMA))], extensions: 0 };

static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Flag),
        ("schema", 5, Form::Message(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 6, Form::Text),
        ("format", 7, Form::Text),
    ],
    extensions: 23,
};

static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("format", 6, Form::Text),
    ],
    extensions: 22,
};

static NAMED_SCHEMA: Wrapped = Wrapped { through: &[], message: &SCHEMA };

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("multipleOf", 6, Form::Number),
        ("maximum", 7, Form::Number),
        ("exclusiveMaximum", 8, Form::Flag),
        ("minimum", 9, Form::Number),
        ("exclusiveMinimum", 10, Form::Flag),
        ("maxLength", 11, Form::Integer),
        ("minLength", 12, Form::Integer),
        ("pattern", 13, Form::Text),
        ("maxItems", 14, Form::Integer),
        ("minItems", 15, Form::Integer),
        ("uniqueItems", 16, Form::Flag),
        ("maxProperties", 17, Form::Integer),
        ("minProperties", 18, Form::Integer),
        ("required", 19, Form::Texts),
        ("enum", 20, Form::AnyList),
        ("additionalProperties", 21, Form::Additional),
        ("type", 22, Form::Types),
        ("items", 23, Form::Items),
        ("allOf", 24, Form::Messages(&SCHEMA)),
        ("properties", 25, Form::Named { number: 1, value: &NAMED_SCHEMA }),
        ("example", 30, Form::Any),
    ],
    extensions: 31,
};

/// Writes a document of OpenAPI 2.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.object(&DOCUMENT, document);
    writer.0
}

/// Protobuf's wire format.
#[derive(Default)]
struct Writer(Vec<u8>);

// === impl Writer ===

impl Writer {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn nested(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }

    fn whole(&mut self, number: u32, value: u64) {
        self.varint(u64::from(number) << 3);
        self.varint(value);
    }

    /// `Any`: the value as YAML, of which JSON is a part.
    fn any(&mut self, number: u32, value: &Value) {
        self.nested(number, |any| any.bytes(2, value.to_string().as_bytes()));
    }

    fn object(&mut self, message: &Message, value: &Value) {
        let Some(object) = value.as_object() else { return };
        for (key, number, form) in message.fields {
            match object.get(*key) {
                Some(value) => self.field(*number, form, value),
                None if key.is_empty() => self.field(*number, form, value),
                None => {}
            }
        }
        if message.extensions != 0 {
            self.extensions(message.extensions, object);
        }
    }

    fn extensions(&mut self, number: u32, object: &Map<String, Value>) {
        for (name, value) in object.iter().filter(|(key, _)| key.starts_with("x-")) {
            self.nested(number, |pair| {
                pair.bytes(1, name.as_bytes());
                pair.any(2, value);
            });
        }
    }

    fn texts(&mut self, number: u32, value: &Value) {
        for text in one_or_more(value).iter().filter_map(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn field(&mut self, number: u32, form: &Form, value: &Value) {
        match form {
            Form::Text => self.bytes(number, value.as_str().unwrap_or_default().as_bytes()),
            Form::Flag if value.as_bool() == Some(true) => self.whole(number, 1),
            Form::Flag => {}
            // A negative number is written as its two's complement.
            Form::Integer => {
                if let Some(value) = value.as_i64() {
                    self.whole(number, value.cast_unsigned());
                }
            }
            Form::Number => {
                if let Some(value) = value.as_f64() {
                    self.varint(u64::from(number) << 3 | 1);
                    self.0.extend_from_slice(&value.to_le_bytes());
                }
            }
            Form::Texts => self.texts(number, value),
            Form::Any => self.any(number, value),
            Form::AnyList => one_or_more(value).iter().for_each(|value| self.any(number, value)),
            Form::Message(message) => self.nested(number, |inner| inner.object(message, value)),
            Form::Messages(message) => {
                for value in one_or_more(value) {
                    self.nested(number, |inner| inner.object(message, value));
                }
            }
            Form::Named { number: pairs, value: wrapped } => self.nested(number, |map| {
                for (name, value) in value.as_object().into_iter().flatten() {
                    map.nested(*pairs, |pair| {
                        pair.bytes(1, name.as_bytes());
                        pair.nested(2, |inner| inner.wrapped(wrapped.through, wrapped.message, value));
                    });
                }
            }),
            Form::Types => self.nested(number, |types| types.texts(1, value)),
            Form::Items => self.nested(number, |items| {
                for value in one_or_more(value) {
                    items.nested(1, |inner| inner.object(&SCHEMA, value));
                }
            }),
            Form::Additional => self.nested(number, |item| match value.as_bool() {
                Some(allowed) => item.whole(2, u64::from(allowed)),
                None => item.nested(1, |inner| inner.object(&SCHEMA, value)),
            }),
            Form::Parameters => {
                for parameter in one_or_more(value) {
                    // `ParametersItem`, `Parameter`, and for all but a body `NonBodyParameter`.
                    let (through, message): (&[u32], _) = match parameter.get("in").and_then(Value::as_str) {
                        Some("body") => (&[1, 1], &BODY_PARAMETER),
                        Some("path") => (&[1, 2, 4], &PATH_PARAMETER),
                        _ => (&[1, 2, 3], &QUERY_PARAMETER),
                    };
                    self.nested(number, |item| item.wrapped(through, message, parameter));
                }
            }
        }
    }

    fn wrapped(&mut self, through: &[u32], message: &Message, value: &Value) {
        match through {
            [] => self.object(message, value),
            [outer, rest @ ..] => self.nested(*outer, |inner| inner.wrapped(rest, message, value)),
        }
    }
}

/// The list, or the one value as a list.
fn one_or_more(value: &Value) -> &[Value] {
    match value {
        Value::Array(list) => list,
        value => std::slice::from_ref(value),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    /// The message as text: numbers, and what stands in them; bytes that read as a message are one where `nested` says so.
    fn read(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut number = 0;
            for shift in (0..64).step_by(7) {
                let (first, rest) = bytes.split_first().unwrap();
                *bytes = rest;
                number |= u64::from(first & 0x7f) << shift;
                if first & 0x80 == 0 {
                    break;
                }
            }
            number
        }
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => varint(&mut bytes).to_le_bytes().to_vec(),
                1 => bytes.split_off(..8).unwrap().to_vec(),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).unwrap();
                    bytes.split_off(..length).unwrap().to_vec()
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        fields
    }

    fn at(bytes: &[u8], path: &[u64]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for number in path {
            bytes = read(&bytes).into_iter().find(|(found, _)| found == number).unwrap().1;
        }
        bytes
    }

    #[test]
    fn a_patch_says_which_kind_it_takes_and_with_which_parameters() {
        let bytes = encode(&json!({
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": "v1"},
            "paths": {"/api/v1/nodes/{name}": {"patch": {
                "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": "Node"},
                "parameters": [
                    {"name": "fieldValidation", "in": "query", "type": "string"},
                    {"name": "body", "in": "body", "schema": {"type": "object"}},
                    {"name": "name", "in": "path", "type": "string", "required": true},
                ],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Node"}}},
            }}},
        }));
        assert_eq!(at(&bytes, &[1]), b"2.0");
        assert_eq!(at(&bytes, &[2, 1]), b"Kubernetes");
        let path = at(&bytes, &[8, 2]);
        assert_eq!(at(&path, &[1]), b"/api/v1/nodes/{name}");
        let patch = at(&path, &[2, 8]);
        assert_eq!(at(&patch, &[13, 1]), b"x-kubernetes-group-version-kind");
        let kind: Value = serde_json::from_slice(&at(&patch, &[13, 2, 2])).unwrap();
        assert_eq!(kind["kind"], "Node");
        assert_eq!(at(&patch, &[9, 1, 2, 1, 2, 1, 1]), b"#/definitions/Node");
        let parameters: Vec<_> =
            read(&patch).into_iter().filter(|(number, _)| *number == 8).map(|(_, value)| value).collect();
        assert_eq!(at(&parameters[0], &[1, 2, 3, 4]), b"fieldValidation");
        assert_eq!(at(&parameters[1], &[1, 1, 5, 22, 1]), b"object");
        assert_eq!(at(&parameters[2], &[1, 2, 4, 4]), b"name");
        assert_eq!(at(&parameters[2], &[1, 2, 4, 1])[0], 1);
    }

    #[test]
    fn a_definition_keeps_types_references_bounds_and_extensions() {
        let bytes = encode(&json!({"definitions": {"Pod": {
            "type": "object",
            "required": ["spec"],
            "properties": {
                "spec": {"$ref": "#/definitions/PodSpec"},
                "list": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "map": {"additionalProperties": {"type": "integer", "minimum": -1.5, "maxLength": 300}},
                "open": {"additionalProperties": true, "enum": ["a", 1], "default": {"a": [1]}},
            },
        }}}));
        let pod = at(&bytes, &[9, 1, 2]);
        assert_eq!(at(&pod, &[19]), b"spec");
        let property = |name: &str| {
            let properties = read(&at(&pod, &[25]));
            let found = properties.into_iter().find(|(_, pair)| at(pair, &[1]) == name.as_bytes()).unwrap().1;
            at(&found, &[2])
        };
        assert_eq!(at(&property("spec"), &[1]), b"#/definitions/PodSpec");
        assert_eq!(at(&property("list"), &[23, 1, 22, 1]), b"string");
        assert_eq!(at(&property("list"), &[31, 2, 2]), b"\"set\"");
        let map = at(&property("map"), &[21, 1]);
        assert_eq!(at(&map, &[9]), (-1.5f64).to_le_bytes());
        assert_eq!(at(&map, &[11]), 300u64.to_le_bytes());
        assert_eq!(at(&property("open"), &[21, 2]), 1u64.to_le_bytes());
        assert_eq!(at(&property("open"), &[20, 2]), b"\"a\"");
        assert_eq!(at(&property("open"), &[5, 2]), b"{\"a\":[1]}");
    }
}
