//! What happens to objects because of other objects, between defaulting and validation. Each plugin is one row: what it looks
//! at, and one function.

mod namespace;
mod pods;
mod services;
mod storage;

use serde_json::Value;
use tokio::sync::MutexGuard;

use crate::{
    handlers::Write,
    registry::Resource,
    server::Server,
    status::{Error, Result},
};

/// One write as plugins see it.
pub(crate) struct Admission<'a> {
    pub(crate) server: &'a Server,
    pub(crate) write: &'a Write,
    /// The stored object, absent on create.
    pub(crate) old: Option<&'a Value>,
}

impl Admission<'_> {
    /// The write makes a new object.
    pub(crate) fn creates(&self) -> bool {
        self.old.is_none()
    }

    /// A refusal by policy.
    pub(crate) fn forbidden(&self, object: &Value, reason: &str) -> Error {
        self.write.resource.forbidden(crate::object::meta(object, "name"), reason)
    }
}

struct Plugin {
    /// Group and plural; `("*", "*")` for all.
    resource: (&'static str, &'static str),
    /// Writes of the resource happen one after the other, because the plugin hands out something scarce.
    exclusive: bool,
    run: fn(&Admission<'_>, &mut Value) -> Result<()>,
}

const fn plugin(
    group: &'static str,
    resource: &'static str,
    run: fn(&Admission<'_>, &mut Value) -> Result<()>,
) -> Plugin {
    Plugin { resource: (group, resource), exclusive: false, run }
}

/// In the order in which they run.
static PLUGINS: [Plugin; 8] = [
    plugin("*", "*", namespace::must_take_objects),
    plugin("", "namespaces", namespace::finalizer_and_label),
    plugin("", "pods", pods::priority),
    plugin("", "pods", pods::service_account),
    plugin("", "pods", pods::tolerations),
    plugin("", "persistentvolumeclaims", storage::default_class),
    plugin("rbac.authorization.k8s.io", "*", crate::authz::escalation),
    Plugin { resource: ("", "services"), exclusive: true, run: services::allocate },
];

impl Plugin {
    fn covers(&self, resource: &Resource) -> bool {
        let (group, plural) = self.resource;
        (group == "*" || group == resource.kind.group) && (plural == "*" || plural == resource.kind.plural)
    }
}

/// Runs the plugins. Writes of subresources are changes of parts that no plugin concerns.
pub(crate) fn admit(server: &Server, write: &Write, new: &mut Value, old: Option<&Value>) -> Result<()> {
    if !write.subresource.is_empty() {
        return Ok(());
    }
    let admission = Admission { server, write, old };
    PLUGINS.iter().filter(|plugin| plugin.covers(&write.resource)).try_for_each(|plugin| (plugin.run)(&admission, new))
}

/// Waits for other writes where writes of a resource must not overlap.
pub(crate) async fn exclusive<'a>(server: &'a Server, resource: &Resource) -> Option<MutexGuard<'a, ()>> {
    if PLUGINS.iter().any(|plugin| plugin.exclusive && plugin.covers(resource)) {
        Some(server.allocation.lock().await)
    } else {
        None
    }
}

/// Objects without which the cluster does not work.
static INDELIBLE: [(&str, &str, &[&str]); 1] =
    [("", "namespaces", &["default", "kube-system", "kube-public", "kube-node-lease"])];

/// Refuses the deletion of what the cluster cannot be without.
pub(crate) fn admit_delete(resource: &Resource, name: &str) -> Result<()> {
    let kind = &resource.kind;
    let guarded = INDELIBLE.iter().any(|(g, r, names)| *g == kind.group && *r == kind.plural && names.contains(&name));
    if guarded { Err(resource.forbidden(name, "this namespace may not be deleted")) } else { Ok(()) }
}
