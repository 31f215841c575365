//! Resource use, for `kubectl top` and the autoscaler.

use std::fmt::Write;

use jiff::Timestamp;
use lotse_runtime::{ContainerState, ContainerStats, PodStatus};
use serde_json::{Value, json};

use crate::{machine, pods::Shared};

async fn read(shared: &Shared) -> Vec<(PodStatus, Vec<(String, ContainerStats, Timestamp)>)> {
    let mut result = Vec::new();
    for pod in shared.runtime.pods() {
        let mut containers = Vec::new();
        for container in &pod.containers {
            // A container that ends meanwhile has no figures any more.
            if let ContainerState::Running { started, .. } = container.state
                && let Ok(stats) = shared.runtime.stats(&pod.spec.uid, &container.id).await
            {
                containers.push((container.name.clone(), stats, started));
            }
        }
        result.push((pod, containers));
    }
    result
}

/// The kubelet's `/stats/summary`, without file system and network figures.
pub(crate) async fn summary(shared: &Shared) -> Value {
    let now = Timestamp::now().to_string();
    let figures = |stats: &ContainerStats| {
        (
            json!({"time": now, "usageCoreNanoSeconds": stats.cpu_nanos}),
            json!({"time": now, "workingSetBytes": stats.memory_working_set_bytes}),
        )
    };
    let mut pods = Vec::new();
    for (pod, containers) in read(shared).await {
        let mut total = ContainerStats::default();
        let mut list = Vec::new();
        for (name, stats, started) in &containers {
            total.cpu_nanos += stats.cpu_nanos;
            total.memory_working_set_bytes += stats.memory_working_set_bytes;
            total.pids += stats.pids;
            let (cpu, memory) = figures(stats);
            list.push(json!({"name": name, "startTime": started.to_string(), "cpu": cpu, "memory": memory}));
        }
        let (cpu, memory) = figures(&total);
        pods.push(json!({
            "podRef": {"name": pod.spec.name, "namespace": pod.spec.namespace, "uid": pod.spec.uid},
            "containers": list, "cpu": cpu, "memory": memory, "process_stats": {"process_count": total.pids},
        }));
    }
    let (memory, disk) = (machine::memory(), machine::disk(&shared.config.root));
    json!({
        "node": {
            "nodeName": shared.config.node_name,
            "cpu": {"time": now, "usageCoreNanoSeconds": machine_cpu_nanos()},
            "memory": {"time": now, "availableBytes": memory.available,
                "workingSetBytes": memory.total.saturating_sub(memory.available)},
            "fs": {"time": now, "availableBytes": disk.available, "capacityBytes": disk.total,
                "usedBytes": disk.total.saturating_sub(disk.available)},
        },
        "pods": pods,
    })
}

/// The kubelet's `/metrics/resource` in Prometheus' text format.
pub(crate) async fn metrics(shared: &Shared) -> String {
    let (mut cpu, mut memory) = (String::new(), String::new());
    for (pod, containers) in read(shared).await {
        for (name, stats, _) in containers {
            let labels =
                format!("{{container=\"{name}\",namespace=\"{}\",pod=\"{}\"}}", pod.spec.namespace, pod.spec.name);
            let _ = writeln!(cpu, "container_cpu_usage_seconds_total{labels} {}", stats.cpu_nanos as f64 / 1e9);
            let _ = writeln!(memory, "container_memory_working_set_bytes{labels} {}", stats.memory_working_set_bytes);
        }
    }
    let reading = machine::memory();
    format!(
        "# TYPE container_cpu_usage_seconds_total counter\n{cpu}# TYPE container_memory_working_set_bytes gauge\n{memory}\
         # TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total {}\n\
         # TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes {}\n",
        machine_cpu_nanos() as f64 / 1e9,
        reading.total.saturating_sub(reading.available)
    )
}

/// Busy time of all processors since boot, from `/proc/stat` (in hundredths of a second there).
fn machine_cpu_nanos() -> u64 {
    let text = machine::read("/proc/stat");
    let Some(line) = text.lines().next() else { return 0 };
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user time.
    let busy: u64 =
        fields.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, value)| value).sum();
    busy.saturating_mul(10_000_000)
}
