//! Nobody hands out rights that they do not have (RBAC, privilege escalation prevention): roles and bindings are checked when written.

use serde_json::Value;

use super::{Attributes, Rule, Rules};
use crate::{
    admission::Admission,
    authn::{MASTERS, User},
    object::meta,
    registry::prefix,
    status::Result,
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses a role with more rights than its author has, and a binding to a role that its author may not give away.
pub(crate) fn escalation(admission: &Admission<'_>, object: &mut Value) -> Result<()> {
    let write = admission.write;
    let user = &*write.user;
    if user.is_in(MASTERS) {
        return Ok(());
    }
    let server = admission.server;
    let namespace = write.namespace.as_str();
    let may = |verb: &str, resource: &str, name: &str| {
        server.authorizer.allows(server, user, Attributes::Resource { verb, group: GROUP, resource, namespace, name })
    };
    let held = server.authorizer.rules(server);
    let Some(role_ref) = object.get("roleRef") else {
        let rules = rules_of(object);
        let aggregates = object.get("aggregationRule").is_some_and(|rule| !rule.is_null());
        let changed = admission.old.is_none_or(|old| {
            old.get("rules") != object.get("rules") || old.get("aggregationRule") != object.get("aggregationRule")
        });
        if !changed || may("escalate", &write.resource.kind.plural, meta(object, "name")) {
            return Ok(());
        }
        let everything = Rule { verbs: star(), api_groups: star(), resources: star(), ..Rule::default() };
        let covered = rules.iter().all(|rule| covers(&held, user, namespace, rule))
            && (!aggregates || covers(&held, user, namespace, &everything));
        return if covered { Ok(()) } else { Err(refusal(admission, object)) };
    };
    let text = |field: &str| role_ref.get(field).and_then(Value::as_str).unwrap_or_default();
    let (resource, key) = match text("kind") {
        "Role" => ("roles", format!("{}{namespace}/{}", prefix(GROUP, "roles"), text("name"))),
        _ => ("clusterroles", format!("{}{}", prefix(GROUP, "clusterroles"), text("name"))),
    };
    if may("bind", resource, text("name")) {
        return Ok(());
    }
    let role = server.store.get(&key).and_then(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    // What does not exist yet could become anything.
    let covered = role.is_some_and(|role| rules_of(&role).iter().all(|rule| covers(&held, user, namespace, rule)));
    if covered { Ok(()) } else { Err(refusal(admission, object)) }
}

fn star() -> Vec<String> {
    vec!["*".to_owned()]
}

fn rules_of(role: &Value) -> Vec<Rule> {
    serde_json::from_value(role.get("rules").cloned().unwrap_or_default()).unwrap_or_default()
}

fn refusal(admission: &Admission<'_>, object: &Value) -> crate::Error {
    let user = &admission.write.user;
    let reason = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held",
        user.name, user.groups
    );
    admission.forbidden(object, &reason)
}

/// Whether a user's own rules allow every single thing that a rule allows.
fn covers(held: &Rules, user: &User, namespace: &str, rule: &Rule) -> bool {
    let names: Vec<&str> = if rule.resource_names.is_empty() {
        vec![""]
    } else {
        rule.resource_names.iter().map(String::as_str).collect()
    };
    rule.verbs.iter().all(|verb| {
        let resources = rule.api_groups.iter().all(|group| {
            rule.resources.iter().all(|resource| {
                names
                    .iter()
                    .all(|name| held.allow(user, Attributes::Resource { verb, group, resource, namespace, name }))
            })
        });
        resources && rule.non_resource_urls.iter().all(|path| held.allow(user, Attributes::Path { verb, path }))
    })
}
