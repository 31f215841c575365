//! Continuous delivery: Applications, Git, diff, sync, prune, health, history, rollback.
