//! RoleBinding and ClusterRoleBinding.

use serde_json::Value;

use super::{age, name, text};
use crate::{Column, json::View};

pub(crate) fn binding() -> Vec<Column> {
    vec![
        name(),
        text("Role", "Role that is granted.", |binding: &Value| {
            let role = binding.at("roleRef").unwrap_or(&Value::Null);
            format!("{}/{}", role.text("kind").unwrap_or_default(), role.text("name").unwrap_or_default())
        }),
        age(),
        text("Users", "Users that have the role.", |binding| subjects(binding, "User")).wide(),
        text("Groups", "Groups that have the role.", |binding| subjects(binding, "Group")).wide(),
        text("ServiceAccounts", "Service accounts that have the role.", |binding| subjects(binding, "ServiceAccount"))
            .wide(),
    ]
}

fn subjects(binding: &Value, kind: &str) -> String {
    let named = binding.items("subjects").iter().filter(|subject| subject.text("kind") == Some(kind)).map(|subject| {
        let name = subject.text("name").unwrap_or_default();
        match subject.filled("namespace") {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    });
    named.collect::<Vec<_>>().join(", ")
}
