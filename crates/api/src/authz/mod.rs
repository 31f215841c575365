//! Who may do what: RBAC (`rbac.authorization.k8s.io`).

mod escalation;
mod rules;

pub(crate) use self::{
    escalation::escalation,
    rules::{Rule, Rules},
};
use crate::{
    authn::{MASTERS, User},
    projection::Projection,
    request::{ResourceRequest, Target},
    server::Server,
    status::{Error, Result},
};

/// What is to be done, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attributes<'a> {
    /// Something with API resources.
    Resource {
        /// `get`, `list`, `impersonate`, …
        verb: &'a str,
        /// API group.
        group: &'a str,
        /// Plural resource name, with `/subresource`.
        resource: &'a str,
        /// Namespace, empty for cluster scope.
        namespace: &'a str,
        /// Object name, empty for collections.
        name: &'a str,
    },
    /// Another path.
    Path {
        /// `get`, `post`, …
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// The rules of now; follows the stored roles and bindings.
pub(crate) struct Authorizer {
    rules: Projection<Rules>,
}

impl Authorizer {
    /// Follows a store.
    pub(crate) fn new() -> Self {
        Self { rules: Projection::new("rbac.authorization.k8s.io/", Rules::read) }
    }

    /// Whether a user may do something.
    pub(crate) fn allows(&self, server: &Server, user: &User, attributes: Attributes<'_>) -> bool {
        user.is_in(MASTERS) || self.rules.get(&*server.store).allow(user, attributes)
    }

    /// The rules of now.
    pub(crate) fn rules(&self, server: &Server) -> std::sync::Arc<Rules> {
        self.rules.get(&*server.store)
    }
}

/// Refuses a request that its user may not make.
pub(crate) fn authorize(server: &Server, user: &User, target: &Target) -> Result<()> {
    match target {
        Target::Resource(request) => authorize_resource(server, user, request),
        Target::Path { path, verb } => {
            if server.authorizer.allows(server, user, Attributes::Path { verb, path }) {
                return Ok(());
            }
            Err(Error::Forbidden {
                group: String::new(),
                resource: String::new(),
                name: String::new(),
                message: format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name),
            })
        }
    }
}

fn authorize_resource(server: &Server, user: &User, request: &ResourceRequest) -> Result<()> {
    let resource = request.resource_with_subresource();
    let attributes = Attributes::Resource {
        verb: request.verb.as_str(),
        group: &request.group,
        resource: &resource,
        namespace: request.authorization_namespace(),
        name: &request.name,
    };
    if server.authorizer.allows(server, user, attributes) {
        return Ok(());
    }
    Err(forbidden(user, attributes))
}

/// The sentence for a refused request.
pub(crate) fn forbidden(user: &User, attributes: Attributes<'_>) -> Error {
    let Attributes::Resource { verb, group, resource, namespace, name } = attributes else {
        return Error::Forbidden {
            group: String::new(),
            resource: String::new(),
            name: String::new(),
            message: format!("forbidden: User {:?} may not do this", user.name),
        };
    };
    let plural = resource.split('/').next().unwrap_or(resource);
    let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let object = if name.is_empty() { qualified.clone() } else { format!("{qualified} {name:?}") };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {namespace:?}")
    };
    Error::Forbidden {
        group: group.to_owned(),
        resource: plural.to_owned(),
        name: name.to_owned(),
        message: format!(
            "{object} is forbidden: User {:?} cannot {verb} resource {resource:?} in API group {group:?} {place}",
            user.name
        ),
    }
}

/// Whether a user may act as another one: every part of the identity is a right of its own.
pub(crate) fn authorize_impersonation(server: &Server, user: &User, other: &User) -> Result<()> {
    let check = |group: &str, resource: &str, namespace: &str, name: &str| {
        let attributes = Attributes::Resource { verb: "impersonate", group, resource, namespace, name };
        if server.authorizer.allows(server, user, attributes) { Ok(()) } else { Err(forbidden(user, attributes)) }
    };
    match other.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => check("", "serviceaccounts", namespace, name)?,
        None => check("", "users", "", &other.name)?,
    }
    let implied = |group: &str| {
        matches!(group, "system:authenticated" | "system:unauthenticated")
            || other.name.starts_with("system:serviceaccount:") && group.starts_with("system:serviceaccounts")
    };
    for group in other.groups.iter().filter(|group| !implied(group)) {
        check("", "groups", "", group)?;
    }
    if !other.uid.is_empty() {
        check("authentication.k8s.io", "uids", "", &other.uid)?;
    }
    for (key, values) in &other.extra {
        for value in values {
            check("authentication.k8s.io", &format!("userextras/{key}"), "", value)?;
        }
    }
    Ok(())
}
