//! Containers on this machine. Needs root; each test has directories and cgroups of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use lotse_runtime::*;
use support::{Machine, exit, pod};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn containers_run_log_and_report_their_exit() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("a")).await.unwrap();
    machine.runtime().start_pod(&pod("a")).await.unwrap();
    let mut events = machine.runtime().events();
    let spec = machine.shell("one", "echo out; echo err >&2; echo $FROM_IMAGE $HOSTNAME; pwd; exit 7");
    let (state, log) = machine.run("a", &spec).await;
    assert_eq!(exit(&state), (7, None, false));
    for line in ["out\n", "err\n", "yes host-a\n", "/\n"] {
        assert!(log.contains(line), "{log}");
    }
    let raw = fs::read_to_string(&spec.log_path).unwrap();
    let line = raw.lines().find(|line| line.ends_with(" out")).unwrap();
    assert!(line.starts_with("20") && line.contains("Z stdout F "), "{line}");
    let id = machine.runtime().pod("a").unwrap().containers[0].id.clone();
    assert_eq!(events.recv().await.unwrap(), RuntimeEvent::ContainerExited { pod: "a".into(), container: id.clone() });
    // The same name and attempt is the same instance.
    assert_eq!(machine.runtime().start_container("a", &spec).await.unwrap().id, id);
    machine.runtime().remove_container("a", &id).await.unwrap();
    assert!(machine.runtime().pod("a").unwrap().containers.is_empty());
    assert!(spec.log_path.exists());
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("b")).await.unwrap();
    let with = |command: &[&str]| {
        let mut spec = machine.shell("x", "");
        spec.command = command.iter().map(|word| (*word).to_owned()).collect();
        spec
    };
    let mut non_root = with(&["true"]);
    non_root.security.run_as_non_root = true;
    let mut absent = with(&["true"]);
    absent.image = "nothing:here".into();
    let mut outside = with(&["true"]);
    let volume = machine.directory.path().join("volume");
    fs::create_dir(&volume).unwrap();
    std::os::unix::fs::symlink("/etc", volume.join("link")).unwrap();
    outside.mounts = vec![Mount {
        destination: "/v".into(),
        source: MountSource::Bind { path: volume, sub_path: Some("link".into()), propagation: Propagation::Private },
        read_only: false,
    }];
    for (spec, expected) in [
        (with(&["no-such-program"]), "exec: \"no-such-program\": executable file not found in $PATH"),
        (with(&["/no/such"]), "exec: \"/no/such\": no such file or directory"),
        (with(&["/etc/notexec"]), "exec: \"/etc/notexec\": permission denied"),
        (with(&["/etc"]), "exec: \"/etc\": is a directory"),
        (non_root, "container has runAsNonRoot and image will run as root"),
        (absent, "image nothing:here is not present"),
        (outside, "it leads outside of the volume"),
    ] {
        let error = machine.runtime().start_container("b", &spec).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(machine.runtime().pod("b").unwrap().containers.is_empty());
    let (state, _) = machine.run("b", &machine.shell("after", "true")).await;
    assert_eq!(exit(&state).0, 0);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn security_settings_hold_inside() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("c")).await.unwrap();
    let volume = machine.directory.path().join("v");
    fs::create_dir_all(volume.join("sub")).unwrap();
    fs::write(volume.join("sub/file"), "content").unwrap();
    let mut spec = machine.shell(
        "s",
        "exec 2>&1; id; cat /v/file; touch /v/x || echo read-only-volume; touch /x || echo read-only-root; touch /t/x && echo tmpfs; \
         grep -E 'Cap(Eff|Bnd|Inh)|NoNewPrivs|SigBlk|SigIgn' /proc/self/status; cat /proc/kcore | wc -c; hostname; ls /proc/self/fd",
    );
    spec.security = Security {
        run_as_user: Some(1000),
        read_only_root: true,
        no_new_privileges: true,
        capabilities_drop: vec!["ALL".into()],
        supplemental_groups: vec![7],
        ..Security::default()
    };
    spec.working_dir = Some("/made/for/me".into());
    spec.mounts = vec![
        Mount {
            destination: "/v".into(),
            source: MountSource::Bind { path: volume, sub_path: Some("sub".into()), propagation: Propagation::Private },
            read_only: true,
        },
        Mount { destination: "/t".into(), source: MountSource::Tmpfs { size_bytes: Some(1 << 20) }, read_only: false },
    ];
    let (state, log) = machine.run("c", &spec).await;
    assert_eq!(exit(&state).0, 0, "{log}");
    for expected in [
        "uid=1000(app) gid=1001 groups=7,1002(extra)",
        "content",
        "read-only-volume",
        "read-only-root",
        "tmpfs",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "NoNewPrivs:\t1",
        "SigBlk:\t0000000000000000",
    ] {
        assert!(log.contains(expected), "{expected} is missing in {log}");
    }
    // Standard streams and the directory that is being listed, nothing of the runtime's.
    assert!(log.ends_with("0\n1\n2\n3\n"), "{log}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_reported_as_such() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("d")).await.unwrap();
    let mut spec = machine.shell("oom", "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    spec.resources.memory_limit_bytes = Some(32 << 20);
    let (state, _) = machine.run("d", &spec).await;
    assert_eq!(exit(&state), (137, Some(9), true));
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_with_and_without_a_terminal() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("e")).await.unwrap();
    let mut spec = machine.shell("main", "sleep 1000");
    spec.security.run_as_user = Some(1000);
    let status = machine.runtime().start_container("e", &spec).await.unwrap();
    let result = machine.exec("e", &status.id, &["sh", "-c", "id -u; echo e >&2; exit 3"]).await;
    assert_eq!(result, (3, "1000\n".into(), "e\n".into()));

    let with_input = ExecSpec { command: vec!["cat".into()], stdin: true, tty: false };
    let mut session = machine.runtime().exec("e", &status.id, &with_input).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"through").await.unwrap();
    session.stdin = None;
    let mut output = String::new();
    session.stdout.unwrap().read_to_string(&mut output).await.unwrap();
    assert_eq!((output.as_str(), session.exit.await.unwrap()), ("through", 0));

    let terminal = ExecSpec { command: vec!["sh".into()], stdin: true, tty: true };
    let mut session = machine.runtime().exec("e", &status.id, &terminal).await.unwrap();
    session.resize.as_ref().unwrap()(123, 45);
    session.stdin.as_mut().unwrap().write_all(b"tty; stty size; exit 5\n").await.unwrap();
    let mut output = Vec::new();
    session.stdout.as_mut().unwrap().read_to_end(&mut output).await.unwrap();
    let output = String::from_utf8_lossy(&output);
    assert!(output.contains("/dev/pts/") && output.contains("45 123"), "{output}");
    assert_eq!(session.exit.await.unwrap(), 5);

    let missing = ExecSpec { command: vec!["nope".into()], stdin: false, tty: false };
    let error = machine.runtime().exec("e", &status.id, &missing).await.unwrap_err().to_string();
    assert!(error.contains("exec: \"nope\": executable file not found in $PATH"), "{error}");

    // Dropping a session ends its command; the failed one above must not keep the container from ending either.
    let sleeper = ExecSpec { command: vec!["sleep".into(), "4321".into()], stdin: false, tty: false };
    drop(machine.runtime().exec("e", &status.id, &sleeper).await.unwrap());
    let deadline = Instant::now() + Duration::from_secs(5);
    while machine.exec("e", &status.id, &["ps"]).await.1.contains("4321") {
        assert!(Instant::now() < deadline, "the command still runs");
    }
    machine.runtime().stop_container("e", &status.id, Duration::ZERO).await.unwrap();
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_clients_see_output_and_write_input() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("f")).await.unwrap();
    let mut spec = machine.shell("cat", "while read line; do echo got $line; test $line = end && exit 4; done");
    spec.stdin = true;
    let status = machine.runtime().start_container("f", &spec).await.unwrap();
    let mut session = machine.runtime().attach("f", &status.id, true).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"one\nend\n").await.unwrap();
    let mut output = String::new();
    session.stdout.unwrap().read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "got one\ngot end\n");
    assert_eq!(session.exit.await.unwrap(), 4);
    assert_eq!(machine.log(&spec), "got one\ngot end\n");

    // Somebody who only looks leaves the input alone; the first who writes ends it by going.
    let mut spec = machine.shell("once", "wc -c; exit 3");
    (spec.stdin, spec.stdin_once) = (true, true);
    let status = machine.runtime().start_container("f", &spec).await.unwrap();
    let looking = machine.runtime().attach("f", &status.id, false).await.unwrap();
    assert!(looking.stdin.is_none());
    let mut session = machine.runtime().attach("f", &status.id, true).await.unwrap();
    session.stdin.take().unwrap().write_all(b"12345").await.unwrap();
    assert_eq!(session.exit.await.unwrap(), 3);
    assert_eq!(machine.log(&spec), "5\n");

    let mut spec = machine.shell("terminal", "tty; read line; stty size; exit 6");
    (spec.stdin, spec.tty) = (true, true);
    let status = machine.runtime().start_container("f", &spec).await.unwrap();
    let mut session = machine.runtime().attach("f", &status.id, true).await.unwrap();
    session.resize.as_ref().unwrap()(90, 30);
    session.stdin.as_mut().unwrap().write_all(b"x\n").await.unwrap();
    assert_eq!(session.exit.await.unwrap(), 6);
    let log = machine.log(&spec);
    assert!(log.contains("/dev/pts/0") && log.contains("30 90"), "{log}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_does_not_hold_up_the_container() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("g")).await.unwrap();
    let spec = machine.shell("loud", "read go < /gate/go; yes 0123456789 | head -n 400000; exit 0");
    let gate = machine.directory.path().join("gate");
    fs::create_dir(&gate).unwrap();
    nix::unistd::mkfifo(&gate.join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut spec = spec;
    spec.mounts = vec![Mount {
        destination: "/gate".into(),
        source: MountSource::Bind { path: gate.clone(), sub_path: None, propagation: Propagation::Private },
        read_only: false,
    }];
    let status = machine.runtime().start_container("g", &spec).await.unwrap();
    let session = machine.runtime().attach("g", &status.id, true).await.unwrap();
    fs::write(gate.join("go"), "\n").unwrap();
    let state = machine.wait("g", &status.id).await;
    assert_eq!(exit(&state).0, 0);
    assert_eq!(session.exit.await.unwrap(), 0);
    let logged: usize = fs::read_dir(machine.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("loud.log"))
        .map(|path| fs::read_to_string(path).unwrap().lines().count())
        .sum();
    assert_eq!(logged, 400_000, "every line is in the log, across rotated files");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_asks_first_and_kills_after_the_grace_period() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("h")).await.unwrap();
    let polite = machine.shell("polite", "trap 'exit 9' TERM; echo ready; while true; do sleep 0.05; done");
    let status = machine.runtime().start_container("h", &polite).await.unwrap();
    machine.wait_for_log(&polite, "ready").await;
    machine.runtime().stop_container("h", &status.id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(exit(&machine.wait("h", &status.id).await).0, 9);

    let mut interrupt = machine.shell("interrupt", "trap 'exit 8' INT; echo ready; while true; do sleep 0.05; done");
    interrupt.stop_signal = Some("SIGINT".into());
    let status = machine.runtime().start_container("h", &interrupt).await.unwrap();
    machine.wait_for_log(&interrupt, "ready").await;
    machine.runtime().stop_container("h", &status.id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(exit(&machine.wait("h", &status.id).await).0, 8);

    let deaf = machine.shell("deaf", "trap '' TERM; echo ready; while true; do sleep 0.05; done");
    let status = machine.runtime().start_container("h", &deaf).await.unwrap();
    machine.wait_for_log(&deaf, "ready").await;
    let begin = Instant::now();
    machine.runtime().stop_container("h", &status.id, Duration::from_millis(300)).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(300) && begin.elapsed() < Duration::from_secs(5));
    assert_eq!(exit(&machine.wait("h", &status.id).await), (137, Some(9), false));
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_may_share_one_process_namespace() {
    let machine = Machine::new().await;
    let mut spec = pod("k");
    spec.share_process_namespace = true;
    machine.runtime().start_pod(&spec).await.unwrap();
    machine.runtime().start_container("k", &machine.shell("first", "exec sleep 777")).await.unwrap();
    let second = machine.runtime().start_container("k", &machine.shell("second", "sleep 1000")).await.unwrap();
    let (_, processes, _) = machine.exec("k", &second.id, &["ps"]).await;
    assert!(processes.contains("sleep 777"), "{processes}");
    // Process ids inside that nobody has outside, and the container's own limits.
    let status = machine
        .runtime()
        .start_container("k", &machine.shell("third", "i=0; while test $i -lt 400; do i=$((i+1)); /bin/true; done"))
        .await;
    machine.wait("k", &status.unwrap().id).await;
    let mut limited =
        machine.shell("limited", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max");
    limited.resources.memory_limit_bytes = Some(48 << 20);
    let (_, log) = machine.run("k", &limited).await;
    assert!(log.contains("50331648"), "{log}");
    machine.runtime().stop_container("k", &second.id, Duration::ZERO).await.unwrap();
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_reach_the_kernel_and_use_is_measured() {
    let machine = Machine::new().await;
    let mut spec = pod("l");
    spec.resources =
        Resources { memory_limit_bytes: Some(64 << 20), cpu_limit_millis: Some(1500), ..Resources::default() };
    machine.runtime().start_pod(&spec).await.unwrap();
    let mut busy = machine.shell("busy", "i=0; while test $i -lt 20000; do i=$((i+1)); done; echo ready; sleep 1000");
    busy.resources.pids_limit = Some(20);
    let status = machine.runtime().start_container("l", &busy).await.unwrap();
    machine.wait_for_log(&busy, "ready").await;
    let stats = machine.runtime().stats("l", &status.id).await.unwrap();
    assert!(stats.cpu_nanos > 1_000_000 && stats.memory_working_set_bytes > 0 && stats.pids >= 1, "{stats:?}");
    machine.runtime().stop_container("l", &status.id, Duration::ZERO).await.unwrap();
    assert!(machine.runtime().stats("l", &status.id).await.is_err());
    machine.finish().await;
}

/// Prints what a pod costs; the bounds are generous, since machines differ.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_pods_are_cheap() {
    let machine = Machine::new().await;
    let (mut pods, mut containers) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let uid = format!("m-{number}");
        let begin = Instant::now();
        machine.runtime().start_pod(&pod(&uid)).await.unwrap();
        pods.push(begin.elapsed());
        let begin = Instant::now();
        machine.runtime().start_container(&uid, &machine.shell(&format!("c{number}"), "sleep 1000")).await.unwrap();
        containers.push(begin.elapsed());
    }
    let mut memory = [0_u64; 3];
    for pod in machine.runtime().pods() {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", pod.shim_pid.unwrap())).unwrap();
        for (sum, key) in memory.iter_mut().zip(["Rss:", "Pss:", "Private_Dirty:"]) {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            *sum += line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        }
    }
    pods.sort();
    containers.sort();
    println!("pod start p50 {:?} max {:?}", pods[10], pods[19]);
    println!("container create+start p50 {:?} max {:?}", containers[10], containers[19]);
    println!("per shim: Rss {} kB, Pss {} kB, private dirty {} kB", memory[0] / 20, memory[1] / 20, memory[2] / 20);
    assert!(memory[1] / 20 < 8 << 10, "a shim takes {} kB", memory[1] / 20);
    assert!(pods[10] < Duration::from_millis(150) && containers[10] < Duration::from_millis(300));
    machine.finish().await;
}

/// Runs `ip`; used for the network namespace of a test.
fn ip(arguments: &[&str]) {
    assert!(std::process::Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_in_the_network_namespace_it_is_given() {
    let machine = Machine::new().await;
    let name = machine.directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    ip(&["netns", "add", &name]);
    let mut spec = pod("n");
    spec.network_namespace = Some(format!("/var/run/netns/{name}").into());
    spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "77".into());
    machine.runtime().start_pod(&spec).await.unwrap();
    let script = "readlink /proc/self/ns/net; hostname; cat /etc/hostname /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /sys/class/net";
    let (_, log) = machine.run("n", &machine.shell("net", script)).await;
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    machine.finish().await;
    ip(&["netns", "delete", &name]);
    assert!(!log.contains(own.to_str().unwrap()), "{log}");
    assert!(log.ends_with("host-n\nhost-n\n77\nlo\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_path_that_is_swapped_meanwhile_never_leads_outside() {
    let machine = Machine::new().await;
    machine.runtime().start_pod(&pod("o")).await.unwrap();
    let volume = machine.directory.path().join("volume");
    let outside = machine.directory.path().join("outside");
    for directory in [&volume.join("real"), &outside] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::write(volume.join("real/public"), "public").unwrap();
    std::os::unix::fs::symlink(&outside, volume.join("evil")).unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapping = {
        let (volume, done) = (volume.clone(), std::sync::Arc::clone(&done));
        std::thread::spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let (real, evil) = (volume.join("real"), volume.join("evil"));
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &real, nix::fcntl::AT_FDCWD, &evil, flags).unwrap();
            }
        })
    };
    let mut started = 0;
    for number in 0..60 {
        let mut spec = machine.shell(&format!("c{number}"), "ls /v");
        spec.mounts = vec![Mount {
            destination: "/v".into(),
            source: MountSource::Bind {
                path: volume.clone(),
                sub_path: Some("real".into()),
                propagation: Propagation::Private,
            },
            read_only: false,
        }];
        match machine.runtime().start_container("o", &spec).await {
            Ok(status) => {
                machine.wait("o", &status.id).await;
                assert_eq!(machine.log(&spec), "public\n");
                started += 1;
            }
            Err(error) => assert!(error.to_string().contains("outside of the volume"), "{error}"),
        }
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(started > 0);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_images_cannot_redirect_the_runtimes_mounts() {
    // Mount points that are links to the host's own (CVE-2025-54867 and others).
    let machine = Machine::new().await;
    let victim = machine.directory.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let path = machine.directory.path().join("hostile.tar");
    let base = fs::read(support::rootfs()).unwrap();
    let mut builder = tar::Builder::new(base[..base.len() - 1024].to_vec());
    for name in ["proc", "sys", "dev", "etc/hostname", "vol"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_link(&mut header, name, &victim).unwrap();
    }
    fs::write(&path, builder.into_inner().unwrap()).unwrap();
    machine.runtime().import(&path, Some("hostile:1"), None).await.unwrap();
    machine.runtime().start_pod(&pod("q")).await.unwrap();
    let mut spec = machine.shell("x", "touch /vol/written; true");
    spec.image = "hostile:1".into();
    spec.working_dir = Some("/vol/deep".into());
    if let Ok(status) = machine.runtime().start_container("q", &spec).await {
        machine.wait("q", &status.id).await;
    }
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "something was written to the host");
    machine.runtime().remove_pod("q").await.unwrap();
    machine.runtime().remove_image("hostile:1").await.unwrap();
    machine.finish().await;
}
