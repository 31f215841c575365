//! Kustomizations and charts: in this process, and as the processes that a pipeline starts.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lotse_render::{
    MemoryTree,
    helm::{Chart, Offline, Options, render_files},
    kustomize,
};
use tempfile::TempDir;

use crate::{Result, report::Row, stats::Samples};

/// How often something is done in this process.
const ROUNDS: usize = 21;
/// How often a process is started.
const PROCESSES: usize = 5;
/// A peer that needs longer is stopped, and counted as this long.
const PATIENCE: Duration = Duration::from_secs(60);

type Files = Vec<(String, String)>;

pub(super) fn run(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    kustomization(binaries, rows)?;
    large_kustomization(binaries, rows)?;
    chart(binaries, rows)?;
    umbrella(rows)
}

fn kustomization(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let files = overlay(50);
    let tree = tree(&files)?;
    let build = || Ok(kustomize::build(&tree, "overlay", &kustomize::Options::default()).map(drop)?);
    let inside = repeated(ROUNDS, build)?;
    rows.push(
        Row::new("overlay of 50 objects, in process (median of 21)", format!("{:.2} ms", inside.median()))
            .goal("< 1 ms", inside.median() < 1.0),
    );
    let directory = on_disk(&files)?;
    let ours = processes(|| lotse(binaries, directory.path(), &["overlay"]))?;
    let peer = processes(|| kubectl(directory.path(), "overlay"))?;
    let ratio = peer.median() / ours.median();
    rows.push(
        Row::new("the same as a process (median of 5)", format!("{:.1} ms", ours.median()))
            .peer(format!("kubectl kustomize {:.0} ms", peer.median()))
            .goal("> 10 x faster", ratio > 10.0),
    );
    Ok(())
}

fn large_kustomization(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let directory = on_disk(&overlay(4000))?;
    let (ours, memory) = once(lotse(binaries, directory.path(), &["overlay"]))?;
    let (peer, _) = once(kubectl(directory.path(), "overlay"))?;
    let at_least = if peer >= PATIENCE { "over " } else { "" };
    let met = ours < Duration::from_secs(1) && memory < 150.0 && peer > ours * 10;
    rows.push(
        Row::new("kustomization of 4000 objects, as a process", format!("{} ms, {memory:.0} MB", ours.as_millis()))
            .peer(format!("kubectl kustomize {at_least}{:.1} s", peer.as_secs_f64()))
            .goal("< 1 s, < 150 MB, > 10 x faster", met),
    );
    Ok(())
}

fn chart(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let files = monitoring(250);
    let tree = tree(&files)?;
    let mut bytes = 0;
    let first = repeated(ROUNDS, || {
        let chart = Chart::load(&tree, "chart")?;
        let rendered = render_files(&chart, &Options::default(), &Offline)?;
        bytes = rendered.files.values().map(Vec::len).sum();
        Ok(())
    })?;
    let chart = Chart::load(&tree, "chart")?;
    render_files(&chart, &Options::default(), &Offline)?;
    let mut number = 0;
    let again = repeated(ROUNDS, || {
        number += 1;
        let mut options = Options::default();
        options.values.set.push(format!("revision={number}"));
        Ok(render_files(&chart, &options, &Offline).map(drop)?)
    })?;
    let directory = on_disk(&files)?;
    let (_, memory) = once(lotse(binaries, directory.path(), &["chart"]))?;
    rows.push(
        Row::new(
            format!("chart of 250 templates, {} kB, in process; memory of the process", bytes / 1000),
            format!("{:.1} ms; {memory:.0} MB", first.median()),
        )
        .goal("< 40 ms, < 60 MB", first.median() < 40.0 && memory < 60.0),
    );
    let share = again.median() * 100.0 / first.median();
    rows.push(
        Row::new("again with one value changed, templates kept", format!("{:.1} ms = {share:.0} %", again.median()))
            .goal("< 40 % of the first", share < 40.0),
    );
    Ok(())
}

fn umbrella(rows: &mut Vec<Row>) -> Result<()> {
    let tree = tree(&subcharts(100))?;
    let times = repeated(5, || {
        let chart = Chart::load(&tree, "chart")?;
        Ok(render_files(&chart, &Options::default(), &Offline).map(drop)?)
    })?;
    rows.push(
        Row::new("umbrella of 100 subcharts with much tpl, in process", format!("{:.0} ms", times.median()))
            .goal("< 500 ms", times.median() < 500.0),
    );
    Ok(())
}

// --- measuring

fn repeated(rounds: usize, mut action: impl FnMut() -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::default();
    action()?;
    for _ in 0..rounds {
        let started = Instant::now();
        action()?;
        samples.push_time(started.elapsed());
    }
    Ok(samples)
}

fn processes(command: impl Fn() -> Command) -> Result<Samples> {
    let mut samples = Samples::default();
    once(command())?;
    for _ in 0..PROCESSES {
        samples.push_time(once(command())?.0);
    }
    Ok(samples)
}

/// How long a process takes, and the most memory that it had, in MB.
fn once(mut command: Command) -> Result<(Duration, f64)> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
    let mut memory: f64 = 0.0;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        memory = memory.max(peak.unwrap_or(0.0) * 1024.0 / 1e6);
        if let Some(status) = child.try_wait()? {
            if status.success() || status.signal().is_some() {
                return Ok((started.elapsed(), memory));
            }
            return Err(format!("{:?} failed: {status}", command.get_program()).into());
        }
        if started.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok((PATIENCE, memory));
        }
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

fn lotse(binaries: &Path, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries.join("lotse"));
    command.arg("render").args(arguments).current_dir(directory);
    command
}

fn kubectl(directory: &Path, path: &str) -> Command {
    let mut command = Command::new("kubectl");
    command.args(["kustomize", path]).current_dir(directory);
    command
}

fn tree(files: &Files) -> Result<MemoryTree> {
    let mut tree = MemoryTree::default();
    for (path, content) in files {
        tree.insert(path, content.as_bytes())?;
    }
    Ok(tree)
}

fn on_disk(files: &Files) -> Result<TempDir> {
    let directory = TempDir::with_prefix("lotse-bench-render-")?;
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(directory.path()))?;
        fs::write(path, content)?;
    }
    Ok(directory)
}

// --- what is rendered

/// A base of Deployments, Services and ConfigMaps that refer to each other, and an overlay with everything that overlays do.
fn overlay(objects: usize) -> Files {
    let mut files = Files::new();
    let mut resources = String::new();
    for number in 0..objects / 3 + 1 {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-{number}\n  labels: {{app: app-{number}}}\nspec:\n  \
             replicas: 1\n  selector:\n    matchLabels: {{app: app-{number}}}\n  template:\n    metadata:\n      labels: {{app: \
             app-{number}}}\n    spec:\n      containers:\n      - name: main\n        image: example.org/app:v1\n        \
             ports:\n        - containerPort: 8080\n        envFrom:\n        - configMapRef: {{name: config-{number}}}\n        \
             resources:\n          requests: {{cpu: 100m, memory: 64Mi}}\n---\napiVersion: v1\nkind: Service\nmetadata:\n  \
             name: app-{number}\nspec:\n  selector: {{app: app-{number}}}\n  ports:\n  - port: 80\n    targetPort: 8080\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-{number}\ndata:\n  LEVEL: info\n  NUMBER: \
             \"{number}\"\n"
        );
        files.push((format!("base/app-{number}.yaml"), text));
        resources.push_str(&format!("- app-{number}.yaml\n"));
    }
    files.push(("base/kustomization.yaml".into(), format!("resources:\n{resources}")));
    let overlay = "namespace: shop\nnamePrefix: prod-\nresources:\n- ../base\nlabels:\n- pairs: {environment: production}\n  \
                   includeTemplates: true\ncommonAnnotations: {owner: team}\nimages:\n- name: example.org/app\n  newTag: v2\n\
                   replicas:\n- name: app-1\n  count: 3\npatches:\n- target: {kind: Deployment, name: app-2}\n  patch: |-\n    - \
                   op: replace\n      path: /spec/replicas\n      value: 5\nconfigMapGenerator:\n- name: settings\n  literals: \
                   [A=1, B=2]\n";
    files.push(("overlay/kustomization.yaml".into(), overlay.into()));
    files
}

const HELPERS: &str = r#"{{- define "m.name" -}}{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end }}
{{- define "m.labels" -}}
app.kubernetes.io/name: {{ include "m.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
"#;

/// A chart in the shape of a monitoring stack: many templates with rules, dashboards and conditions.
fn monitoring(templates: usize) -> Files {
    let mut files: Files = vec![
        ("chart/Chart.yaml".into(), "apiVersion: v2\nname: monitoring\nversion: 1.0.0\n".into()),
        ("chart/templates/_helpers.tpl".into(), HELPERS.into()),
    ];
    let rules: String =
        (0..12).map(|rule| format!("  - {{alert: Alert{rule}, for: 5m, threshold: {rule}}}\n")).collect();
    files.push((
        "chart/values.yaml".into(),
        format!("revision: 1\nrules:\n{rules}labels: {{team: ops, tier: backend}}\n"),
    ));
    let template = r#"{{- if and .Values.rules (semverCompare ">=1.20-0" .Capabilities.KubeVersion.Version) }}
apiVersion: monitoring.example.org/v1
kind: Rule
metadata:
  name: {{ printf "%s-NUMBER" (include "m.name" .) | trunc 63 }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "m.labels" . | nindent 4 }}
    {{- with .Values.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  groups:
  - name: group-NUMBER
    rules:
    {{- range $index, $rule := .Values.rules }}
    {{- if not (has $rule.alert $.Values.disabled) }}
    - alert: {{ $rule.alert }}
      expr: sum(rate(requests_total{code=~"5..", group="NUMBER"}[5m])) by (job) > {{ $rule.threshold }}
      for: {{ default "10m" $rule.for | quote }}
      annotations:
        description: {{ printf "Rule %d of group NUMBER fires above %v" $index $rule.threshold | quote }}
    {{- end }}
    {{- end }}
{{- end }}
"#;
    for number in 0..templates {
        files.push((
            format!("chart/templates/rules/rule-{number}.yaml"),
            template.replace("NUMBER", &number.to_string()),
        ));
    }
    files
}

/// An umbrella whose subcharts evaluate their values as templates.
fn subcharts(count: usize) -> Files {
    let mut files: Files = vec![("chart/Chart.yaml".into(), "apiVersion: v2\nname: umbrella\nversion: 1.0.0\n".into())];
    let template = r#"{{- range $name, $object := .Values.objects }}
---
{{ tpl (toYaml $object) (merge (dict "name" $name) $) }}
{{- end }}
"#;
    let object = "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}-{{ .name }}', labels: {a: '{{ include \
                  \"m.name\" $ }}'}}, data: {x: '{{ .Values.text | upper | quote }}', y: '{{ printf \"%05d\" 42 }}'}}";
    let objects: String = (0..20).map(|number| format!("  object-{number}: {object}\n")).collect();
    for number in 0..count {
        let root = format!("chart/charts/sub-{number}");
        files.push((format!("{root}/Chart.yaml"), format!("apiVersion: v2\nname: sub-{number}\nversion: 1.0.0\n")));
        files.push((format!("{root}/values.yaml"), format!("text: hello\nobjects:\n{objects}")));
        files.push((format!("{root}/templates/_helpers.tpl"), HELPERS.into()));
        files.push((format!("{root}/templates/all.yaml"), template.into()));
    }
    files
}
