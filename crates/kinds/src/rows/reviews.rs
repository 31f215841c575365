//! Groups authentication.k8s.io and authorization.k8s.io, version v1: answered on the spot, never kept.

use k8s_openapi::api::{
    authentication::v1::{SelfSubjectReview, TokenReview},
    authorization::v1::{
        LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    },
};

use crate::{
    hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<SelfSubjectReview>().review(),
        row::<TokenReview>().review().validate(hooks::reviews::validate_token_review),
        row::<LocalSubjectAccessReview>().review().validate(hooks::reviews::validate_local_subject_access_review),
        row::<SelfSubjectAccessReview>().review().validate(hooks::reviews::validate_self_subject_access_review),
        row::<SelfSubjectRulesReview>().review().validate(hooks::reviews::validate_self_subject_rules_review),
        row::<SubjectAccessReview>().review().validate(hooks::reviews::validate_subject_access_review),
    ]
}
