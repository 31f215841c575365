//! One finding about one field, as it appears in `Status.details.causes`.

use serde::{Deserialize, Serialize};

/// What is wrong, in the API's own words (`metav1.CauseType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// A required value is missing.
    FieldValueRequired,
    /// The value is malformed.
    FieldValueInvalid,
    /// The value is not one of those allowed.
    FieldValueNotSupported,
    /// The value may not be set, or not be changed.
    FieldValueForbidden,
    /// The value occurs twice.
    FieldValueDuplicate,
    /// What the value refers to does not exist.
    FieldValueNotFound,
    /// The value is of another JSON type.
    FieldValueTypeInvalid,
    /// Another field manager owns the field.
    FieldManagerConflict,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The class of finding.
    pub reason: Reason,
    /// The sentence after the field's name, as Kubernetes words it: `Required value`, `Invalid value: "x": must be …`.
    pub message: String,
    /// Path of the field: `spec.template.spec.containers[0].name`.
    pub field: String,
}
