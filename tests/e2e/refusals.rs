//! Broken and hostile input: a clear error each, nothing crashes, and what runs goes on undisturbed.

use std::{net::TcpListener, path::Path};

use libtest_mimic::Trial;
use lotse_e2e::{Cluster, Options, Shared, run};
use serde_json::{Value, json};

use crate::{
    claim,
    kubectl::{IMAGE, SERVE, pod},
};

static BYSTANDER: Shared<Bystander> = Shared::new(Bystander::start);

/// A cluster with a pod that must not notice anything.
struct Bystander {
    cluster: Cluster,
    daemon: String,
    pod: Value,
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        refusal("an_unknown_field_is_named", unknown_field),
        refusal("a_wrong_type_is_named", wrong_type),
        refusal("a_duplicate_key_is_named", duplicate_key),
        refusal("deep_nesting_is_refused", deep_nesting),
        refusal("a_body_of_five_megabytes_is_refused", large_body),
        refusal("text_that_is_no_manifest_is_refused", garbage),
        refusal("an_image_archive_cannot_leave_its_directory", image_archive),
        refusal("a_repository_that_does_not_exist_is_named", repository),
        refusal("a_taken_port_is_named", taken_port),
        refusal("nobody_is_let_in_without_credentials", credentials),
        claim("refusals::the_bystander_noticed_nothing", || {
            BYSTANDER.with(Bystander::check);
            finish();
        }),
    ]
}

/// Takes the cluster down.
pub(crate) fn finish() {
    BYSTANDER.finish();
}

fn refusal(name: &str, test: fn(&Cluster)) -> Trial {
    claim(&format!("refusals::{name}"), move || {
        BYSTANDER.with(|bystander| {
            test(&bystander.cluster);
            bystander.check();
        });
    })
}

impl Bystander {
    fn start() -> Self {
        let cluster = Cluster::start("refusals", &Options::default());
        cluster.import_busybox(IMAGE);
        cluster.apply(&pod("bystander", SERVE).to_string()).ok();
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod/bystander", "--timeout=30s"]).ok();
        let (daemon, pod) = (cluster.daemon_pid(), cluster.get(&["pod", "bystander"]));
        Self { cluster, daemon, pod }
    }

    /// The same daemon, the same container, and it answers.
    fn check(&self) {
        assert_eq!(self.cluster.daemon_pid(), self.daemon);
        assert!(Path::new(&format!("/proc/{}", self.daemon)).exists());
        let now = self.cluster.get(&["pod", "bystander"]);
        assert_eq!(now["status"]["containerStatuses"], self.pod["status"]["containerStatuses"]);
        let url = format!("http://{}:8080/", now["status"]["podIP"].as_str().unwrap());
        assert_eq!(run("curl", ["--silent", "--max-time", "3", &url], "", &[]).ok().out.trim(), "bystander");
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: busybox:1
";

fn unknown_field(cluster: &Cluster) {
    let manifest = DEPLOYMENT.replace("replicas: 0", "replicsa: 0");
    cluster.apply(&manifest).fails_with("unknown field \"spec.replicsa\"");
    let inner = format!("{DEPLOYMENT}        comand: [sh]\n");
    cluster.apply(&inner).fails_with("unknown field \"spec.template.spec.containers[0].comand\"");
    cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], &manifest).fails_with("replicsa");
    cluster.kubectl(&["get", "deployment", "web"]).fails_with("not found");
}

fn wrong_type(cluster: &Cluster) {
    cluster.apply(&DEPLOYMENT.replace("replicas: 0", "replicas: many")).fails_with("replicas");
    cluster
        .kubectl_with(
            &["create", "--validate=false", "-f", "-"],
            &DEPLOYMENT.replace("replicas: 0", "replicas: {a: 1}"),
        )
        .fails_with("replicas");
    cluster.apply(&DEPLOYMENT.replace("replicas: 0", "replicas: -1")).fails_with("must be greater than or equal to 0");
    cluster.apply(&DEPLOYMENT.replace("image: busybox:1", "image: 7")).fails_with("image");
    cluster.apply(&DEPLOYMENT.replace("matchLabels: {app: web}", "matchLabels: {app: other}")).fails_with("selector");
}

fn duplicate_key(cluster: &Cluster) {
    let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"twice"},"data":{"a":"1","a":"2"}}"#;
    let answer = raw(cluster, "POST", "/api/v1/namespaces/default/configmaps?fieldValidation=Strict", text);
    assert!(answer.contains("duplicate field \\\"data.a\\\""), "{answer}");
    cluster.kubectl(&["get", "configmap", "twice"]).fails_with("not found");
}

fn deep_nesting(cluster: &Cluster) {
    for levels in [100, 10_000] {
        let nested = format!("{}{}{}", r#"{"a":"#.repeat(levels), "1", "}".repeat(levels));
        let text =
            format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"deep"}},"data":{{"a":{nested}}}}}"#);
        let answer = raw(cluster, "POST", "/api/v1/namespaces/default/configmaps", &text);
        assert!(answer.contains("\"status\":\"Failure\""), "{levels}: {answer}");
        let yaml = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: deep}}\ndata: {{a: {}1{}}}\n",
            "[".repeat(levels),
            "]".repeat(levels)
        );
        assert_ne!(cluster.apply(&yaml).code, 0);
    }
    cluster.kubectl(&["get", "configmap", "deep"]).fails_with("not found");
}

fn large_body(cluster: &Cluster) {
    let file = cluster.directory().join("large.json");
    let text = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"a": "x".repeat(5 << 20)}});
    std::fs::write(&file, text.to_string()).unwrap();
    let answer = cluster.kubectl(&["create", "-f", &file.display().to_string()]);
    answer.fails_with("limit");
    // Under the request limit, over the limit of one object.
    let text = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"a": "x".repeat(2 << 20)}});
    std::fs::write(&file, text.to_string()).unwrap();
    cluster.kubectl(&["create", "-f", &file.display().to_string()]).fails_with("at most 1048576 bytes");
    cluster.kubectl(&["get", "configmap", "large"]).fails_with("not found");
}

fn garbage(cluster: &Cluster) {
    for text in [
        "{",
        "\u{0}\u{1}",
        "[]",
        "\"text\"",
        "{\"kind\":\"ConfigMap\"}",
        "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"a\"}}",
    ] {
        let answer = raw(cluster, "POST", "/api/v1/namespaces/default/configmaps", text);
        assert!(answer.contains("\"status\":\"Failure\""), "{text}: {answer}");
    }
    cluster.apply("kind: [unclosed").fails_with("yaml");
    cluster.apply("apiVersion: v1\nkind: Unicorn\nmetadata: {name: a}").fails_with("Unicorn");
    for path in [
        "/api/v1/../../etc/passwd",
        "/api/v1/namespaces/%2e%2e/pods",
        "/apis/%ff",
        "/api/v1/namespaces/default/pods/a%00b",
    ] {
        let answer = raw(cluster, "GET", path, "");
        assert!(!answer.contains("root:x:"), "{path}: {answer}");
    }
}

/// An archive with these members, made by Python's tarfile, which does not refuse them.
fn archive(cluster: &Cluster, name: &str, members: &str) -> String {
    let path = cluster.directory().join(name).display().to_string();
    let program = format!(
        "import io,sys,tarfile\nt=tarfile.open({path:?},'w')\ndef add(name,**more):\n m=tarfile.TarInfo(name)\n data=more.pop('data',b'')\n m.size=len(data)\n for k,v in more.items(): setattr(m,k,v)\n t.addfile(m,io.BytesIO(data))\n{members}\nt.close()\n"
    );
    run("python3", ["-c", &program], "", &[]).ok();
    path
}

fn image_archive(cluster: &Cluster) {
    let outside = cluster.directory().join("outside");
    let target = outside.display().to_string();
    let hostile = [
        ("traversal", format!("add('../../../../../../../../..{target}',data=b'x')")),
        ("absolute", format!("add('{target}',data=b'x')")),
        ("symlink", format!("add('a',type=tarfile.SYMTYPE,linkname='{}')\nadd('a/outside',data=b'x')", cluster.directory().display())),
        ("hardlink", "add('h',type=tarfile.LNKTYPE,linkname='/etc/shadow')\nadd('h2',type=tarfile.LNKTYPE,linkname='../../../../../../../../etc/shadow')".to_owned()),
        ("device", "add('dev/sda',type=tarfile.BLKTYPE,devmajor=8,devminor=0)".to_owned()),
    ];
    for (name, members) in hostile {
        let path = archive(cluster, &format!("{name}.tar"), &members);
        let answer = cluster.lotse(&["image", "import", &path, "--name", &format!("{name}:1")]);
        assert!(!outside.exists(), "{name} wrote outside: {answer:?}");
        if name == "hardlink" || name == "traversal" {
            assert_ne!(answer.code, 0, "{name}: {answer:?}");
            assert!(!answer.err.trim().is_empty());
        }
    }
    let broken = cluster.directory().join("broken.tar");
    std::fs::write(&broken, vec![0x55; 100_000]).unwrap();
    let answer = cluster.lotse(&["image", "import", &broken.display().to_string(), "--name", "broken:1"]);
    assert_ne!(answer.code, 0, "{answer:?}");
    assert!(answer.err.contains("broken.tar"), "{answer:?}");
    cluster.lotse(&["image", "import", "/no/such/file.tar", "--name", "none:1"]).fails_with("/no/such/file.tar");
}

fn repository(cluster: &Cluster) {
    let application = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "lost", "namespace": "default"}, "spec": {
        "project": "default",
        "source": {"repoURL": "file:///no/such/repository", "path": ".", "targetRevision": "main"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
        "syncPolicy": {"automated": {}}}});
    cluster.apply(&application.to_string()).ok();
    cluster.wait("the condition names the repository", 20, |cluster| {
        let status = cluster.get(&["application", "lost"])["status"].clone();
        status["conditions"].to_string().contains("/no/such/repository")
    });
    let listed = cluster.lotse(&["app", "get", "lost", "--app-namespace", "default"]);
    assert!(listed.out.contains("/no/such/repository"), "{listed:?}");
    cluster.kubectl(&["delete", "application", "lost", "--timeout=20s"]).ok();
}

fn taken_port(cluster: &Cluster) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let directory = cluster.directory().join("second").display().to_string();
    let profile = format!("{}-b", cluster.profile);
    let answer = cluster.lotse_as(
        &profile,
        &["up", "--detach", "--data-dir", &directory, "--api-port", &port, "--http-port", "0", "--https-port", "0"],
    );
    assert_eq!(answer.code, 3, "{answer:?}");
    answer.fails_with(&format!("port {port} "));
    cluster.lotse_as(&profile, &["reset", "--yes"]).ok();
}

fn credentials(cluster: &Cluster) {
    let url = format!("https://127.0.0.1:{}", cluster.api_port);
    let ask = |path: &str, more: &[&str]| {
        let target = format!("{url}{path}");
        run(
            "curl",
            [
                "--silent",
                "--insecure",
                "--max-time",
                "5",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
                &target,
            ]
            .iter()
            .chain(more),
            "",
            &[],
        )
        .out
    };
    assert_eq!(ask("/api/v1/secrets", &[]), "403");
    assert_eq!(ask("/api/v1/secrets", &["-H", "Authorization: Bearer nonsense"]), "401");
    assert_eq!(
        ask("/api/v1/secrets", &["-H", "Impersonate-User: admin", "-H", "Impersonate-Group: system:masters"]),
        "403"
    );
    assert_eq!(ask("/livez", &[]), "200");
}

/// A request with the administrator's certificate, without kubectl's own checks.
fn raw(cluster: &Cluster, method: &str, path: &str, body: &str) -> String {
    let config: Value = cluster.kubectl(&["config", "view", "--raw", "-o", "json"]).ok().json();
    let user = &config["users"][0]["user"];
    let mut arguments = vec![
        "--silent".to_owned(),
        "--insecure".to_owned(),
        "--max-time".to_owned(),
        "10".to_owned(),
        "--path-as-is".to_owned(),
    ];
    for (flag, field) in [("--cert", "client-certificate-data"), ("--key", "client-key-data")] {
        let file = cluster.directory().join(field);
        let decoded = run("base64", ["-d"], user[field].as_str().unwrap(), &[]).ok().out;
        std::fs::write(&file, decoded).unwrap();
        arguments.extend([flag.to_owned(), file.display().to_string()]);
    }
    let data = cluster.directory().join("body");
    std::fs::write(&data, body).unwrap();
    arguments.extend(["--request".to_owned(), method.to_owned()]);
    if method != "GET" {
        arguments.extend([
            "--header".to_owned(),
            "Content-Type: application/json".to_owned(),
            "--data-binary".to_owned(),
            format!("@{}", data.display()),
        ]);
    }
    arguments.push(format!("https://127.0.0.1:{}{path}", cluster.api_port));
    run("curl", &arguments, "", &[]).out
}
