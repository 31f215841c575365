//! From a commit in a local repository to the object in the cluster, and from damage to its repair.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    Result,
    client::Seen,
    cluster::{Cluster, finish},
    load,
    report::Row,
    stats::Samples,
};

const COMMITS: usize = 50;
const HEALS: usize = 50;
const LIMIT: Duration = Duration::from_secs(60);
const APPLICATIONS: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications";

pub(super) async fn run(binaries: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let cluster = Cluster::started(binaries, "delivery")?;
    let repository = Repository::new()?;
    repository.commit("0")?;
    let path = repository.0.path().display().to_string();
    cluster.lotse(&["app", "create", "bench", "--repo", &path, "--path", ".", "--namespace", load::NAMESPACE])?;
    let target = cluster.target()?;
    let mut objects = target.watch(&load::collection()).await?;
    let mut applications = target.watch(APPLICATIONS).await?;
    let mut connection = target.connect().await?;
    // A first change shows that the Application is at work.
    repository.commit("first")?;
    until(&mut objects, |seen| value(seen) == "first").await?;

    let (mut stored, mut synced) = (Samples::default(), Samples::default());
    for number in 0..COMMITS {
        let text = format!("commit-{number}");
        let revision = repository.commit(&text)?;
        // The commit stands when git returns; making it is not ours to speed up.
        let committed = Instant::now();
        let object = until(&mut objects, |seen| value(seen) == text).await?;
        stored.push(millis_since(committed, object));
        let status = until(&mut applications, |seen| is_synced(seen.object(), &revision)).await?;
        synced.push(millis_since(committed, status));
    }
    let object = format!("{}/delivered", load::collection());
    let (mut patched, mut deleted) = (Samples::default(), Samples::default());
    for number in 0..HEALS {
        // Damage without end is taken for a fight and healed more and more slowly; a new commit begins anew.
        let wanted = format!("heal-{number}");
        repository.commit(&wanted)?;
        until(&mut objects, |seen| value(seen) == wanted).await?;
        let sent = Instant::now();
        connection.patch(&object, &json!({"data": {"value": "damaged"}})).await?;
        until(&mut objects, |seen| value(seen) == "damaged").await?;
        patched.push(millis_since(sent, until(&mut objects, |seen| value(seen) == wanted).await?));
        let sent = Instant::now();
        connection.delete(&object).await?;
        until(&mut objects, |seen| seen.event["type"] == "DELETED" && seen.name() == "delivered").await?;
        deleted.push(millis_since(sent, until(&mut objects, |seen| value(seen) == wanted).await?));
    }
    let text = |samples: &Samples| format!("{:.0} ms, p99 {:.0} ms", samples.median(), samples.p99());
    rows.push(
        Row::new(
            format!("commit to changed object; to Application Synced ({COMMITS} commits)"),
            format!("{}; {}", text(&stored), text(&synced)),
        )
        .goal("p99 < 2000 ms", synced.p99() < 2000.0),
    );
    rows.push(
        Row::new(
            format!("self-heal of a patched; of a deleted object ({HEALS} each)"),
            format!("{}; {}", text(&patched), text(&deleted)),
        )
        .goal("p99 < 2000 ms", patched.p99() < 2000.0 && deleted.p99() < 2000.0),
    );
    Ok(())
}

/// `0` for an event that came before the moment from which it is counted.
fn millis_since(moment: Instant, seen: Seen) -> f64 {
    seen.at.saturating_duration_since(moment).as_secs_f64() * 1e3
}

/// The value of the delivered object after an event; nothing for other objects and deletions.
fn value(seen: &Seen) -> &str {
    if seen.name() != "delivered" || seen.event["type"] == "DELETED" {
        return "";
    }
    seen.object()["data"]["value"].as_str().unwrap_or_default()
}

fn is_synced(application: &Value, revision: &str) -> bool {
    let sync = &application["status"]["sync"];
    sync["status"] == "Synced" && sync["revision"] == revision
}

async fn until(events: &mut UnboundedReceiver<Seen>, condition: impl Fn(&Seen) -> bool) -> Result<Seen> {
    let wanted = async {
        loop {
            match events.recv().await {
                Some(seen) if condition(&seen) => return Ok(seen),
                Some(_) => {}
                None => return Err("a watch has ended"),
            }
        }
    };
    Ok(tokio::time::timeout(LIMIT, wanted).await.map_err(|_| "what was committed does not arrive")??)
}

struct Repository(TempDir);

impl Repository {
    fn new() -> Result<Self> {
        let repository = Self(TempDir::with_prefix("lotse-bench-git-")?);
        repository.git(&["init", "--quiet", "--initial-branch=main"])?;
        Ok(repository)
    }

    /// Commits the object with this value; the commit's id.
    fn commit(&self, value: &str) -> Result<String> {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "delivered"}, "data": {"value": value},
        });
        std::fs::write(self.0.path().join("object.yaml"), object.to_string())?;
        self.git(&["add", "."])?;
        self.git(&["commit", "--quiet", "--message", value])?;
        let head = self.command(&["rev-parse", "HEAD"]).output()?;
        Ok(String::from_utf8_lossy(&head.stdout).trim().to_owned())
    }

    fn git(&self, arguments: &[&str]) -> Result<()> {
        finish(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.0.path());
        command.args(["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgSign=false"]);
        command.args(arguments);
        command
    }
}
