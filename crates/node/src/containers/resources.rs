//! Quantities, quality of service and cgroup settings.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use lotse_runtime::{QosClass, Resources};

use super::all_containers;

const NANO: i128 = 1_000_000_000;

/// A quantity in thousandths, rounded up; `None` when it is not well-formed or too large.
pub(crate) fn millis(quantity: &Quantity) -> Option<i64> {
    let nanos = nanos(&quantity.0)?;
    i64::try_from(div_ceil(nanos, 1_000_000)).ok()
}

/// A quantity in whole units, rounded up; `None` when it is not well-formed or too large.
pub(crate) fn units(quantity: &Quantity) -> Option<i64> {
    i64::try_from(div_ceil(nanos(&quantity.0)?, NANO)).ok()
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

/// The grammar stands on the type `Quantity` of the Kubernetes API.
fn nanos(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() > 27 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<u128>().ok()?.try_into().ok() };
    let mut value: i128 = digits(whole)?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    value = value.checked_mul(scale)?.checked_add(digits(fraction)?)?;
    let value = value.checked_mul(NANO)?;
    let scaled = match suffix {
        "" => value,
        "n" => value / NANO,
        "u" => value / 1_000_000,
        "m" => value / 1_000,
        "k" => value.checked_mul(1_000)?,
        "M" => value.checked_mul(1_000_000)?,
        "G" => value.checked_mul(1_000_000_000)?,
        "T" => value.checked_mul(1_000_000_000_000)?,
        "P" => value.checked_mul(1_000_000_000_000_000)?,
        "E" => value.checked_mul(1_000_000_000_000_000_000)?,
        "Ki" => value.checked_mul(1 << 10)?,
        "Mi" => value.checked_mul(1 << 20)?,
        "Gi" => value.checked_mul(1 << 30)?,
        "Ti" => value.checked_mul(1 << 40)?,
        "Pi" => value.checked_mul(1 << 50)?,
        "Ei" => value.checked_mul(1 << 60)?,
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { value / power } else { value.checked_mul(power)? }
        }
    };
    let result = scaled / scale;
    Some(if negative { -result } else { result })
}

fn amount<'a>(map: Option<&'a BTreeMap<String, Quantity>>, resource: &str) -> Option<&'a Quantity> {
    map?.get(resource)
}

pub(crate) fn limit<'a>(requirements: Option<&'a ResourceRequirements>, resource: &str) -> Option<&'a Quantity> {
    amount(requirements?.limits.as_ref(), resource)
}

/// The request; an absent one equals the limit, as the API defaults it.
pub(crate) fn request<'a>(requirements: Option<&'a ResourceRequirements>, resource: &str) -> Option<&'a Quantity> {
    let requirements = requirements?;
    amount(requirements.requests.as_ref(), resource).or_else(|| amount(requirements.limits.as_ref(), resource))
}

/// Kubernetes' class of the pod, from the requests and limits of cpu and memory of all its containers.
pub(crate) fn qos_class(spec: &PodSpec) -> QosClass {
    let (mut some, mut guaranteed) = (false, true);
    for container in all_containers(spec) {
        for resource in ["cpu", "memory"] {
            let requirements = container.resources.as_ref();
            let (request, limit) = (
                request(requirements, resource).and_then(millis).filter(|value| *value > 0),
                limit(requirements, resource).and_then(millis).filter(|value| *value > 0),
            );
            some |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (some, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// The class as it is written in `status.qosClass`.
pub(crate) fn qos_name(class: QosClass) -> &'static str {
    match class {
        QosClass::Guaranteed => "Guaranteed",
        QosClass::Burstable => "Burstable",
        QosClass::BestEffort => "BestEffort",
    }
}

fn positive(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0)
}

/// cgroup settings of one container. `memory_capacity` is the machine's memory in bytes; the share that a Burstable
/// container requests of it lowers its chance to be killed, by the kubelet's formula.
pub(crate) fn of_container(container: &Container, class: QosClass, memory_capacity: u64) -> Resources {
    let requirements = container.resources.as_ref();
    let oom_score_adj = match class {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let requested = request(requirements, "memory").and_then(units).unwrap_or(0).max(0);
            let share = i128::from(requested) * 1000 / i128::from(memory_capacity.max(1));
            i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    };
    Resources {
        cpu_request_millis: positive(request(requirements, "cpu").and_then(millis)),
        cpu_limit_millis: positive(limit(requirements, "cpu").and_then(millis)),
        memory_limit_bytes: positive(limit(requirements, "memory").and_then(units)),
        pids_limit: None,
        oom_score_adj,
    }
}

/// cgroup settings of the whole pod: the sum of its containers' limits where each has one.
pub(crate) fn of_pod(spec: &PodSpec) -> Resources {
    let sum = |value: &dyn Fn(&Container) -> Option<i64>| -> Option<u64> {
        let running: Vec<i64> = spec.containers.iter().map(value).collect::<Option<_>>()?;
        let sidecars = spec.init_containers.iter().flatten().filter(|c| super::is_sidecar(c));
        let sidecars: Vec<i64> = sidecars.map(value).collect::<Option<_>>()?;
        let total = running.iter().chain(&sidecars).sum::<i64>();
        // A one-shot init container runs alone (with the sidecars), so the pod must have room for the largest.
        let largest = spec.init_containers.iter().flatten().filter_map(value).max().unwrap_or(0);
        positive(Some(total.max(largest)))
    };
    let all_limited = |resource: &str| all_containers(spec).all(|c| limit(c.resources.as_ref(), resource).is_some());
    Resources {
        cpu_request_millis: sum(&|c| Some(request(c.resources.as_ref(), "cpu").and_then(millis).unwrap_or(0))),
        cpu_limit_millis: all_limited("cpu")
            .then(|| sum(&|c| limit(c.resources.as_ref(), "cpu").and_then(millis)))
            .flatten(),
        memory_limit_bytes: all_limited("memory")
            .then(|| sum(&|c| limit(c.resources.as_ref(), "memory").and_then(units)))
            .flatten(),
        pids_limit: None,
        oom_score_adj: 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity(text.into())
    }

    #[test]
    fn quantities_follow_the_kubernetes_grammar() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("100m", Some(100)),
            ("0.1", Some(100)),
            (".5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1k", Some(1_000_000)),
            ("1e3", Some(1_000_000)),
            ("5E-1", Some(500)),
            ("100u", Some(1)),
            ("-1", Some(-1000)),
            ("", None),
            (".", None),
            ("1Q", None),
            ("1 Gi", None),
            ("99999999999999999999999999999999", None),
            ("1Ei", None),
        ] {
            assert_eq!(millis(&quantity(text)), expected, "{text}");
        }
        assert_eq!(units(&quantity("128Mi")), Some(134_217_728));
    }

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let map = |pairs: &[(&str, &str)]| {
            (!pairs.is_empty()).then(|| pairs.iter().map(|(k, v)| ((*k).to_owned(), quantity(v))).collect())
        };
        let resources = ResourceRequirements { claims: None, requests: map(requests), limits: map(limits) };
        Container { resources: Some(resources), ..Container::default() }
    }

    #[test]
    fn quality_of_service_is_kubernetes_own() {
        let class = |containers: Vec<Container>| qos_class(&PodSpec { containers, ..PodSpec::default() });
        let full = [("cpu", "1"), ("memory", "1Gi")];
        assert_eq!(class(vec![container(&[], &[])]), QosClass::BestEffort);
        assert_eq!(class(vec![container(&[], &full)]), QosClass::Guaranteed);
        assert_eq!(class(vec![container(&[("cpu", "500m")], &full)]), QosClass::Burstable);
        assert_eq!(class(vec![container(&[], &full), container(&[], &[])]), QosClass::Burstable);
        assert_eq!(class(vec![container(&[], &[("memory", "1Gi")])]), QosClass::Burstable);
    }

    #[test]
    fn a_pod_is_limited_only_when_every_container_is() {
        let spec = |containers| PodSpec { containers, ..PodSpec::default() };
        let limited = || container(&[], &[("cpu", "500m"), ("memory", "64Mi")]);
        let resources = of_pod(&spec(vec![limited(), limited()]));
        assert_eq!(resources.cpu_limit_millis, Some(1000));
        assert_eq!(resources.memory_limit_bytes, Some(128 << 20));
        assert_eq!(of_pod(&spec(vec![limited(), container(&[], &[])])).memory_limit_bytes, None);
    }

    #[test]
    fn out_of_memory_score_follows_the_request() {
        let half = container(&[("memory", "512Mi")], &[]);
        assert_eq!(of_container(&half, QosClass::Burstable, 1 << 30).oom_score_adj, 500);
        assert_eq!(of_container(&half, QosClass::BestEffort, 1 << 30).oom_score_adj, 1000);
        assert_eq!(of_container(&half, QosClass::Burstable, 1).oom_score_adj, 3);
    }
}
