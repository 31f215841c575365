//! End-to-end tests with real clients against the real binary. They run one after another: each cluster has the machine to
//! itself, and failures can be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kubectl;
mod lifecycle;
mod refusals;
mod students;
mod tools;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = [students::trials(), tools::trials(), kubectl::trials(), lifecycle::trials(), refusals::trials()]
        .concat_trials();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Left over when only some of the claims were asked for.
    students::finish();
    tools::finish();
    kubectl::finish();
    refusals::finish();
    for directory in [lotse_e2e::state_dir(), lotse_e2e::run_dir()] {
        // Not there if nothing was started.
        let _ = std::fs::remove_dir_all(directory);
    }
    conclusion.exit_code()
}

/// Joins the groups in order.
trait ConcatTrials {
    fn concat_trials(self) -> Vec<Trial>;
}

impl<const N: usize> ConcatTrials for [Vec<Trial>; N] {
    fn concat_trials(self) -> Vec<Trial> {
        self.into_iter().flatten().collect()
    }
}

/// A test whose name is its group and its claim: `cargo test -p lotse-e2e -- students::` runs one group.
fn claim(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}
