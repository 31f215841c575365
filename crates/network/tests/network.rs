//! The pod network, the service proxy and DNS on a real kernel, each test on a machine of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cluster;

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use cluster::{Api, ask, config, eventually, in_pod, on_own_machine, open, run, serve};
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};
use lotse_network::{DnsConfig, HostPort, Network, PodNetwork, Protocol, run_dns, run_services};
use serde_json::json;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 243, 0, 77);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 242, 0, 1);

#[test]
fn pods_talk_to_each_other_and_to_the_host_under_their_own_addresses() {
    on_own_machine(async || {
        let directory = tempfile::tempdir().unwrap();
        let network = open(directory.path());
        let mut times = Vec::new();
        let mut pods = Vec::new();
        for uid in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let began = Instant::now();
            pods.push(network.attach(uid, &[]).await.unwrap());
            times.push(began.elapsed());
        }
        times.sort_unstable();
        eprintln!("attach: median {:?}, slowest {:?}", times[times.len() / 2], times[times.len() - 1]);
        let (a, b) = (&pods[0], &pods[1]);
        serve(&a.namespace, 8080, "a");
        let seen = in_pod(&b.namespace, || ask((a.ip, 8080)));
        assert_eq!(seen.unwrap(), format!("a {}", b.ip));
        assert_eq!(ask((a.ip, 8080)).unwrap(), format!("a {HOST}"));
        // Into the pod's loopback, as port-forward does.
        let mut stream = network.connect_loopback("a", 8080).await.unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.unwrap();
        assert_eq!(text, "a 127.0.0.1");
        assert!(network.connect_loopback("a", 9).await.is_err());
        assert!(network.connect_loopback("nobody", 9).await.is_err());
        network.teardown().unwrap();
    });
}

#[test]
fn a_restart_keeps_pods_connected_and_teardown_leaves_nothing() {
    on_own_machine(async || {
        let directory = tempfile::tempdir().unwrap();
        let network = open(directory.path());
        let port = HostPort { host_ip: None, host_port: 8081, pod_port: 8080, protocol: Protocol::Tcp };
        let a = network.attach("a", std::slice::from_ref(&port)).await.unwrap();
        serve(&a.namespace, 8080, "a");
        assert_eq!(ask((HOST, 8081)).unwrap(), format!("a {HOST}"));
        drop(network);
        let network = open(directory.path());
        assert_eq!(network.attach("a", std::slice::from_ref(&port)).await.unwrap(), a);
        assert_eq!(ask((HOST, 8081)).unwrap(), format!("a {HOST}"));
        network.detach("a").await.unwrap();
        network.attach("b", &[]).await.unwrap();
        network.teardown().unwrap();
        assert_eq!(run("nft", &["list", "tables"]), "");
        let links = run("ip", &["-o", "link"]);
        assert!(!links.contains("lotse") && !links.contains("veth"), "{links}");
        assert_eq!(std::fs::read_dir(config(directory.path()).namespace_dir).unwrap().count(), 0);
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        assert!(!mounts.contains(directory.path().to_str().unwrap()));
    });
}

#[test]
fn services_balance_hairpin_refuse_and_follow_their_endpoints() {
    services("0");
}

/// Docker and others load br_netfilter, which translates packets before they are bridged.
#[test]
fn services_work_as_well_where_bridged_packets_are_filtered() {
    services("1");
}

fn services(bridge_netfilter: &'static str) {
    on_own_machine(async move || {
        let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", bridge_netfilter);
        let directory = tempfile::tempdir().unwrap();
        let network = open(directory.path());
        let api = Api::new();
        tokio::spawn(run_services(network.clone(), api.informers()));
        let mut pods = Vec::new();
        for uid in ["a", "b", "c"] {
            let pod = network.attach(uid, &[]).await.unwrap();
            serve(&pod.namespace, 8080, uid.to_owned().leak());
            pods.push(pod);
        }
        let ips: Vec<Ipv4Addr> = pods.iter().map(|pod| pod.ip).collect();

        // Without endpoints a client knows at once, inside and outside.
        api.service("web", json!({"type": "NodePort", "clusterIP": VIP, "ports": [{"port": 80, "nodePort": 30080}]}));
        let began = Instant::now();
        assert_eq!(ask((VIP, 80)).unwrap_err(), ErrorKind::ConnectionRefused);
        assert_eq!(in_pod(&pods[0].namespace, || ask((VIP, 80))).unwrap_err(), ErrorKind::ConnectionRefused);
        assert!(began.elapsed() < Duration::from_secs(1));

        api.slice("web", 8080, "TCP", &ips);
        let first = eventually("the service answers", || ask((VIP, 80)).is_ok()).await;
        eprintln!("first programming of a service, from API write to a connection: {first:?}");

        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..300 {
            let answer = in_pod(&pods[0].namespace, || ask((VIP, 80))).unwrap();
            let (server, client) = answer.split_once(' ').unwrap();
            // Hairpin: a pod that reaches itself is seen as the host, everybody else as themselves.
            assert_eq!(client, if server == "a" { HOST } else { ips[0] }.to_string());
            *counts.entry(server.to_owned()).or_default() += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| *count > 60), "{counts:?}");

        // Node ports: on the host's addresses, from pods, and on localhost.
        assert!(ask((HOST, 30080)).is_ok());
        assert!(in_pod(&pods[0].namespace, || ask((HOST, 30080))).is_ok());
        eventually("localhost answers", || ask((Ipv4Addr::LOCALHOST, 30080)).is_ok()).await;

        // An endpoint leaves: no new connection reaches it.
        let mut gone = Vec::new();
        for left in [&ips[1..], &ips[..2], &ips[1..]] {
            api.slice("web", 8080, "TCP", left);
            let began = Instant::now();
            let missing = if left[0] == ips[1] { "a " } else { "c " };
            let listed = || {
                let rules = run("nft", &["list", "map", "ip", "lotse-nettest", "endpoints"]);
                let ip = if missing == "a " { ips[0] } else { ips[2] };
                rules.contains(&format!(": {ip} . "))
            };
            eventually("the endpoint goes", || !listed()).await;
            gone.push(began.elapsed());
            assert!((0..50).all(|_| !ask((VIP, 80)).unwrap().starts_with(missing)));
        }
        eprintln!("endpoint removed and others added, with the time of nft list: {gone:?}");
        network.teardown().unwrap();
    });
}

#[test]
fn session_affinity_sticks_to_one_endpoint_until_it_goes() {
    on_own_machine(async || {
        let directory = tempfile::tempdir().unwrap();
        let network = open(directory.path());
        let api = Api::new();
        tokio::spawn(run_services(network.clone(), api.informers()));
        let mut pods = Vec::new();
        for uid in ["a", "b", "c"] {
            let pod = network.attach(uid, &[]).await.unwrap();
            serve(&pod.namespace, 8080, uid.to_owned().leak());
            pods.push(pod);
        }
        let ips: Vec<Ipv4Addr> = pods.iter().map(|pod| pod.ip).collect();
        api.service("web", json!({"clusterIP": VIP, "ports": [{"port": 80}], "sessionAffinity": "ClientIP"}));
        api.slice("web", 8080, "TCP", &ips);
        eventually("the service answers", || ask((VIP, 80)).is_ok()).await;
        let server = ask((VIP, 80)).unwrap();
        assert!((0..50).all(|_| ask((VIP, 80)).unwrap() == server));
        let left: Vec<Ipv4Addr> =
            ips.iter().zip(["a", "b", "c"]).filter(|(_, uid)| !server.starts_with(uid)).map(|(ip, _)| *ip).collect();
        api.slice("web", 8080, "TCP", &left);
        eventually("another endpoint answers", || ask((VIP, 80)).unwrap() != server).await;
        let second = ask((VIP, 80)).unwrap();
        assert!((0..50).all(|_| ask((VIP, 80)).unwrap() == second));
        network.teardown().unwrap();
    });
}

#[test]
fn a_udp_client_that_keeps_its_port_reaches_the_new_endpoint() {
    on_own_machine(async || {
        let directory = tempfile::tempdir().unwrap();
        let network = open(directory.path());
        let api = Api::new();
        tokio::spawn(run_services(network.clone(), api.informers()));
        let mut ips = Vec::new();
        for uid in ["a", "b"] {
            let pod = network.attach(uid, &[]).await.unwrap();
            ips.push(pod.ip);
            let socket = in_pod(&pod.namespace, || UdpSocket::bind(("0.0.0.0", 5353)).unwrap());
            std::thread::spawn(move || {
                let mut buffer = [0; 16];
                while let Ok((_, client)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(uid.as_bytes(), client);
                }
            });
        }
        api.service("dns", json!({"clusterIP": VIP, "ports": [{"port": 53, "protocol": "UDP"}]}));
        api.slice("dns", 5353, "UDP", &ips[..1]);
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let says = || {
            let mut buffer = [0; 16];
            let _ = client.send_to(b"?", (VIP, 53));
            client.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        eventually("the first endpoint answers", || says().as_deref() == Some("a")).await;
        api.slice("dns", 5353, "UDP", &ips[1..]);
        eventually("the second endpoint answers", || says().as_deref() == Some("b")).await;
        network.teardown().unwrap();
    });
}

#[test]
fn a_flushed_ruleset_comes_back() {
    on_own_machine(async || {
        let directory = tempfile::tempdir().unwrap();
        let network = open(directory.path());
        let api = Api::new();
        api.service("web", json!({"clusterIP": VIP, "ports": [{"port": 80}]}));
        tokio::spawn(run_services(network.clone(), api.informers()));
        let pod = network.attach("a", &[]).await.unwrap();
        serve(&pod.namespace, 8080, "a");
        api.slice("web", 8080, "TCP", &[pod.ip]);
        eventually("the service answers", || ask((VIP, 80)).is_ok()).await;
        run("nft", &["flush", "ruleset"]);
        // The next change notices.
        api.slice("web", 8080, "TCP", &[pod.ip, Ipv4Addr::new(10, 242, 9, 9)]);
        eventually("the table is back", || run("nft", &["list", "tables"]).contains("lotse-nettest")).await;
        network.teardown().unwrap();
    });
}

#[test]
fn dns_answers_pods_over_udp_and_tcp() {
    on_own_machine(async || {
        let directory = tempfile::tempdir().unwrap();
        let network = open(directory.path());
        let api = Api::new();
        api.service("web", json!({"clusterIP": VIP, "ports": [{"port": 80}]}));
        api.service("kube-dns", json!({"clusterIP": network.dns_ip(), "ports": [{"port": 53, "protocol": "UDP"}]}));
        let informers = api.informers();
        tokio::spawn(run_services(network.clone(), informers.clone()));
        let dns = DnsConfig {
            address: network.dns_ip(),
            port: 53,
            domain: "cluster.local".into(),
            ranges: vec![network.config().pod_cidr, network.config().service_cidr],
            upstream: Some(Vec::new()),
        };
        tokio::spawn(run_dns(dns, informers));
        let pod = network.attach("a", &[]).await.unwrap();
        let server = SocketAddr::from((network.dns_ip(), 53));
        let lookup = |name: &'static str| {
            in_pod(&pod.namespace, move || {
                let mut query = Message::query();
                query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                socket.send_to(&query.to_vec().unwrap(), server).unwrap();
                let mut buffer = [0; 1500];
                let (length, from) = socket.recv_from(&mut buffer).ok()?;
                assert_eq!(from, server);
                let answer = Message::from_vec(&buffer[..length]).unwrap();
                Some((
                    answer.metadata.response_code.to_string(),
                    answer.answers.first().map(|found| found.data.to_string()),
                ))
            })
        };
        let web = "web.default.svc.cluster.local.";
        eventually("DNS knows the service", || lookup(web).is_some_and(|(_, data)| data == Some(VIP.to_string())))
            .await;
        let (code, data) = lookup("nope.default.svc.cluster.local.").unwrap();
        assert_eq!((code.as_str(), data), ("Non-Existent Domain", None));
        let text = in_pod(&pod.namespace, move || {
            use std::io::{Read, Write};
            let mut query = Message::query();
            query.add_query(Query::query(Name::from_ascii(web).unwrap(), RecordType::A));
            let bytes = query.to_vec().unwrap();
            let mut stream = std::net::TcpStream::connect(server).unwrap();
            stream.write_all(&[&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut answer).unwrap();
            Message::from_vec(&answer).unwrap().answers[0].data.to_string()
        });
        assert_eq!(text, VIP.to_string());
        network.teardown().unwrap();
    });
}

#[test]
fn a_thousand_services_are_programmed_at_once() {
    on_own_machine(async || {
        let directory = tempfile::tempdir().unwrap();
        let network: std::sync::Arc<Network> = open(directory.path());
        let api = Api::new();
        let ips: Vec<Ipv4Addr> = (2..5).map(|last| Ipv4Addr::new(10, 242, 1, last)).collect();
        for index in 0..1000u16 {
            let [high, low] = (index + 256).to_be_bytes();
            api.service(
                &format!("s{index}"),
                json!({"clusterIP": Ipv4Addr::new(10, 243, high, low), "ports": [{"port": 80}]}),
            );
            api.slice(&format!("s{index}"), 8080, "TCP", &ips);
        }
        tokio::spawn(run_services(network.clone(), api.informers()));
        let count = || run("nft", &["list", "map", "ip", "lotse-nettest", "service-ips"]).matches("goto").count();
        let all = eventually("all services are there", || count() == 1000).await;
        eprintln!("1,000 services from an empty cache, with the time of nft list: {all:?}");
        let pod = network.attach("a", &[]).await.unwrap();
        serve(&pod.namespace, 8080, "a");
        tokio::time::sleep(Duration::from_millis(100)).await;
        api.service("new", json!({"clusterIP": VIP, "ports": [{"port": 80}]}));
        api.slice("new", 8080, "TCP", &[pod.ip]);
        let one = eventually("the new service answers", || ask((VIP, 80)).is_ok()).await;
        eprintln!("one more service among 1,000, from API write to a connection: {one:?}");
        network.teardown().unwrap();
    });
}

#[test]
fn the_outside_reaches_node_ports_and_pods_go_out_under_the_machines_address() {
    on_own_machine(async || {
        let directory = tempfile::tempdir().unwrap();
        let network = open(directory.path());
        let api = Api::new();
        tokio::spawn(run_services(network.clone(), api.informers()));
        // A neighbour on the local network: a network namespace on a link of its own.
        let outside = tempfile::NamedTempFile::new().unwrap();
        let outside = outside.path();
        let path = outside.to_str().unwrap();
        run("unshare", &[&format!("--net={path}"), "true"]);
        run("ip", &["link", "add", "lan0", "type", "veth", "peer", "name", "lan1"]);
        run(
            "sh",
            &[
                "-c",
                &format!(
                    "nsenter --net={path} sleep 5 >/dev/null 2>&1 & p=$!; sleep 0.1; ip link set lan1 netns $p; kill $p"
                ),
            ],
        );
        run("sh", &["-c", "ip addr add 192.0.2.1/24 dev lan0; ip link set lan0 up"]);
        in_pod(outside, || {
            run(
                "sh",
                &[
                    "-c",
                    "ip addr add 192.0.2.2/24 dev lan1; ip link set lan1 up; ip link set lo up; ip route add 10.240.0.0/13 via 192.0.2.1",
                ],
            )
        });
        serve(outside, 7000, "outside");

        let port = HostPort { host_ip: None, host_port: 8081, pod_port: 8080, protocol: Protocol::Tcp };
        let pod = network.attach("a", &[port]).await.unwrap();
        serve(&pod.namespace, 8080, "a");
        api.service(
            "web",
            json!({"type": "LoadBalancer", "clusterIP": VIP, "ports": [{"port": 81, "nodePort": 30080}]}),
        );
        api.slice("web", 8080, "TCP", &[pod.ip]);
        let node = |port| in_pod(outside, move || ask((Ipv4Addr::new(192, 0, 2, 1), port)));
        eventually("the node port answers", || node(30080).is_ok()).await;
        for port in [30080, 81, 8081] {
            assert_eq!(node(port).unwrap(), "a 192.0.2.2", "the client's address is kept");
        }
        assert_eq!(node(82).unwrap_err(), ErrorKind::ConnectionRefused);
        let seen = in_pod(&pod.namespace, || ask((Ipv4Addr::new(192, 0, 2, 2), 7000)));
        assert_eq!(seen.unwrap(), "outside 192.0.2.1");

        // What listens on the bridge's addresses is not for neighbours that route to them.
        let _listener = std::net::TcpListener::bind((HOST, 9000)).unwrap();
        assert!(in_pod(&pod.namespace, || std::net::TcpStream::connect((HOST, 9000))).is_ok());
        let address = SocketAddr::from((HOST, 9000));
        let intruder = in_pod(outside, || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)));
        assert!(intruder.is_err());
        nix::mount::umount(outside).unwrap();
        network.teardown().unwrap();
    });
}
