//! The command line as data.

mod render;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use render::{Format as RenderFormat, Render};

use crate::{output::Format, profile, settings::Partial};

/// One binary from a Git repository of Kubernetes manifests to a running system.
#[derive(Debug, Parser)]
#[command(name = "lotse", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Which cluster on this machine
    #[arg(long, global = true, env = "LOTSE_PROFILE", default_value = profile::DEFAULT, value_name = "NAME")]
    pub(crate) profile: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed
  2  wrong usage
  3  the machine lacks something, or something is in the way
  4  there is no such thing
  5  the cluster does not run or does not answer
  6  it did not become true in time";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the cluster
    Up(Up),
    /// Stop the workloads in order, then the cluster; its state stays
    #[command(after_help = "Examples:\n  lotse down\n  lotse down --profile ci")]
    Down(Down),
    /// What runs and how it is
    #[command(after_help = "Examples:\n  lotse status\n  lotse status -o json")]
    Status(Output),
    /// Delete the cluster with everything in it, volumes included
    #[command(after_help = "Examples:\n  lotse reset --yes\n  lotse reset --profile ci --yes")]
    Reset(Reset),
    /// Print the administrator's kubeconfig
    #[command(
        after_help = "Examples:\n  lotse kubeconfig > ~/.kube/config\n  export KUBECONFIG=$(lotse kubeconfig --path)"
    )]
    Kubeconfig(Kubeconfig),
    /// Print the daemon's log
    #[command(after_help = "Examples:\n  lotse logs\n  lotse logs -f --tail 20")]
    Logs(Logs),
    /// Print the version
    Version(Output),
    /// Applications: what is delivered from which repository
    #[command(subcommand)]
    App(App),
    /// Images on this machine
    #[command(subcommand)]
    Image(Image),
    /// Print the objects of a kustomization, a chart or a directory; needs no cluster
    Render(Box<Render>),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lotse up --detach
  lotse up --detach --repo https://git.example.org/team/shop.git --path deploy --namespace shop
  lotse up --profile ci --http-port 8080

Settings come from flags, then the environment (LOTSE_*), then /etc/lotse/config.toml.")]
pub(crate) struct Up {
    /// Return once the cluster is ready, and let it run in the background
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Where the cluster keeps everything [default: /var/lib/lotse/PROFILE]
    #[arg(long, env = "LOTSE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Port of the Kubernetes API [default: 6443]
    #[arg(long, env = "LOTSE_API_PORT", value_name = "PORT")]
    pub(crate) api_port: Option<u16>,
    /// Port of the edge for HTTP [default: 80]
    #[arg(long, env = "LOTSE_HTTP_PORT", value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// Port of the edge for HTTPS [default: 443]
    #[arg(long, env = "LOTSE_HTTPS_PORT", value_name = "PORT")]
    pub(crate) https_port: Option<u16>,
    /// How often remote repositories are asked for new commits [default: 10]
    #[arg(long, env = "LOTSE_POLL_SECONDS", value_name = "SECONDS")]
    pub(crate) poll_seconds: Option<u64>,
    /// Deliver this repository: creates an auto-synced Application
    #[arg(long, value_name = "URL|PATH")]
    pub(crate) repo: Option<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// For the background process
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

impl Up {
    pub(crate) fn settings(&self) -> Partial {
        Partial {
            api_port: self.api_port,
            http_port: self.http_port,
            https_port: self.https_port,
            poll_seconds: self.poll_seconds,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SourceArgs {
    /// Directory of the manifests in the repository
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) path: String,
    /// Branch, tag or commit; WORKTREE reads the files of a local working tree as they are
    #[arg(long, default_value = "HEAD", value_name = "REV")]
    pub(crate) revision: String,
    /// Namespace for objects that name none; created when missing
    #[arg(long, default_value = "default", value_name = "NS")]
    pub(crate) namespace: String,
    /// Also read the directories below, when the manifests are plain files
    #[arg(long)]
    pub(crate) recurse: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// How long workloads and daemon may take to stop
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Yes, delete it all
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Kubeconfig {
    /// Print the file's path instead of its content
    #[arg(long)]
    pub(crate) path: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on as the log grows
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum App {
    /// All Applications
    #[command(after_help = "Examples:\n  lotse app list\n  lotse app list -o json")]
    List(Output),
    /// One Application with its objects and what is wrong
    #[command(after_help = "Examples:\n  lotse app get students")]
    Get(AppName),
    /// Deliver a repository
    #[command(after_help = "\
Examples:
  lotse app create shop --repo https://git.example.org/team/shop.git --path deploy --namespace shop
  lotse app create shop --repo /srv/git/shop.git --path deploy --recurse --manual")]
    Create(AppCreate),
    /// Sync now and wait for the outcome
    #[command(after_help = "Examples:\n  lotse app sync students\n  lotse app sync students --revision v1.2 --prune")]
    Sync(AppSync),
    /// What a sync would change
    #[command(after_help = "Examples:\n  lotse app diff students\n\nExit code 1 means that there are differences.")]
    Diff(AppName),
    /// Past syncs
    #[command(after_help = "Examples:\n  lotse app history students")]
    History(AppName),
    /// Go back to an earlier sync
    #[command(
        after_help = "Examples:\n  lotse app rollback students 3\n\nAutomated sync must be off, or it would undo the rollback; --manual switches it off."
    )]
    Rollback(AppRollback),
    /// Delete an Application and what it manages
    #[command(after_help = "Examples:\n  lotse app delete students\n  lotse app delete students --keep-objects")]
    Delete(AppDelete),
}

#[derive(Debug, Args)]
pub(crate) struct AppName {
    /// Name of the Application
    pub(crate) name: String,
    /// Namespace of the Application
    #[arg(long, default_value = lotse_delivery::CONTROL_NAMESPACE, value_name = "NS")]
    pub(crate) app_namespace: String,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct AppCreate {
    #[command(flatten)]
    pub(crate) app: AppName,
    /// https://…, ssh://…, git@host:path, file:///… or a path
    #[arg(long, value_name = "URL|PATH")]
    pub(crate) repo: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Only sync when told
    #[arg(long)]
    pub(crate) manual: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AppSync {
    #[command(flatten)]
    pub(crate) app: AppName,
    /// Another revision than the Application's
    #[arg(long, value_name = "REV")]
    pub(crate) revision: Option<String>,
    /// Delete what is no longer in the repository
    #[arg(long)]
    pub(crate) prune: bool,
    /// How long to wait
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct AppRollback {
    #[command(flatten)]
    pub(crate) app: AppName,
    /// Id from `lotse app history`; the one before the last when absent
    pub(crate) id: Option<i64>,
    /// Switch automated sync off first
    #[arg(long)]
    pub(crate) manual: bool,
    /// How long to wait
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct AppDelete {
    #[command(flatten)]
    pub(crate) app: AppName,
    /// Leave the objects in the cluster
    #[arg(long)]
    pub(crate) keep_objects: bool,
    /// How long to wait
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Make an image from the tar file of a root file system
    #[command(after_help = "\
Examples:
  lotse image import rootfs.tar --name shop:v1 --entrypoint /app/shop --user 1000
  lotse image import rootfs.tar.zst --name shop:v1 --config config.json")]
    Import(ImageImport),
    /// Load an archive made by `docker save`, or an OCI layout as tar
    #[command(after_help = "Examples:\n  docker save shop:v1 -o shop.tar && lotse image load shop.tar")]
    Load(ImageLoad),
    /// All images
    #[command(after_help = "Examples:\n  lotse image ls\n  lotse image ls -o json")]
    Ls(Output),
    /// Remove images by name or id
    #[command(after_help = "Examples:\n  lotse image rm shop:v1")]
    Rm(ImageRm),
}

#[derive(Debug, Args)]
pub(crate) struct ImageImport {
    /// The tar file; gzip and zstd are recognised
    pub(crate) file: PathBuf,
    /// Name of the image
    #[arg(long)]
    pub(crate) name: String,
    /// Image configuration as JSON file (`Entrypoint`, `Cmd`, `Env`, `User`, `WorkingDir`, …); flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Program to run; repeat for its arguments
    #[arg(long, value_name = "WORD")]
    pub(crate) entrypoint: Vec<String>,
    /// Default arguments; repeat
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
    /// Environment; repeat
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// User to run as
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageLoad {
    /// The archive
    pub(crate) file: PathBuf,
    /// Name the image, instead of the names in the archive
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageRm {
    /// Names or ids
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}
