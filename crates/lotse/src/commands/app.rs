//! `lotse app`.

use std::{
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use lotse_client::Key;
use lotse_delivery::{
    CONTROL_NAMESPACE,
    application::{Application, ApplicationStatus, RESOURCES_FINALIZER, Source},
};
use serde_json::{Value, json};

use crate::{
    cli::{App, AppCreate, AppDelete, AppName, AppRollback, AppSync, SourceArgs},
    client,
    exit::{Failure, Kind},
    output::{self, Format},
    profile::Profile,
};

pub(crate) async fn run(profile: &Profile, command: App) -> Result<(), Failure> {
    let client = client::connect(profile).await?;
    match command {
        App::List(arguments) => list(&client, arguments.output).await,
        App::Get(arguments) => get(&client, &arguments).await,
        App::Create(arguments) => {
            let AppCreate { app, repo, source, manual } = arguments;
            create(&client, &app.app_namespace, &app.name, &repo, &source, !manual).await?;
            output::print(&format!("application {} created", app.name))
        }
        App::Sync(arguments) => sync(&client, &arguments).await,
        App::Diff(arguments) => diff(profile, &client, &arguments).await,
        App::History(arguments) => history(&client, &arguments).await,
        App::Rollback(arguments) => rollback(&client, &arguments).await,
        App::Delete(arguments) => delete(&client, &arguments).await,
    }
}

fn api(client: &Client, namespace: &str) -> Api<Application> {
    Api::namespaced(client.clone(), namespace)
}

async fn read(client: &Client, arguments: &AppName) -> Result<Application, Failure> {
    let found = api(client, &arguments.app_namespace).get(&arguments.name).await;
    found.map_err(|error| Failure::from_api("application", &error))
}

/// The beginning of a commit; a chart's version as it is.
pub(super) fn short(revision: &str) -> String {
    let is_commit = revision.len() >= 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit { revision.chars().take(7).collect() } else { revision.to_owned() }
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// Directory or chart, and revision, of a source, with the defaults that stand for what is left out.
fn wanted(source: &Source) -> (&str, &str) {
    let (place, newest) = match &source.chart {
        Some(chart) => (chart.as_str(), "newest"),
        None => (source.path.as_str(), "HEAD"),
    };
    (or(place, "."), or(&source.target_revision, newest))
}

async fn list(client: &Client, format: Format) -> Result<(), Failure> {
    let all: Api<Application> = Api::all(client.clone());
    let found = all.list(&ListParams::default()).await.map_err(|error| Failure::from_api("applications", &error))?;
    format.print(&found.items, || {
        let rows: Vec<Vec<String>> = found
            .items
            .iter()
            .map(|application| {
                let status = application.status.clone().unwrap_or_default();
                let source = application.spec.all_sources().first().map(|source| (*source).clone()).unwrap_or_default();
                vec![
                    application.metadata.name.clone().unwrap_or_default(),
                    application.spec.destination.namespace.clone(),
                    status.sync.status,
                    status.health.status,
                    short(&status.sync.revision),
                    source.repo_url.clone(),
                    wanted(&source).0.to_owned(),
                ]
            })
            .collect();
        output::table(&["NAME", "NAMESPACE", "SYNC", "HEALTH", "REVISION", "REPOSITORY", "PATH/CHART"], &rows)
    })
}

async fn get(client: &Client, arguments: &AppName) -> Result<(), Failure> {
    let application = read(client, arguments).await?;
    arguments.output.print(&application, || describe(&application))
}

/// Everything about an Application on one screen, the causes of trouble first.
fn describe(application: &Application) -> String {
    let status = application.status.clone().unwrap_or_default();
    let source = application.spec.all_sources().first().map(|source| (*source).clone()).unwrap_or_default();
    let mut text = String::new();
    let name = application.metadata.name.clone().unwrap_or_default();
    let (good, bad) = (status.health.status == "Healthy", status.health.status == "Degraded");
    let health = output::colored(or(&status.health.status, "Unknown"), good, bad);
    let of_chart = if source.chart.is_some() { "version" } else { "commit" };
    let (objects, revision) = (status.resources.len(), or(&short(&status.sync.revision), "unknown").to_owned());
    let _ = writeln!(text, "{name}: {}, {health} ({objects} objects, {of_chart} {revision})", status.sync.status);
    if !status.health.message.is_empty() {
        let _ = writeln!(text, "  {}", status.health.message);
    }
    for condition in &status.conditions {
        let _ = writeln!(text, "  {}: {}", condition.kind, condition.message);
    }
    let (place, revision) = wanted(&source);
    let _ = writeln!(text, "source     {} {place} ({revision})", source.repo_url);
    let _ = writeln!(text, "revision   {}", status.sync.revision);
    let _ = writeln!(text, "namespace  {}", application.spec.destination.namespace);
    if let Some(state) = &status.operation_state {
        let _ = writeln!(text, "last sync  {}: {}", state.phase, state.message);
    }
    let results = status.operation_state.as_ref().and_then(|state| state.sync_result.as_ref());
    let results = results.map(|result| result.resources.as_slice()).unwrap_or_default();
    let rows: Vec<Vec<String>> = status
        .resources
        .iter()
        .map(|resource| {
            let health = resource.health.clone().unwrap_or_default();
            // Why the last sync could not apply it says more than that it is missing.
            let failure = results.iter().find(|result| {
                result.status == "SyncFailed"
                    && (&result.group, &result.kind, &result.namespace, &result.name)
                        == (&resource.group, &resource.kind, &resource.namespace, &resource.name)
            });
            let message =
                failure.filter(|_| resource.status == "OutOfSync").map_or(health.message, |f| f.message.clone());
            let sync = if resource.requires_pruning { "Prune" } else { resource.status.as_str() };
            vec![
                resource.kind.clone(),
                resource.namespace.clone(),
                resource.name.clone(),
                sync.to_owned(),
                health.status,
                message,
            ]
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&output::table(&["KIND", "NAMESPACE", "NAME", "SYNC", "HEALTH", "MESSAGE"], &rows));
    }
    text
}

/// Creates or changes an Application by server-side apply.
pub(crate) async fn create(
    client: &Client,
    namespace: &str,
    name: &str,
    repo: &str,
    source: &SourceArgs,
    automated: bool,
) -> Result<(), Failure> {
    let parameters = PatchParams::apply("lotse-cli").force();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    namespaces
        .patch(namespace, &parameters, &Patch::Apply(&object))
        .await
        .map_err(|error| Failure::from_api(format!("namespace {namespace}"), &error))?;
    let mut policy = json!({
        "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"],
        "retry": {"limit": 5, "backoff": {"duration": "1s", "factor": 2, "maxDuration": "1m"}},
    });
    if automated {
        policy["automated"] = json!({"prune": true, "selfHeal": true});
    }
    let mut object = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": namespace, "finalizers": [RESOURCES_FINALIZER]},
        "spec": {
            "project": "default",
            "source": {"repoURL": absolute(repo), "targetRevision": source.revision, "path": source.path},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": source.namespace},
            "syncPolicy": policy,
        },
    });
    if source.recurse {
        object["spec"]["source"]["directory"] = json!({"recurse": true});
    }
    api(client, namespace)
        .patch(name, &parameters, &Patch::Apply(&object))
        .await
        .map_err(|error| Failure::from_api(format!("application {name}"), &error))?;
    Ok(())
}

/// A path is made absolute, since the daemon has another working directory; a URL stays as it is.
fn absolute(repo: &str) -> String {
    if repo.contains("://") || (repo.contains(':') && !Path::new(repo).exists()) {
        return repo.to_owned();
    }
    std::path::absolute(repo).map_or_else(|_| repo.to_owned(), |path| path.display().to_string())
}

async fn sync(client: &Client, arguments: &AppSync) -> Result<(), Failure> {
    let operation =
        json!({"sync": {"revision": arguments.revision.clone().unwrap_or_default(), "prune": arguments.prune}});
    operate(client, &arguments.app, operation, arguments.timeout).await
}

/// Starts an operation and waits until it has ended.
async fn operate(client: &Client, app: &AppName, mut operation: Value, timeout: u64) -> Result<(), Failure> {
    let before = read(client, app).await?;
    operation["initiatedBy"] = json!({"username": "admin", "automated": false});
    let patch = json!({"operation": operation});
    api(client, &app.app_namespace)
        .patch(&app.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|error| Failure::from_api(format!("application {}", app.name), &error))?;
    let started_before = started_at(before.status.as_ref());
    let deadline = Instant::now() + Duration::from_secs(timeout);
    loop {
        let now = read(client, app).await?;
        let state = now.status.as_ref().and_then(|status| status.operation_state.clone());
        if let Some(state) =
            state.filter(|_| now.operation.is_none() && started_at(now.status.as_ref()) != started_before)
        {
            match state.phase.as_str() {
                "Running" => {}
                "Succeeded" => {
                    app.output.print(&now, || describe(&now))?;
                    return Ok(());
                }
                _ => return Err(Failure::new(Kind::Failed, format!("application {}: {}", app.name, state.message))),
            }
        }
        if Instant::now() > deadline {
            return Err(Failure::new(
                Kind::TimedOut,
                format!("application {} was not synced within {timeout} s", app.name),
            )
            .with_hint(format!("`lotse app get {}` says what it waits for", app.name)));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn started_at(status: Option<&ApplicationStatus>) -> Option<String> {
    Some(status?.operation_state.as_ref()?.started_at?.to_string())
}

async fn diff(profile: &Profile, client: &Client, arguments: &AppName) -> Result<(), Failure> {
    let key = Key::namespaced(&arguments.app_namespace, &arguments.name);
    let mirrors = profile.data_dir.join("delivery");
    let differences = lotse_delivery::diff(client, &key, mirrors)
        .await
        .map_err(|error| Failure::from_error(format!("application {}", arguments.name), &error))?;
    let mut text = String::new();
    for difference in &differences {
        let _ = writeln!(text, "=== {} {} ===", difference.kind, difference.name);
        text.push_str(&difference.text);
    }
    arguments.output.print(&differences, || text)?;
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(Kind::Failed, format!("{} objects differ", differences.len())))
    }
}

async fn history(client: &Client, arguments: &AppName) -> Result<(), Failure> {
    let application = read(client, arguments).await?;
    let history = application.status.map(|status| status.history).unwrap_or_default();
    arguments.output.print(&history, || {
        let rows: Vec<Vec<String>> = history
            .iter()
            .map(|entry| {
                let date = entry.deployed_at.map(|at| at.to_string()).unwrap_or_default();
                vec![entry.id.to_string(), date, short(&entry.revision), wanted(&entry.source).1.to_owned()]
            })
            .collect();
        output::table(&["ID", "DATE", "REVISION", "TARGET"], &rows)
    })
}

async fn rollback(client: &Client, arguments: &AppRollback) -> Result<(), Failure> {
    let name = &arguments.app.name;
    let application = read(client, &arguments.app).await?;
    if application.spec.automated().is_some() {
        if !arguments.manual {
            return Err(Failure::new(
                Kind::Usage,
                format!("application {name} is synced automatically, which would undo the rollback"),
            )
            .with_hint("say --manual to switch automated sync off, or revert the commit in Git"));
        }
        let patch = json!({"spec": {"syncPolicy": {"automated": null}}});
        api(client, &arguments.app.app_namespace)
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(|error| Failure::from_api(format!("application {name}"), &error))?;
    }
    let history = application.status.map(|status| status.history).unwrap_or_default();
    let entry = match arguments.id {
        Some(id) => history.iter().find(|entry| entry.id == id),
        None => history.iter().rev().nth(1),
    };
    let entry = entry.ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("application {name} has no such entry in its history"))
            .with_hint(format!("`lotse app history {name}` lists them"))
    })?;
    let operation = json!({"sync": {"revision": entry.revision, "prune": true}});
    operate(client, &arguments.app, operation, arguments.timeout).await
}

async fn delete(client: &Client, arguments: &AppDelete) -> Result<(), Failure> {
    let name = &arguments.app.name;
    let applications = api(client, &arguments.app.app_namespace);
    let failure = |error: kube::Error| Failure::from_api(format!("application {name}"), &error);
    let current = applications.get(name).await.map_err(failure)?;
    let mut finalizers = current.metadata.finalizers.unwrap_or_default();
    finalizers.retain(|finalizer| !finalizer.starts_with(RESOURCES_FINALIZER));
    if !arguments.keep_objects {
        finalizers.push(RESOURCES_FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {"finalizers": finalizers}});
    applications.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(failure)?;
    applications.delete(name, &DeleteParams::default()).await.map_err(failure)?;
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    while applications.get_opt(name).await.map_err(failure)?.is_some() {
        if Instant::now() > deadline {
            return Err(Failure::new(
                Kind::TimedOut,
                format!("application {name} is not gone after {} s", arguments.timeout),
            )
            .with_hint("some of its objects wait for finalizers; it goes on being deleted"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    output::print(&format!("application {name} deleted"))
}

/// Creates the Application that `lotse up --repo` asks for; its name is the repository's.
pub(crate) async fn create_for_repo(client: &Client, repo: &str, source: &SourceArgs) -> Result<String, Failure> {
    let repo = absolute(repo);
    let last = repo.trim_end_matches('/').trim_end_matches(".git").rsplit(['/', ':']).next().unwrap_or_default();
    let mut name: String = last
        .to_lowercase()
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .take(50)
        .collect();
    name = name.trim_matches('-').to_owned();
    if name.is_empty() {
        "app".clone_into(&mut name);
    }
    create(client, CONTROL_NAMESPACE, &name, &repo, source, true).await?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_leaves_out_is_shown_by_its_default() {
        let directory = Source { path: "deploy".into(), ..Source::default() };
        assert_eq!(wanted(&directory), ("deploy", "HEAD"));
        assert_eq!(wanted(&Source { target_revision: "v1".into(), ..Source::default() }), (".", "v1"));
        let chart = Source { chart: Some("redis".into()), ..Source::default() };
        assert_eq!(wanted(&chart), ("redis", "newest"));
        assert_eq!(wanted(&Source { target_revision: "1.*".into(), ..chart.clone() }), ("redis", "1.*"));
    }
}
