//! Control groups of pods and shims, version 1, 2 and the mix of both. The containers' own groups are `libcontainer`'s.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{ContainerStats, Error, PodSpec, QosClass, Resources, error::IoContext};

/// CPU bandwidth period that the kubelet uses, in microseconds.
pub(crate) const CPU_PERIOD: u64 = 100_000;
/// Least CPU quota that the kernel takes, in microseconds.
const LEAST_QUOTA: u64 = 1000;
/// Controllers of version 1 in which every container has a group of its own.
const CONTAINER_CONTROLLERS: [&str; 8] = ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"];
/// Longest wait for killed processes to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// `cpu.shares` for a CPU request.
pub(crate) fn cpu_shares(millis: u64) -> u64 {
    (millis.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// `cpu.cfs_quota_us` for a CPU limit.
pub(crate) fn cpu_quota(millis: u64) -> u64 {
    (millis.saturating_mul(CPU_PERIOD) / 1000).max(LEAST_QUOTA)
}

/// `cpu.weight` for `cpu.shares`, as runc converts it.
fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.saturating_sub(2) * 9999) / 262_142
}

/// The cgroup of a pod, in the kubelet's layout without systemd.
pub(crate) fn pod_path(parent: &str, pod: &PodSpec) -> String {
    path_in_class(parent, pod.qos, &pod.uid)
}

/// Where the cgroup of a pod may be of which only the uid is known.
pub(crate) fn possible_pod_paths(parent: &str, uid: &str) -> [String; 3] {
    [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort].map(|class| path_in_class(parent, class, uid))
}

fn path_in_class(parent: &str, class: QosClass, uid: &str) -> String {
    let class = match class {
        QosClass::Guaranteed => "",
        QosClass::Burstable => "/burstable",
        QosClass::BestEffort => "/besteffort",
    };
    format!("{parent}{class}/pod{uid}")
}

/// Lets some time pass, in the shim as in a thread that may block.
pub(crate) fn wait(time: Duration) {
    let _ = poll(&mut [], PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO));
}

/// The mounted hierarchies.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies {
    mounts: Vec<Hierarchy>,
}

#[derive(Clone, Debug)]
struct Hierarchy {
    point: PathBuf,
    /// Empty for version 2.
    controllers: Vec<String>,
    unified: bool,
}

impl Hierarchies {
    /// Reads the mount table.
    pub(crate) fn discover() -> Result<Self, Error> {
        let table = fs::read_to_string("/proc/self/mountinfo").context(|| "reading the mount table")?;
        let mounts: Vec<Hierarchy> = table.lines().filter_map(parse_mount).collect();
        if mounts.is_empty() {
            return Err(Error::InvalidInput { message: "no cgroup hierarchy is mounted under /sys/fs/cgroup".into() });
        }
        Ok(Self { mounts })
    }

    /// Whether there is nothing but version 2.
    pub(crate) fn is_unified(&self) -> bool {
        self.mounts.iter().all(|hierarchy| hierarchy.unified)
    }

    fn directories(&self, path: &str) -> impl Iterator<Item = PathBuf> {
        let path = path.trim_start_matches('/').to_owned();
        self.mounts.iter().map(move |hierarchy| hierarchy.point.join(&path))
    }

    /// Where a container's cgroup is in the hierarchies of version 1 in which `libcontainer` makes one, by mount point's name.
    pub(crate) fn container_directories(&self, path: &str) -> Vec<(String, PathBuf)> {
        let managed = |hierarchy: &&Hierarchy| {
            hierarchy.controllers.iter().any(|controller| CONTAINER_CONTROLLERS.contains(&controller.as_str()))
        };
        let directory = |hierarchy: &Hierarchy| {
            let name = hierarchy.point.file_name()?.to_str()?.to_owned();
            Some((name, hierarchy.point.join(path.trim_start_matches('/'))))
        };
        self.mounts.iter().filter(managed).filter_map(directory).collect()
    }

    fn controller(&self, name: &str, path: &str) -> Option<PathBuf> {
        self.mounts
            .iter()
            .find(|hierarchy| hierarchy.controllers.iter().any(|controller| controller == name))
            .map(|hierarchy| hierarchy.point.join(path.trim_start_matches('/')))
    }

    fn unified(&self, path: &str) -> Option<PathBuf> {
        self.mounts
            .iter()
            .find(|hierarchy| hierarchy.unified)
            .map(|hierarchy| hierarchy.point.join(path.trim_start_matches('/')))
    }

    /// Moves a process into `path`, in every hierarchy that does not need to be set up first; named ones too, so that a
    /// service manager that stops the daemon does not stop it.
    pub(crate) fn join(&self, path: &str, pid: u32) -> Result<(), Error> {
        for hierarchy in &self.mounts {
            if hierarchy.controllers.iter().any(|controller| controller == "cpuset") {
                continue;
            }
            let directory = hierarchy.point.join(path.trim_start_matches('/'));
            let file = directory.join("cgroup.procs");
            while_others_remove(|| {
                fs::create_dir_all(&directory).context(|| format!("making {}", directory.display()))?;
                fs::write(&file, pid.to_string()).context(|| format!("writing {}", file.display()))
            })?;
        }
        Ok(())
    }

    /// Has the kernel prepare for a process that is about to change its cgroup. Returns at once and changes nothing.
    ///
    /// The first move after a pause waits for an RCU grace period (5 to 10 ms), those that follow closely do not
    /// (`percpu_down_write` in the kernel). So this process moves to where it is while the rest of a start goes on.
    pub(crate) fn anticipate_move(&self) {
        let Some(file) = self.own_processes_file() else { return };
        // Without a runtime there is nobody to do it meanwhile, and then it is not worth doing.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || {
                // 0 is the writer itself. A service manager that does not allow it only costs the time.
                let _ = fs::write(file, "0");
            });
        }
    }

    /// `cgroup.procs` of this process's own group in one of the hierarchies. Version 2 is left alone where there is another:
    /// it may forbid processes in inner groups.
    fn own_processes_file(&self) -> Option<PathBuf> {
        let table = fs::read_to_string("/proc/self/cgroup").ok()?;
        let hierarchy = self.mounts.iter().find(|hierarchy| !hierarchy.unified).or_else(|| self.mounts.first())?;
        let path = own_path(&table, &hierarchy.controllers)?;
        Some(hierarchy.point.join(path.trim_start_matches('/')).join("cgroup.procs"))
    }

    /// Makes the pod's cgroup and sets its limits.
    pub(crate) fn create(&self, path: &str, resources: &Resources) -> Result<(), Error> {
        while_others_remove(|| self.create_once(path, resources))
    }

    fn create_once(&self, path: &str, resources: &Resources) -> Result<(), Error> {
        let write = |directory: &Path, file: &str, value: String| {
            let file = directory.join(file);
            fs::write(&file, &value).context(|| format!("writing {value} to {}", file.display()))
        };
        if self.is_unified() {
            let Some(directory) = self.unified(path) else { return Ok(()) };
            self.enable_controllers(path)?;
            fs::create_dir_all(&directory).context(|| format!("making {}", directory.display()))?;
            if let Some(bytes) = resources.memory_limit_bytes {
                write(&directory, "memory.max", bytes.to_string())?;
            }
            write(
                &directory,
                "cpu.weight",
                cpu_weight(cpu_shares(resources.cpu_request_millis.unwrap_or(0))).to_string(),
            )?;
            if let Some(millis) = resources.cpu_limit_millis {
                write(&directory, "cpu.max", format!("{} {CPU_PERIOD}", cpu_quota(millis)))?;
            }
            if let Some(pids) = resources.pids_limit {
                write(&directory, "pids.max", pids.to_string())?;
            }
            return Ok(());
        }
        let mut settings: Vec<(&str, &str, String)> =
            vec![("cpu", "cpu.shares", cpu_shares(resources.cpu_request_millis.unwrap_or(0)).to_string())];
        if let Some(millis) = resources.cpu_limit_millis {
            settings.push(("cpu", "cpu.cfs_period_us", CPU_PERIOD.to_string()));
            settings.push(("cpu", "cpu.cfs_quota_us", cpu_quota(millis).to_string()));
        }
        if let Some(bytes) = resources.memory_limit_bytes {
            settings.push(("memory", "memory.limit_in_bytes", bytes.to_string()));
        }
        if let Some(pids) = resources.pids_limit {
            settings.push(("pids", "pids.max", pids.to_string()));
        }
        for (controller, file, value) in settings {
            if let Some(directory) = self.controller(controller, path) {
                fs::create_dir_all(&directory).context(|| format!("making {}", directory.display()))?;
                write(&directory, file, value)?;
            }
        }
        Ok(())
    }

    /// Version 2 lets children use a controller only if every ancestor says so.
    fn enable_controllers(&self, path: &str) -> Result<(), Error> {
        let Some(mut directory) = self.unified("") else { return Ok(()) };
        let available =
            fs::read_to_string(directory.join("cgroup.controllers")).context(|| "reading cgroup.controllers")?;
        for component in path.split('/').filter(|component| !component.is_empty()) {
            for controller in available.split_ascii_whitespace() {
                // One that cannot be enabled here (cpuset, rt) is not a reason to run nothing.
                let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
            }
            directory.push(component);
            fs::create_dir_all(&directory).context(|| format!("making {}", directory.display()))?;
        }
        for controller in available.split_ascii_whitespace() {
            let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        Ok(())
    }

    /// Processes in a cgroup and beneath it.
    pub(crate) fn processes(&self, path: &str) -> Vec<i32> {
        let mut found = Vec::new();
        for directory in self.directories(path) {
            collect_processes(&directory, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Sends a signal to every process in a cgroup and beneath it.
    pub(crate) fn signal(&self, path: &str, signal: Signal) {
        if signal == Signal::SIGKILL
            && let Some(directory) = self.unified(path)
        {
            let _ = fs::write(directory.join("cgroup.kill"), "1");
        }
        for pid in self.processes(path) {
            // 0 stands for a process of another PID namespace, and for our own group.
            if pid > 1 {
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }

    /// Kills everything in a cgroup and waits until it is gone. Blocks.
    pub(crate) fn kill(&self, path: &str) -> Result<(), Error> {
        let deadline = Instant::now() + KILL_DEADLINE;
        let mut pause = Duration::from_millis(1);
        loop {
            self.signal(path, Signal::SIGKILL);
            if self.processes(path).is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::Deadline {
                    what: format!("killing what runs in cgroup {path}"),
                    seconds: KILL_DEADLINE.as_secs(),
                });
            }
            wait(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Removes an empty cgroup and everything beneath it from every hierarchy. Blocks for as long as the kernel is busy with it.
    pub(crate) fn remove(&self, path: &str) -> Result<(), Error> {
        for directory in self.directories(path) {
            let deadline = Instant::now() + Duration::from_secs(2);
            loop {
                match remove_directory(&directory) {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) && Instant::now() < deadline => {
                        wait(Duration::from_millis(2));
                    }
                    Err(error) => return Err(error).context(|| format!("removing {}", directory.display())),
                }
            }
        }
        Ok(())
    }

    /// Removes a cgroup if nothing is in it.
    pub(crate) fn remove_if_empty(&self, path: &str) {
        for directory in self.directories(path) {
            let _ = fs::remove_dir(directory);
        }
    }

    /// How many processes of a container the kernel has killed for memory.
    pub(crate) fn oom_kills(&self, path: &str) -> u64 {
        let (directory, file) = match self.controller("memory", path) {
            Some(directory) => (Some(directory), "memory.oom_control"),
            None => (self.unified(path), "memory.events"),
        };
        directory.and_then(|directory| keyed(&directory.join(file), "oom_kill")).unwrap_or(0)
    }

    /// Resource use of a container.
    pub(crate) fn stats(&self, path: &str) -> Option<ContainerStats> {
        let number =
            |directory: &Path, file: &str| fs::read_to_string(directory.join(file)).ok()?.trim().parse::<u64>().ok();
        if self.is_unified() {
            let directory = self.unified(path)?;
            let inactive = keyed(&directory.join("memory.stat"), "inactive_file").unwrap_or(0);
            return Some(ContainerStats {
                cpu_nanos: keyed(&directory.join("cpu.stat"), "usage_usec")?.saturating_mul(1000),
                memory_working_set_bytes: number(&directory, "memory.current")?.saturating_sub(inactive),
                pids: number(&directory, "pids.current").unwrap_or(0),
            });
        }
        let memory = self.controller("memory", path)?;
        let inactive = keyed(&memory.join("memory.stat"), "total_inactive_file").unwrap_or(0);
        Some(ContainerStats {
            cpu_nanos: number(&self.controller("cpuacct", path)?, "cpuacct.usage")?,
            memory_working_set_bytes: number(&memory, "memory.usage_in_bytes")?.saturating_sub(inactive),
            pids: self.controller("pids", path).and_then(|pids| number(&pids, "pids.current")).unwrap_or(0),
        })
    }
}

fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let point = PathBuf::from(left.split(' ').nth(4)?);
    if !point.starts_with("/sys/fs/cgroup") {
        return None;
    }
    let mut fields = right.split(' ');
    let unified = match fields.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = fields.nth(1).unwrap_or_default();
    let controllers = if unified {
        Vec::new()
    } else {
        options.split(',').filter(|option| !matches!(*option, "rw" | "ro")).map(str::to_owned).collect()
    };
    Some(Hierarchy { point, controllers, unified })
}

/// The path in a line of `/proc/PID/cgroup`; no controllers stand for version 2. `None` if it lies outside of what is mounted.
fn own_path<'a>(table: &'a str, controllers: &[String]) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let matches = match names {
            "" => controllers.is_empty(),
            names => names.split(',').any(|name| controllers.iter().any(|controller| controller == name)),
        };
        (matches && !path.split('/').any(|part| part == "..")).then_some(path)
    })
}

fn keyed(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn collect_processes(directory: &Path, found: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for child in fs::read_dir(directory).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&child.path(), found);
        }
    }
}

/// How often something is begun again because a group went in the middle of it.
const ATTEMPTS: usize = 100;

/// Groups that pods share go with the last of them, even while the next one is about to use them: then it is begun again.
fn while_others_remove(mut attempt: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    // The kernel says so when the directory is gone, when it goes between opening a file and writing to it, and when it
    // goes between being found in the way of a new one and being looked at.
    let gone = |error: &Error| {
        matches!(error, Error::Io { source, .. }
            if [Errno::ENOENT as i32, Errno::ENODEV as i32, Errno::EEXIST as i32].map(Some).contains(&source.raw_os_error()))
    };
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if gone(&error) => {}
            outcome => return outcome,
        }
    }
    attempt()
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for child in entries {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove_directory(&child.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cpu_settings_follow_the_kubelet() {
        assert_eq!([0, 1, 250, 1000].map(cpu_shares), [2, 2, 256, 1024]);
        assert_eq!([1, 10, 500, 2000].map(cpu_quota), [1000, 1000, 50_000, 200_000]);
        assert_eq!([2, 1024, 262_144].map(cpu_weight), [1, 39, 10_000]);
    }

    /// Needs root.
    #[test]
    fn groups_that_others_remove_meanwhile_are_made_again() {
        let hierarchies = Hierarchies::discover().unwrap();
        let parent = format!("/lotse-test-{}", std::process::id());
        let (shared, home) = (format!("{parent}/shared"), format!("{parent}-home"));
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    hierarchies.remove_if_empty(&shared);
                    hierarchies.remove_if_empty(&parent);
                }
            });
            let attempt = || {
                for _ in 0..300 {
                    hierarchies.join(&shared, child.id())?;
                    hierarchies.create(&format!("{shared}/pod"), &Resources::default())?;
                    hierarchies.remove(&format!("{shared}/pod"))?;
                    hierarchies.join(&home, child.id())?;
                }
                Ok::<_, Error>(())
            };
            let outcome = attempt();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            outcome
        });
        child.kill().unwrap();
        child.wait().unwrap();
        hierarchies.remove(&parent).unwrap();
        hierarchies.remove(&home).unwrap();
        outcome.unwrap();
    }

    #[test]
    fn the_own_group_is_found_in_each_hierarchy() {
        let table = "4:memory:/m\n3:cpu,cpuacct:/a b\n2:name=systemd:/../x\n0::/u\n";
        let own = |names: &[&str]| {
            let controllers: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            own_path(table, &controllers)
        };
        assert_eq!(own(&["cpu", "cpuacct"]), Some("/a b"));
        assert_eq!(own(&["memory"]), Some("/m"));
        assert_eq!(own(&[]), Some("/u"));
        assert_eq!((own(&["name=systemd"]), own(&["pids"])), (None, None));
    }

    #[test]
    fn mounts_of_all_kinds_are_recognised() {
        let v1 =
            parse_mount("36 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct")
                .unwrap();
        assert_eq!((v1.controllers, v1.unified), (vec!["cpu".to_owned(), "cpuacct".to_owned()], false));
        let named = parse_mount("37 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd").unwrap();
        assert_eq!(named.controllers, ["name=systemd"]);
        assert!(parse_mount("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate").unwrap().unified);
        assert!(parse_mount("22 1 254:1 / / rw - ext4 /dev/vda1 rw").is_none());
        assert!(parse_mount("22 1 0:40 / /mnt/x rw - cgroup2 none rw").is_none());
    }
}
