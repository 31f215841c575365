//! Roles and bindings, compiled: for each subject the rules that hold for it, by namespace.

use std::collections::HashMap;

use lotse_store::Store;
use serde::Deserialize;
use serde_json::Value;

use super::Attributes;
use crate::{authn::User, object::meta, projection::objects, registry::prefix};

const GROUP: &str = "rbac.authorization.k8s.io";

/// One `PolicyRule`.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) non_resource_urls: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

/// A grant: rules, and the namespace they hold in (`None`: everywhere).
#[derive(Clone, Debug)]
struct Grant {
    namespace: Option<String>,
    rules: std::sync::Arc<[Rule]>,
}

/// All grants.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    grants: HashMap<Subject, Vec<Grant>>,
}

impl Rule {
    fn allows(&self, attributes: Attributes<'_>) -> bool {
        let among = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        match attributes {
            Attributes::Path { verb, path } => {
                let fits = |pattern: &String| match pattern.strip_suffix('*') {
                    Some(start) => path.starts_with(start),
                    None => pattern == path,
                };
                among(&self.verbs, verb) && self.non_resource_urls.iter().any(fits)
            }
            Attributes::Resource { verb, group, resource, name, .. } => {
                let subresource = resource.split_once('/').map(|(_, sub)| sub);
                let fits = |item: &String| {
                    item == "*"
                        || item == resource
                        || subresource.is_some_and(|sub| item.strip_prefix("*/") == Some(sub))
                };
                among(&self.verbs, verb)
                    && among(&self.api_groups, group)
                    && self.resources.iter().any(fits)
                    && (self.resource_names.is_empty()
                        || self.resource_names.iter().any(|n| n == name && !name.is_empty()))
            }
        }
    }
}

impl Rules {
    /// Reads the stored roles and bindings.
    pub(crate) fn read(store: &dyn Store, _: &str) -> Self {
        let rules_of = |object: &Value| -> std::sync::Arc<[Rule]> {
            let rules = object.get("rules").cloned().unwrap_or_default();
            serde_json::from_value::<Vec<Rule>>(rules).unwrap_or_default().into()
        };
        let cluster_roles = objects(store, &prefix(GROUP, "clusterroles"));
        let by_name: HashMap<String, std::sync::Arc<[Rule]>> = cluster_roles
            .iter()
            .map(|role| {
                (meta(role, "name").to_owned(), aggregated(role, &cluster_roles).unwrap_or_else(|| rules_of(role)))
            })
            .collect();
        let roles: HashMap<(String, String), std::sync::Arc<[Rule]>> = objects(store, &prefix(GROUP, "roles"))
            .iter()
            .map(|role| ((meta(role, "namespace").to_owned(), meta(role, "name").to_owned()), rules_of(role)))
            .collect();
        let mut this = Self::default();
        let bindings = objects(store, &prefix(GROUP, "clusterrolebindings"));
        for binding in bindings.iter().chain(&objects(store, &prefix(GROUP, "rolebindings"))) {
            let namespace = Some(meta(binding, "namespace")).filter(|n| !n.is_empty());
            let text = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let name = text("/roleRef/name");
            let rules = match (text("/roleRef/kind"), namespace) {
                ("ClusterRole", _) => by_name.get(name),
                ("Role", Some(namespace)) => roles.get(&(namespace.to_owned(), name.to_owned())),
                _ => None,
            };
            let Some(rules) = rules else { continue };
            for subject in binding.get("subjects").and_then(Value::as_array).into_iter().flatten() {
                let text = |field: &str| subject.get(field).and_then(Value::as_str).unwrap_or_default();
                let subject = match text("kind") {
                    "User" => Subject::User(text("name").to_owned()),
                    "Group" => Subject::Group(text("name").to_owned()),
                    "ServiceAccount" => {
                        let of = if text("namespace").is_empty() {
                            namespace.unwrap_or_default()
                        } else {
                            text("namespace")
                        };
                        Subject::User(format!("system:serviceaccount:{of}:{}", text("name")))
                    }
                    _ => continue,
                };
                let grant = Grant { namespace: namespace.map(str::to_owned), rules: rules.clone() };
                this.grants.entry(subject).or_default().push(grant);
            }
        }
        this
    }

    fn of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Grant> {
        let own = self.grants.get(&Subject::User(user.name.clone()));
        let groups = user.groups.iter().filter_map(|group| self.grants.get(&Subject::Group(group.clone())));
        own.into_iter().chain(groups).flatten()
    }

    /// Whether a grant covers it.
    pub(crate) fn allow(&self, user: &User, attributes: Attributes<'_>) -> bool {
        self.of(user).any(|grant| {
            let place = match (&grant.namespace, attributes) {
                (None, _) => true,
                (Some(granted), Attributes::Resource { namespace, .. }) => granted == namespace,
                (Some(_), Attributes::Path { .. }) => false,
            };
            place && grant.rules.iter().any(|rule| rule.allows(attributes))
        })
    }

    /// The rules that hold for a user in a namespace.
    pub(crate) fn within<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.of(user)
            .filter(move |grant| grant.namespace.as_deref().is_none_or(|granted| granted == namespace))
            .flat_map(|grant| grant.rules.iter())
    }
}

/// The rules of a ClusterRole with an aggregation rule: those of every role that its selectors choose, nested ones too.
fn aggregated(role: &Value, all: &[Value]) -> Option<std::sync::Arc<[Rule]>> {
    let selectors = role.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array)?;
    let mut chosen: Vec<&Value> = Vec::new();
    let mut pending: Vec<&Vec<Value>> = vec![selectors];
    // Each role is taken once, so circles end.
    while let Some(selectors) = pending.pop() {
        for candidate in all {
            if std::ptr::eq(candidate, role) || chosen.iter().any(|c| std::ptr::eq(*c, candidate)) {
                continue;
            }
            if selectors.iter().any(|selector| crate::labels::selects(selector, candidate)) {
                chosen.push(candidate);
                pending.extend(candidate.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array));
            }
        }
    }
    let mut rules = Vec::new();
    for role in chosen {
        let own = role.get("rules").cloned().unwrap_or_default();
        rules.extend(serde_json::from_value::<Vec<Rule>>(own).unwrap_or_default());
    }
    Some(rules.into())
}
