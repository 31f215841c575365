//! The shim as a program of its own, so that the crate's tests do not need the whole of Lotse.

use std::process::ExitCode;

fn main() -> ExitCode {
    lotse_runtime::shim_main(std::env::args_os().skip(1))
}
