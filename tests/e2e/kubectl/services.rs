//! Services, names and the way in.

use serde_json::{Value, json};

use super::{IDLE, Named, SERVE, Space, pod, workload};

pub(super) const TRIALS: &[Named] = &[
    ("services_are_found_by_name_and_spread_over_their_pods", cluster_ip),
    ("headless_services_and_stateful_pods_have_names", headless),
    ("node_ports_answer_on_the_machine", node_port),
    ("load_balancers_get_an_address", load_balancer),
    ("an_ingress_routes_by_host_and_path", ingress),
    ("external_names_are_aliases", external_name),
    ("a_service_without_selector_uses_its_own_endpoints", manual_endpoints),
];

fn service(name: &str, more: Value) -> Value {
    let mut spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn curl(url: &str) -> String {
    lotse_e2e::run("curl", ["--silent", "--max-time", "3", url], "", &[]).out.trim().to_owned()
}

fn web(space: &Space<'_>, replicas: u32) {
    let mut web = workload("Deployment", "web", replicas, SERVE);
    web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    space.apply(&[web]);
    space.k("rollout status deployment/web --timeout=40s").ok();
}

fn cluster_ip(space: &Space<'_>) {
    web(space, 2);
    space.apply(&[service("web", json!({}))]);
    space.run(&[pod("client", IDLE)]);
    let address = space.get("service web")["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let namespace = &space.namespace;
    for name in ["web".to_owned(), format!("web.{namespace}"), format!("web.{namespace}.svc.cluster.local")] {
        space.wait(&format!("{name} has its address"), 10, || {
            space.shell("client", &format!("ping -c 1 -W 1 {name}")).out.contains(&address)
        });
    }
    let script = "for i in $(seq 30); do wget -qO- http://web/; done | sort -u | wc -l";
    space.wait("both pods answer", 10, || space.shell("client", script).out.trim() == "2");
    assert!(space.shell("client", "nslookup kubernetes.default.svc.cluster.local").ok().out.contains("10."));
    space.shell("client", "nslookup nobody.default.svc.cluster.local").fails_with("NXDOMAIN");
    // A pod reaches itself through its service.
    let own = space.get("pods -l app=web")["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(
        space
            .shell(&own, "for i in $(seq 10); do timeout 2 wget -qO- http://web/ || exit 1; done")
            .ok()
            .out
            .contains(&own)
    );
}

fn headless(space: &Space<'_>) {
    let mut set = workload("StatefulSet", "web", 2, SERVE);
    set["spec"]["serviceName"] = json!("web");
    space.apply(&[service("web", json!({"clusterIP": "None"})), set]);
    space.k("rollout status statefulset/web --timeout=40s").ok();
    space.run(&[pod("client", IDLE)]);
    for name in ["web-0", "web-1"] {
        let address = space.get(&format!("pod {name}"))["status"]["podIP"].as_str().unwrap().to_owned();
        let full = format!("{name}.web.{}.svc.cluster.local", space.namespace);
        space.wait(&format!("{full} is known"), 10, || {
            space.shell("client", &format!("nslookup {full}")).out.contains(&address)
        });
        assert_eq!(space.shell("client", &format!("wget -qO- http://{name}.web:8080/")).ok().out.trim(), name);
        assert!(
            space
                .shell("client", &format!("nslookup web.{}.svc.cluster.local", space.namespace))
                .ok()
                .out
                .contains(&address)
        );
        assert!(space.shell(name, "hostname -f").ok().out.starts_with(&full));
    }
}

fn node_port(space: &Space<'_>) {
    web(space, 1);
    space.apply(&[service("web", json!({"type": "NodePort"}))]);
    let port = space.get("service web")["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..32768).contains(&port));
    space.wait("the port answers", 10, || curl(&format!("http://127.0.0.1:{port}/")).starts_with("web-"));
    let taken = service("other", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
    space.kubectl(&["apply", "-f", "-"], &taken.to_string()).fails_with("provided port is already allocated");
    space.k("delete service web").ok();
    space.wait("the port is closed", 10, || curl(&format!("http://127.0.0.1:{port}/")).is_empty());
}

fn load_balancer(space: &Space<'_>) {
    web(space, 1);
    // A port that no other program on the machine uses.
    let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    space.apply(&[service("web", json!({"type": "LoadBalancer", "ports": [{"port": port, "targetPort": 8080}]}))]);
    let address = || space.get("service web")["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned);
    space.wait("it has an address", 10, || address().is_some());
    let url = format!("http://{}:{port}/", address().unwrap());
    space.wait("the address answers", 10, || curl(&url).starts_with("web-"));
}

fn ingress(space: &Space<'_>) {
    web(space, 1);
    space.apply(&[
        service("web", json!({})),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"ingressClassName": "nginx", "rules": [
            {"host": "claim.test", "http": {"paths": [{"path": "/index.html", "pathType": "Exact", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}),
    ]);
    let host = ["-H", "Host: claim.test"];
    space.wait("the edge answers", 10, || space.cluster.curl("/index.html", &host).1.starts_with("web-"));
    assert_eq!(space.cluster.curl("/other", &host).0, 404);
    assert_eq!(space.cluster.curl("/index.html", &["-H", "Host: other.test"]).0, 404);
    space.wait("the address is in the status", 10, || {
        space.get("ingress web")["status"]["loadBalancer"]["ingress"][0].is_object()
    });
}

fn external_name(space: &Space<'_>) {
    space.run(&[pod("client", IDLE)]);
    let target = "kubernetes.default.svc.cluster.local";
    space.apply(&[json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias"}, "spec": {"type": "ExternalName", "externalName": target}})]);
    let name = format!("alias.{}.svc.cluster.local", space.namespace);
    space.wait("the alias is known", 10, || space.shell("client", &format!("nslookup {name}")).out.contains(target));
}

fn manual_endpoints(space: &Space<'_>) {
    space.run(&[pod("web", SERVE)]);
    let address = space.get("pod web")["status"]["podIP"].clone();
    space.apply(&[
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fixed"}, "spec": {"ports": [{"port": 80}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "fixed-1", "labels": {"kubernetes.io/service-name": "fixed"}},
            "endpoints": [{"addresses": [address]}], "ports": [{"port": 8080, "protocol": "TCP"}]}),
    ]);
    let service = space.get("service fixed")["spec"]["clusterIP"].as_str().unwrap().to_owned();
    space.wait("it answers", 10, || curl(&format!("http://{service}/")) == "web");
}
