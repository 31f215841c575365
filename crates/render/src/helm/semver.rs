//! Versions and constraints as the Masterminds library reads them.

use std::{cmp::Ordering, fmt, sync::OnceLock};

use regex::Regex;

/// A semantic version; missing minor and patch parts are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) patch: u64,
    pub(crate) prerelease: String,
    pub(crate) metadata: String,
    pub(crate) original: String,
}

const SUFFIX: &str = r"(?:-([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?(?:\+([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?";

/// An expression of this module, which are all valid.
fn expression(slot: &'static OnceLock<Option<Regex>>, source: impl FnOnce() -> String) -> Option<&'static Regex> {
    slot.get_or_init(|| Regex::new(&source()).ok()).as_ref()
}

// === impl Version ===

impl Version {
    /// Reads `v1.2.3-pre+meta`; the `v`, minor and patch may be missing.
    pub fn parse(text: &str) -> Option<Version> {
        static VERSION: OnceLock<Option<Regex>> = OnceLock::new();
        let pattern = expression(&VERSION, || format!(r"^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?{SUFFIX}$"))?;
        let found = pattern.captures(text)?;
        let number = |index: usize| found.get(index).map_or(Some(0), |part| part.as_str().parse::<u64>().ok());
        let part = |index: usize| found.get(index).map(|part| part.as_str().to_owned()).unwrap_or_default();
        let prerelease = part(4);
        let leading_zero =
            |part: &str| part.len() > 1 && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit());
        if prerelease.split('.').any(leading_zero) {
            return None;
        }
        Some(Version {
            major: number(1)?,
            minor: number(2)?,
            patch: number(3)?,
            prerelease,
            metadata: part(5),
            original: text.to_owned(),
        })
    }

    /// The order of precedence; metadata does not count.
    pub(crate) fn compare(&self, other: &Version) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| compare_prerelease(&self.prerelease, &other.prerelease))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.prerelease.is_empty() {
            write!(formatter, "-{}", self.prerelease)?;
        }
        if !self.metadata.is_empty() {
            write!(formatter, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

fn compare_prerelease(left: &str, right: &str) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut lefts, mut rights) = (left.split('.'), right.split('.'));
    loop {
        let order = match (lefts.next(), rights.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => match (left.parse::<u64>(), right.parse::<u64>()) {
                (Ok(left), Ok(right)) => left.cmp(&right),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => left.cmp(right),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

#[derive(Debug)]
struct Constraint {
    operator: Operator,
    version: Version,
    minor_dirty: bool,
    patch_dirty: bool,
    dirty: bool,
}

/// Alternatives (`||`) of constraints that all hold.
#[derive(Debug)]
pub struct Constraints(Vec<Vec<Constraint>>);

const OPERATORS: &str = r"=>|>=|=<|<=|!=|~>|=|>|<|~|\^|";
const LOOSE: &str = r"v?[0-9xX*|]+(?:\.[0-9xX*|]+)?(?:\.[0-9xX*|]+)?(?:-[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?(?:\+[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?";

// === impl Constraints ===

impl Constraints {
    /// Reads constraints such as `>=1.2 <2 || ~3.1`.
    pub fn parse(text: &str) -> Option<Constraints> {
        static RANGE: OnceLock<Option<Regex>> = OnceLock::new();
        static VALID: OnceLock<Option<Regex>> = OnceLock::new();
        static EACH: OnceLock<Option<Regex>> = OnceLock::new();
        let range = expression(&RANGE, || format!(r"\s*({LOOSE})\s+-\s+({LOOSE})\s*"))?;
        let valid = expression(&VALID, || {
            format!(r"^\s*(?:{OPERATORS})\s*(?:{LOOSE})\s*(?:(?:\s+|,\s*)(?:{OPERATORS})\s*(?:{LOOSE})\s*)*$")
        })?;
        let each = expression(&EACH, || format!(r"({OPERATORS})\s*({LOOSE})"))?;
        let rewritten = range.replace_all(text, ">=$1, <=$2 ");
        let mut alternatives = Vec::new();
        for part in rewritten.split("||") {
            if !valid.is_match(part) {
                return None;
            }
            let mut all = Vec::new();
            for found in each.captures_iter(part) {
                all.push(constraint(found.get(1)?.as_str(), found.get(2)?.as_str())?);
            }
            alternatives.push(all);
        }
        Some(Constraints(alternatives))
    }

    /// Whether a version meets the constraints.
    pub fn check(&self, version: &Version) -> bool {
        self.0.iter().any(|all| {
            let with_prereleases = all.iter().any(|constraint| !constraint.version.prerelease.is_empty());
            all.iter().all(|constraint| constraint.check(version, with_prereleases))
        })
    }
}

fn constraint(operator: &str, version: &str) -> Option<Constraint> {
    static PARTS: OnceLock<Option<Regex>> = OnceLock::new();
    let parts = expression(&PARTS, || format!(r"^v?([0-9xX*|]+)(?:\.([0-9xX*|]+))?(?:\.([0-9xX*|]+))?({SUFFIX})$"))?;
    let found = parts.captures(version)?;
    let part =
        |index: usize| found.get(index).map(|part| part.as_str()).filter(|part| !matches!(*part, "x" | "X" | "*"));
    let prerelease = found.get(5).map(|found| format!("-{}", found.as_str())).unwrap_or_default();
    let (mut minor_dirty, mut patch_dirty, mut dirty) = (false, false, false);
    let version = match (part(1), part(2), part(3)) {
        (None, ..) => {
            dirty = true;
            format!("0.0.0{prerelease}")
        }
        (Some(major), None, _) => {
            (minor_dirty, dirty) = (true, true);
            format!("{major}.0.0{prerelease}")
        }
        (Some(major), Some(minor), None) => {
            (patch_dirty, dirty) = (true, true);
            format!("{major}.{minor}.0{prerelease}")
        }
        (Some(major), Some(minor), Some(patch)) => format!("{major}.{minor}.{patch}{prerelease}"),
    };
    let operator = match operator {
        "" | "=" => Operator::Equal,
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        "<" => Operator::Less,
        ">=" | "=>" => Operator::GreaterOrEqual,
        "<=" | "=<" => Operator::LessOrEqual,
        "~" | "~>" => Operator::Tilde,
        _ => Operator::Caret,
    };
    Some(Constraint { operator, version: Version::parse(&version)?, minor_dirty, patch_dirty, dirty })
}

// === impl Constraint ===

impl Constraint {
    fn check(&self, version: &Version, with_prereleases: bool) -> bool {
        let wanted = &self.version;
        if !version.prerelease.is_empty() && wanted.prerelease.is_empty() && !with_prereleases {
            return false;
        }
        let order = version.compare(wanted);
        match self.operator {
            Operator::Equal if self.dirty => self.tilde(version),
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual => self.not_equal(version),
            Operator::Greater if !self.dirty => order == Ordering::Greater,
            Operator::Greater => match version.major.cmp(&wanted.major) {
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal if self.minor_dirty => false,
                Ordering::Equal if self.patch_dirty => version.minor > wanted.minor,
                Ordering::Equal => order == Ordering::Greater,
            },
            Operator::Less => order == Ordering::Less,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::LessOrEqual if !self.dirty => order != Ordering::Greater,
            Operator::LessOrEqual => {
                version.major < wanted.major
                    || (version.major == wanted.major && (version.minor <= wanted.minor || self.minor_dirty))
            }
            Operator::Tilde => self.tilde(version),
            Operator::Caret => self.caret(version),
        }
    }

    fn not_equal(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if self.dirty {
            if version.major != wanted.major {
                return true;
            }
            if self.minor_dirty {
                return false;
            }
            if version.minor != wanted.minor {
                return true;
            }
            if self.patch_dirty {
                return compare_prerelease(&version.prerelease, &wanted.prerelease) != Ordering::Equal;
            }
            if version.patch != wanted.patch {
                return true;
            }
        }
        version.compare(wanted) != Ordering::Equal
    }

    fn tilde(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if (wanted.major, wanted.minor, wanted.patch) == (0, 0, 0) && !self.minor_dirty && !self.patch_dirty {
            return true;
        }
        version.compare(wanted) != Ordering::Less
            && version.major == wanted.major
            && (version.minor == wanted.minor || self.minor_dirty)
    }

    fn caret(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if version.compare(wanted) == Ordering::Less {
            return false;
        }
        if wanted.major > 0 || self.minor_dirty {
            return version.major == wanted.major;
        }
        if version.major > 0 {
            return false;
        }
        if wanted.minor > 0 || self.patch_dirty {
            return version.minor == wanted.minor;
        }
        version.minor == 0 && version.patch == wanted.patch
    }
}
