//! What must be there before anything is started: one sentence for each thing that is missing, and what to do.

use crate::exit::{Failure, Kind};

/// Oldest kernel that has everything Lotse uses.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Refuses with everything that is missing at once.
pub(super) fn check() -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(
            Kind::Environment,
            "Lotse starts containers and sets up a network, which only root may",
        )
        .with_hint("run it with sudo"));
    }
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(found) = kernel_version(&release).filter(|found| *found < OLDEST_KERNEL) {
        let message = format!(
            "kernel {}.{} is too old: {}.{} or newer is needed",
            found.0, found.1, OLDEST_KERNEL.0, OLDEST_KERNEL.1
        );
        return Err(Failure::new(Kind::Environment, message).with_hint("update the operating system"));
    }
    let mut missing: Vec<String> = Vec::new();
    if !has_filesystem("overlay") {
        missing.push("the kernel has no overlayfs (try `modprobe overlay`)".to_owned());
    }
    missing.extend(lotse_network::check().into_iter().map(|missing| missing.to_string()));
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Environment, format!("this machine cannot run containers yet: {}", missing.join("; "))))
}

/// Whether the kernel can mount a file system of that type. Mounting is tried, in vain, because that is what makes the kernel load
/// the module; `/proc/filesystems` knows only modules that somebody has needed before.
fn has_filesystem(kind: &str) -> bool {
    let flags = nix::mount::MsFlags::MS_RDONLY;
    let nothing = "lowerdir=/proc/no-such-directory";
    nix::mount::mount(Some("none"), "/", Some(kind), flags, Some(nothing)) != Err(nix::errno::Errno::ENODEV)
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{has_filesystem, kernel_version};

    #[test]
    fn a_filesystem_that_the_kernel_does_not_have_is_missed() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        assert!(has_filesystem("overlay"));
        assert!(!has_filesystem("no-such-filesystem"));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        assert!(!mounts.contains("no-such-directory"), "{mounts}");
    }

    #[test]
    fn kernel_releases_are_understood() {
        for (release, expected) in
            [("6.18.0-1-amd64", Some((6, 18))), ("5.10.205", Some((5, 10))), ("6.1-rc3", Some((6, 1))), ("", None)]
        {
            assert_eq!(kernel_version(release), expected, "{release}");
        }
    }
}
