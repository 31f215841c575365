//! `semver` and `semverCompare`.

use std::{cmp::Ordering, rc::Rc};

use super::{Function, Parameter, Parameter::String, arguments, fixed};
use crate::helm::{
    failure::Failure,
    object::{Object, Signature},
    quote::quoted,
    semver::{Constraints, Version},
    value::{Kind, Text, Value, text},
};

const VERSION: &str = "*semver.Version";

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("semver", &[String], |_, given| {
        Ok(Value::Object(Rc::new(VersionObject(parse(&arguments::text(given, 0))?))))
    }),
    fixed("semverCompare", &[String, String], |_, given| {
        let constraints = Constraints::parse(&arguments::text(given, 0))
            .ok_or_else(|| Failure::new(format!("improper constraint: {}", quoted(arguments::bytes(given, 0)))))?;
        Ok(constraints.check(&parse(&arguments::text(given, 1))?).into())
    }),
];

fn parse(version: &str) -> Result<Version, Failure> {
    Version::parse(version).ok_or_else(|| Failure::new("invalid semantic version"))
}

struct VersionObject(Version);

// === impl VersionObject ===

impl VersionObject {
    fn compared(&self, arguments: &[Value]) -> Ordering {
        match arguments.first() {
            Some(Value::Object(other)) => other.as_version().map_or(Ordering::Equal, |other| self.0.compare(other)),
            _ => Ordering::Equal,
        }
    }
}

impl Object for VersionObject {
    fn type_name(&self) -> &'static str {
        VERSION
    }

    fn kind(&self) -> Kind {
        Kind::Pointer
    }

    fn method(&self, name: &[u8]) -> Option<Signature> {
        let parameters: &'static [Parameter] = match name {
            b"Major" | b"Minor" | b"Patch" | b"Prerelease" | b"Metadata" | b"Original" | b"String" | b"IncMajor"
            | b"IncMinor" | b"IncPatch" => &[],
            b"Compare" | b"Equal" | b"LessThan" | b"GreaterThan" | b"LessThanEqual" | b"GreaterThanEqual" => {
                &[Parameter::Object(VERSION)]
            }
            _ => return None,
        };
        Some(Signature { parameters })
    }

    fn call(&self, name: &[u8], arguments: &[Value]) -> Result<Value, Failure> {
        let version = &self.0;
        let next = |major: u64, minor: u64, patch: u64| {
            let original = format!("{major}.{minor}.{patch}");
            let next = Version {
                major,
                minor,
                patch,
                prerelease: std::string::String::new(),
                metadata: std::string::String::new(),
                original,
            };
            Value::Object(Rc::new(VersionObject(next)))
        };
        Ok(match name {
            b"Major" => Value::Uint64(version.major),
            b"Minor" => Value::Uint64(version.minor),
            b"Patch" => Value::Uint64(version.patch),
            b"Prerelease" => version.prerelease.as_str().into(),
            b"Metadata" => version.metadata.as_str().into(),
            b"Original" => version.original.as_str().into(),
            b"IncMajor" => next(version.major.saturating_add(1), 0, 0),
            b"IncMinor" => next(version.major, version.minor.saturating_add(1), 0),
            b"IncPatch" if version.prerelease.is_empty() => {
                next(version.major, version.minor, version.patch.saturating_add(1))
            }
            b"IncPatch" => next(version.major, version.minor, version.patch),
            b"Compare" => Value::Int(self.compared(arguments) as i64),
            b"Equal" => (self.compared(arguments) == Ordering::Equal).into(),
            b"LessThan" => (self.compared(arguments) == Ordering::Less).into(),
            b"LessThanEqual" => (self.compared(arguments) != Ordering::Greater).into(),
            b"GreaterThan" => (self.compared(arguments) == Ordering::Greater).into(),
            b"GreaterThanEqual" => (self.compared(arguments) != Ordering::Less).into(),
            _ => version.to_string().into(),
        })
    }

    fn string(&self) -> Option<Text> {
        Some(text(self.0.to_string()))
    }

    fn as_version(&self) -> Option<&Version> {
        Some(&self.0)
    }
}
