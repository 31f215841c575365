//! What the crate of generated types does not say about built-in kinds: how lists merge, what is replaced as a whole, which
//! key fields have defaults. Taken from the markers `+listType`, `+listMapKey`, `+structType`, `+patchStrategy` and
//! `+patchMergeKey` of the Kubernetes API types; a test checks that every row names a field that exists.

use Merging::{Merge, MergePrimitives, MergeRetainKeys, Replace, RetainKeys};
use Topology::{Atomic, AtomicMap, Map, Set, Unchanged};

/// `x-kubernetes-list-type`, `-list-map-keys` and `-map-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// The field's type says it.
    Unchanged,
    /// A list that is owned as a whole although strategic merge patches merge it.
    Atomic,
    /// A list of distinct values.
    Set,
    /// A list whose items are told apart by these fields.
    Map(&'static [&'static str]),
    /// A map that is owned as a whole.
    AtomicMap,
}

/// `x-kubernetes-patch-strategy` and `-patch-merge-key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merging {
    /// Lists are replaced, objects merge.
    None,
    /// Items merge by this key.
    Merge(&'static str),
    /// Items merge by this key and honour `$retainKeys`.
    MergeRetainKeys(&'static str),
    /// A list of plain values is united.
    MergePrimitives,
    /// An object that honours `$retainKeys`.
    RetainKeys,
    /// An object that is replaced.
    Replace,
}

/// Definition, field, how it is owned, how it is patched; sorted by definition and field.
pub(crate) static FIELDS: &[(&str, &str, Topology, Merging)] = &[
    (
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicySpec",
        "matchConditions",
        Map(&["name"]),
        Merge("name"),
    ),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", "matchConditions", Map(&["name"]), Merge("name")),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration", "webhooks", Map(&["name"]), Merge("name")),
    (
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec",
        "validationActions",
        Set,
        Merging::None,
    ),
    (
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec",
        "matchConditions",
        Map(&["name"]),
        Merge("name"),
    ),
    ("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec", "variables", Map(&["name"]), Merge("name")),
    (
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyStatus",
        "conditions",
        Map(&["type"]),
        Merging::None,
    ),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", "matchConditions", Map(&["name"]), Merge("name")),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration", "webhooks", Map(&["name"]), Merge("name")),
    (
        "io.k8s.api.admissionregistration.v1alpha1.MutatingAdmissionPolicySpec",
        "matchConditions",
        Map(&["name"]),
        Merge("name"),
    ),
    (
        "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicySpec",
        "matchConditions",
        Map(&["name"]),
        Merge("name"),
    ),
    ("io.k8s.api.apiserverinternal.v1alpha1.ServerStorageVersion", "decodableVersions", Set, Merging::None),
    ("io.k8s.api.apiserverinternal.v1alpha1.ServerStorageVersion", "servedVersions", Set, Merging::None),
    ("io.k8s.api.apiserverinternal.v1alpha1.StorageVersionStatus", "conditions", Map(&["type"]), Merge("type")),
    (
        "io.k8s.api.apiserverinternal.v1alpha1.StorageVersionStatus",
        "storageVersions",
        Map(&["apiServerID"]),
        Merge("apiServerID"),
    ),
    ("io.k8s.api.apps.v1.DaemonSetStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.apps.v1.DeploymentSpec", "strategy", Unchanged, RetainKeys),
    ("io.k8s.api.apps.v1.DeploymentStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.apps.v1.ReplicaSetStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.apps.v1.StatefulSetStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.batch.v1.JobSchedulingConfiguration", "resourceClaims", Map(&["name"]), MergeRetainKeys("name")),
    ("io.k8s.api.batch.v1.JobStatus", "conditions", Atomic, Merge("type")),
    ("io.k8s.api.batch.v1.PodFailurePolicyOnExitCodesRequirement", "values", Set, Merging::None),
    ("io.k8s.api.batch.v1.UncountedTerminatedPods", "failed", Set, Merging::None),
    ("io.k8s.api.batch.v1.UncountedTerminatedPods", "succeeded", Set, Merging::None),
    ("io.k8s.api.certificates.v1.CertificateSigningRequestStatus", "conditions", Map(&["type"]), Merging::None),
    ("io.k8s.api.certificates.v1.PodCertificateRequestStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.certificates.v1beta1.PodCertificateRequestStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.ComponentStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.Container", "env", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.Container", "ports", Map(&["containerPort", "protocol"]), Merge("containerPort")),
    ("io.k8s.api.core.v1.Container", "volumeDevices", Map(&["devicePath"]), Merge("devicePath")),
    ("io.k8s.api.core.v1.Container", "volumeMounts", Map(&["mountPath"]), Merge("mountPath")),
    ("io.k8s.api.core.v1.ContainerRestartRuleOnExitCodes", "values", Set, Merging::None),
    ("io.k8s.api.core.v1.ContainerStatus", "allocatedResourcesStatus", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.ContainerStatus", "volumeMounts", Map(&["mountPath"]), Merge("mountPath")),
    ("io.k8s.api.core.v1.EphemeralContainer", "env", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.EphemeralContainer", "ports", Map(&["containerPort", "protocol"]), Merge("containerPort")),
    ("io.k8s.api.core.v1.EphemeralContainer", "volumeDevices", Map(&["devicePath"]), Merge("devicePath")),
    ("io.k8s.api.core.v1.EphemeralContainer", "volumeMounts", Map(&["mountPath"]), Merge("mountPath")),
    ("io.k8s.api.core.v1.NamespaceStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.NodeAllocatableResourceClaimStatus", "containers", Set, Merging::None),
    ("io.k8s.api.core.v1.NodeAllocatableResourceClaimStatus", "mapping", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.NodeAllocatableResourceClaimStatus", "overhead", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.NodePodPreemptionPolicy", "disableResizePreemption", Set, Merging::None),
    ("io.k8s.api.core.v1.NodeSpec", "podCIDRs", Set, MergePrimitives),
    ("io.k8s.api.core.v1.NodeStatus", "addresses", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.NodeStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.PodSpec", "containers", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.PodSpec", "ephemeralContainers", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.PodSpec", "evictionResponders", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.PodSpec", "hostAliases", Map(&["ip"]), Merge("ip")),
    ("io.k8s.api.core.v1.PodSpec", "imagePullSecrets", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.PodSpec", "initContainers", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.PodSpec", "nodeSelector", AtomicMap, Merging::None),
    ("io.k8s.api.core.v1.PodSpec", "resourceClaims", Map(&["name"]), MergeRetainKeys("name")),
    ("io.k8s.api.core.v1.PodSpec", "schedulingGates", Map(&["name"]), Merge("name")),
    (
        "io.k8s.api.core.v1.PodSpec",
        "topologySpreadConstraints",
        Map(&["topologyKey", "whenUnsatisfiable"]),
        Merge("topologyKey"),
    ),
    ("io.k8s.api.core.v1.PodSpec", "volumes", Map(&["name"]), MergeRetainKeys("name")),
    ("io.k8s.api.core.v1.PodStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.PodStatus", "hostIPs", Atomic, Merge("ip")),
    (
        "io.k8s.api.core.v1.PodStatus",
        "nodeAllocatableResourceClaimStatuses",
        Map(&["resourceClaimName"]),
        Merge("resourceClaimName"),
    ),
    ("io.k8s.api.core.v1.PodStatus", "podIPs", Map(&["ip"]), Merge("ip")),
    ("io.k8s.api.core.v1.PodStatus", "resourceClaimStatuses", Map(&["name"]), MergeRetainKeys("name")),
    ("io.k8s.api.core.v1.PodStatus", "volumeHealth", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.PodVolumeHealth", "healthConditions", Map(&["status"]), Merge("status")),
    ("io.k8s.api.core.v1.ReplicationControllerSpec", "selector", AtomicMap, Merging::None),
    ("io.k8s.api.core.v1.ReplicationControllerStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.ResourceRequirements", "claims", Map(&["name"]), Merging::None),
    ("io.k8s.api.core.v1.ResourceStatus", "resources", Map(&["resourceID"]), Merging::None),
    ("io.k8s.api.core.v1.ServiceAccount", "secrets", Map(&["name"]), Merge("name")),
    ("io.k8s.api.core.v1.ServiceSpec", "ports", Map(&["port", "protocol"]), Merge("port")),
    ("io.k8s.api.core.v1.ServiceSpec", "selector", AtomicMap, Merging::None),
    ("io.k8s.api.core.v1.ServiceStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.core.v1.VolumeHealthStatus", "healthConditions", Map(&["status"]), Merge("status")),
    ("io.k8s.api.core.v1.VolumeMount", "bindMountOptions", Set, Merging::None),
    ("io.k8s.api.discovery.v1.Endpoint", "addresses", Set, Merging::None),
    ("io.k8s.api.flowcontrol.v1.FlowSchemaStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.flowcontrol.v1.NonResourcePolicyRule", "nonResourceURLs", Set, Merging::None),
    ("io.k8s.api.flowcontrol.v1.NonResourcePolicyRule", "verbs", Set, Merging::None),
    ("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.flowcontrol.v1.ResourcePolicyRule", "apiGroups", Set, Merging::None),
    ("io.k8s.api.flowcontrol.v1.ResourcePolicyRule", "namespaces", Set, Merging::None),
    ("io.k8s.api.flowcontrol.v1.ResourcePolicyRule", "resources", Set, Merging::None),
    ("io.k8s.api.flowcontrol.v1.ResourcePolicyRule", "verbs", Set, Merging::None),
    ("io.k8s.api.lifecycle.v1alpha1.EvictionRequestStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.lifecycle.v1alpha1.EvictionStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.lifecycle.v1alpha1.EvictionStatus", "requesters", Map(&["name"]), Merge("name")),
    ("io.k8s.api.lifecycle.v1alpha1.EvictionStatus", "responders", Map(&["name"]), Merge("name")),
    ("io.k8s.api.lifecycle.v1alpha1.EvictionStatus", "targetResponders", Map(&["name"]), Merge("name")),
    ("io.k8s.api.networking.v1.ServiceCIDRStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.node.v1.Scheduling", "nodeSelector", AtomicMap, Merging::None),
    ("io.k8s.api.policy.v1.PodDisruptionBudgetSpec", "selector", Unchanged, Replace),
    ("io.k8s.api.policy.v1.PodDisruptionBudgetStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.resource.v1.AllocatedDeviceStatus", "conditions", Map(&["type"]), Merging::None),
    ("io.k8s.api.resource.v1.DeviceRequestAllocationResult", "skipNodeOperations", Set, Merging::None),
    ("io.k8s.api.resource.v1.DeviceTaintRuleStatus", "conditions", Map(&["type"]), Merge("type")),
    (
        "io.k8s.api.resource.v1.ResourceClaimStatus",
        "devices",
        Map(&["driver", "device", "pool", "shareID"]),
        Merging::None,
    ),
    ("io.k8s.api.resource.v1.ResourceClaimStatus", "reservedFor", Map(&["uid"]), Merge("uid")),
    ("io.k8s.api.resource.v1.ResourceSliceSpec", "skipNodeOperations", Set, Merging::None),
    ("io.k8s.api.resource.v1alpha3.DeviceTaintRuleStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.resource.v1alpha3.ResourcePoolStatusRequestStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.resource.v1beta1.AllocatedDeviceStatus", "conditions", Map(&["type"]), Merging::None),
    ("io.k8s.api.resource.v1beta1.DeviceRequestAllocationResult", "skipNodeOperations", Set, Merging::None),
    (
        "io.k8s.api.resource.v1beta1.ResourceClaimStatus",
        "devices",
        Map(&["driver", "device", "pool", "shareID"]),
        Merging::None,
    ),
    ("io.k8s.api.resource.v1beta1.ResourceClaimStatus", "reservedFor", Map(&["uid"]), Merge("uid")),
    ("io.k8s.api.resource.v1beta1.ResourceSliceSpec", "skipNodeOperations", Set, Merging::None),
    ("io.k8s.api.resource.v1beta2.AllocatedDeviceStatus", "conditions", Map(&["type"]), Merging::None),
    ("io.k8s.api.resource.v1beta2.DeviceRequestAllocationResult", "skipNodeOperations", Set, Merging::None),
    ("io.k8s.api.resource.v1beta2.DeviceTaintRuleStatus", "conditions", Map(&["type"]), Merge("type")),
    (
        "io.k8s.api.resource.v1beta2.ResourceClaimStatus",
        "devices",
        Map(&["driver", "device", "pool", "shareID"]),
        Merging::None,
    ),
    ("io.k8s.api.resource.v1beta2.ResourceClaimStatus", "reservedFor", Map(&["uid"]), Merge("uid")),
    ("io.k8s.api.resource.v1beta2.ResourceSliceSpec", "skipNodeOperations", Set, Merging::None),
    ("io.k8s.api.scheduling.v1alpha3.CompositePodGroupStatus", "conditions", Map(&["type"]), Merge("type")),
    (
        "io.k8s.api.scheduling.v1alpha3.CompositePodGroupTemplate",
        "compositePodGroupTemplates",
        Map(&["name"]),
        Merge("name"),
    ),
    ("io.k8s.api.scheduling.v1alpha3.CompositePodGroupTemplate", "podGroupTemplates", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1alpha3.PodGroupSpec", "resourceClaims", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1alpha3.PodGroupStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.scheduling.v1alpha3.PodGroupStatus", "resourceClaimStatuses", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1alpha3.PodGroupTemplate", "resourceClaims", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1alpha3.WorkloadSpec", "compositePodGroupTemplates", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1alpha3.WorkloadSpec", "podGroupTemplates", Map(&["name"]), Merge("name")),
    (
        "io.k8s.api.scheduling.v1beta1.CompositePodGroupTemplate",
        "compositePodGroupTemplates",
        Map(&["name"]),
        Merge("name"),
    ),
    ("io.k8s.api.scheduling.v1beta1.CompositePodGroupTemplate", "podGroupTemplates", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1beta1.PodGroupSpec", "resourceClaims", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1beta1.PodGroupStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.scheduling.v1beta1.PodGroupStatus", "resourceClaimStatuses", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1beta1.PodGroupTemplate", "resourceClaims", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1beta1.WorkloadSpec", "compositePodGroupTemplates", Map(&["name"]), Merge("name")),
    ("io.k8s.api.scheduling.v1beta1.WorkloadSpec", "podGroupTemplates", Map(&["name"]), Merge("name")),
    ("io.k8s.api.storage.v1.CSIDriverSpec", "volumeLifecycleModes", Set, Merging::None),
    ("io.k8s.api.storage.v1.CSINodeSpec", "drivers", Map(&["name"]), Merge("name")),
    ("io.k8s.api.storage.v1.CSINodeStatus", "storageHealth", Map(&["name"]), Merge("name")),
    ("io.k8s.api.storagemigration.v1.StorageVersionMigrationStatus", "conditions", Map(&["type"]), Merge("type")),
    ("io.k8s.api.storagemigration.v1beta1.StorageVersionMigrationStatus", "conditions", Map(&["type"]), Merge("type")),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
        "conditions",
        Map(&["type"]),
        Merging::None,
    ),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
        "x-kubernetes-validations",
        Map(&["rule"]),
        Merge("rule"),
    ),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers", Set, MergePrimitives),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "ownerReferences", Map(&["uid"]), Merge("uid")),
    (
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceStatus",
        "conditions",
        Map(&["type"]),
        Merge("type"),
    ),
];

/// Definitions that are owned and applied as a whole (`+structType=atomic`); sorted.
pub(crate) static ATOMIC_STRUCTS: &[&str] = &[
    "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations",
    "io.k8s.api.admissionregistration.v1.ParamRef",
    "io.k8s.api.admissionregistration.v1alpha1.NamedRuleWithOperations",
    "io.k8s.api.admissionregistration.v1alpha1.ParamRef",
    "io.k8s.api.admissionregistration.v1beta1.NamedRuleWithOperations",
    "io.k8s.api.admissionregistration.v1beta1.ParamRef",
    "io.k8s.api.autoscaling.v1.CrossVersionObjectReference",
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.EndpointAddress",
    "io.k8s.api.core.v1.EndpointPort",
    "io.k8s.api.core.v1.FileKeySelector",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.NodeSelector",
    "io.k8s.api.core.v1.NodeSelectorTerm",
    "io.k8s.api.core.v1.ObjectFieldSelector",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.ResourceFieldSelector",
    "io.k8s.api.core.v1.ScopeSelector",
    "io.k8s.api.core.v1.ScopedResourceSelectorRequirement",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.SecretReference",
    "io.k8s.api.core.v1.TopologySelectorTerm",
    "io.k8s.api.core.v1.TypedLocalObjectReference",
    "io.k8s.api.discovery.v1.EndpointPort",
    "io.k8s.api.rbac.v1.RoleRef",
    "io.k8s.api.rbac.v1.Subject",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// Fields whose type is atomic elsewhere but not here (`+mapType=granular`).
pub(crate) static GRANULAR: &[(&str, &str)] = &[("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef")];

/// Defaults of fields that tell list items apart: an item without the field is the same as one with the default.
pub(crate) static KEY_DEFAULTS: &[(&str, &str, &str)] =
    &[("io.k8s.api.core.v1.ContainerPort", "protocol", "TCP"), ("io.k8s.api.core.v1.ServicePort", "protocol", "TCP")];

/// The row of a field.
pub(crate) fn of_field(definition: &str, field: &str) -> (Topology, Merging) {
    FIELDS
        .binary_search_by(|row| (row.0, row.1).cmp(&(definition, field)))
        .map_or((Unchanged, Merging::None), |at| (FIELDS[at].2, FIELDS[at].3))
}

/// The default of a key field of a list's items.
pub(crate) fn key_default(items: Option<&str>, field: &str) -> Option<&'static str> {
    KEY_DEFAULTS.iter().find(|row| Some(row.0) == items && row.1 == field).map(|row| row.2)
}
