//! `lotse render`: the options of `kustomize build` and `helm template`, under the same names.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(
    disable_version_flag = true,
    after_help = "\
Examples:
  lotse render overlays/production | kubectl apply -f -
  lotse render chart --name shop --namespace shop -f values-production.yaml --set image.tag=v2
  lotse render chart.tgz --show-only templates/deployment.yaml
  lotse render https://git.example.org/team/shop.git --path deploy --revision v1.2
  lotse render oci://registry.example.org/charts/shop --version 1.* --name shop
  lotse render shop --repo https://charts.example.org --version 1.2.3
  lotse render overlays/production --validate > /dev/null

Exit code 1 means that it could not be rendered, or that --validate found something; standard output is empty then."
)]
pub(crate) struct Render {
    /// Directory, packed chart (.tgz), Git repository, or chart by URL (https://….tgz, oci://…) or by name with --repo
    #[arg(value_name = "PATH|URL")]
    pub(crate) path: String,
    /// Read this branch, tag or commit instead of the files as they are
    #[arg(long, value_name = "REV")]
    pub(crate) revision: Option<String>,
    /// Directory in the Git repository, when a repository is named
    #[arg(long = "path", value_name = "DIR", default_value = ".")]
    pub(crate) directory: String,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Write files into this directory instead
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Charts: write exactly what each template prints, without reading it; with --output-dir
    #[arg(long, requires = "output_dir")]
    pub(crate) raw: bool,
    /// Check the objects against the API's schemas and rules
    #[arg(long)]
    pub(crate) validate: bool,
    /// Plain directories: also read the directories below
    #[arg(long)]
    pub(crate) recurse: bool,
    /// Ask nobody: what lies elsewhere must have been kept by an earlier run
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) chart: ChartOptions,
}

/// What only charts have.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Charts")]
pub(crate) struct ChartOptions {
    /// Name of the release
    #[arg(long, default_value = "release-name")]
    pub(crate) name: String,
    /// Chart repository of the chart that PATH names
    #[arg(long, value_name = "URL", conflicts_with_all = ["revision", "directory"])]
    pub(crate) repo: Option<String>,
    /// Version of a chart by URL or by --repo, or a constraint such as 1.*; the newest when absent
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// Fetch dependencies that are not in charts/, as helm dependency build does
    #[arg(long)]
    pub(crate) dependency_update: bool,
    /// Namespace of the release
    #[arg(long, short, default_value = "default")]
    pub(crate) namespace: String,
    /// File with values; repeat, later ones win
    #[arg(long, short = 'f', value_name = "FILE", value_delimiter = ',')]
    pub(crate) values: Vec<PathBuf>,
    /// Value: a.b[0]=value,…
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Value that is text, whatever it looks like
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set_string: Vec<String>,
    /// Value in JSON, or an object of values
    #[arg(long, value_name = "KEY=JSON")]
    pub(crate) set_json: Vec<String>,
    /// Value that is the content of a file
    #[arg(long, value_name = "KEY=FILE")]
    pub(crate) set_file: Vec<String>,
    /// Value in which nothing is special
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set_literal: Vec<String>,
    /// Version of Kubernetes
    #[arg(long, value_name = "VERSION")]
    pub(crate) kube_version: Option<String>,
    /// More API versions that the cluster has
    #[arg(long, short, value_name = "GROUP/VERSION", value_delimiter = ',')]
    pub(crate) api_versions: Vec<String>,
    /// Render for an upgrade instead of an installation
    #[arg(long)]
    pub(crate) is_upgrade: bool,
    /// Also the objects of crds/
    #[arg(long)]
    pub(crate) include_crds: bool,
    /// Leave hooks out
    #[arg(long)]
    pub(crate) no_hooks: bool,
    /// Leave tests out
    #[arg(long)]
    pub(crate) skip_tests: bool,
    /// Do not check values against values.schema.json
    #[arg(long)]
    pub(crate) skip_schema_validation: bool,
    /// Only what these templates print: templates/a.yaml
    #[arg(long, short, value_name = "TEMPLATE", value_delimiter = ',')]
    pub(crate) show_only: Vec<String>,
    /// What random functions draw from; without it every render draws anew
    #[arg(long, value_name = "TEXT")]
    pub(crate) seed: Option<String>,
}

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As the original tool prints.
    #[default]
    Yaml,
    /// One `List` in JSON.
    Json,
}
