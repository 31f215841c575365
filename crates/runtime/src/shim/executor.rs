//! The last steps inside a container before the user's program.

use std::{
    ffi::CString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask},
    unistd::{access, execv},
};
use oci_spec::runtime::Spec;

/// Finds the program in the container's own `PATH` and undoes what the shim has changed about signals.
#[derive(Clone, Debug)]
pub(crate) struct Program;

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let arguments = arguments(spec).ok_or(ExecutorError::InvalidArg)?;
        let program = find(arguments, &path_variable(spec)).map_err(ExecutorError::Other)?;
        let program =
            CString::new(program.into_os_string().into_encoded_bytes()).map_err(|_| ExecutorError::InvalidArg)?;
        let arguments: Vec<CString> = arguments
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|_| ExecutorError::InvalidArg)?;
        // Both survive execve: the mask that makes signalfd work, and Rust's choice to ignore broken pipes.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: no handler is installed, and this process has one thread.
        let reset = unsafe { sigaction(Signal::SIGPIPE, &default) };
        reset
            .and_then(|_| sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None))
            .and_then(|()| execv(&program, &arguments))
            .map(|_| ())
            .map_err(|error| ExecutorError::Other(format!("exec {program:?}: {}", error.desc())))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let refuse = ExecutorValidationError::ArgValidationError;
        let arguments = arguments(spec).ok_or_else(|| refuse("no command specified".into()))?;
        find(arguments, &path_variable(spec)).map(|_| ()).map_err(refuse)
    }
}

fn arguments(spec: &Spec) -> Option<&[String]> {
    spec.process().as_ref()?.args().as_deref().filter(|arguments| !arguments.is_empty())
}

fn path_variable(spec: &Spec) -> String {
    let environment = spec.process().as_ref().and_then(|process| process.env().as_ref());
    environment.into_iter().flatten().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default().to_owned()
}

/// The file to run, or a sentence in the words that users of Kubernetes know.
fn find(arguments: &[String], path: &str) -> Result<PathBuf, String> {
    let name = arguments.first().map(String::as_str).unwrap_or_default();
    if name.contains('/') {
        return check(Path::new(name)).map(|()| PathBuf::from(name)).map_err(|why| format!("exec: {name:?}: {why}"));
    }
    let mut denied = false;
    for directory in path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err("permission denied") => denied = true,
            Err(_) => {}
        }
    }
    let why = if denied { "permission denied" } else { "executable file not found in $PATH" };
    Err(format!("exec: {name:?}: {why}"))
}

fn check(path: &Path) -> Result<(), &'static str> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => "permission denied",
        _ => "no such file or directory",
    })?;
    if metadata.is_dir() {
        return Err("is a directory");
    }
    // The container's user is already set; root without CAP_DAC_OVERRIDE still needs one execute bit.
    if metadata.permissions().mode() & 0o111 == 0 || access(path, nix::unistd::AccessFlags::X_OK).is_err() {
        return Err("permission denied");
    }
    Ok(())
}
