//! The command line.

mod components;
mod print_config;
mod rbac;

use std::io::{self, Write};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use spanbridge_config::diagnostic::RenderOptions;
use spanbridge_config::{Document, ProcessEnvironment, Sources};
use spanbridge_service::{Config, DEFAULT_SHUTDOWN_TIMEOUT, Logging, Registry, Service};

use crate::registry::registry_with;
use crate::{BUILD, Control, Error, Options, gates, registry, run};

/// An OpenTelemetry collector for telemetry that crosses clusters.
#[derive(Debug, Parser)]
#[command(
    name = BUILD.command,
    version = VERSION,
    disable_version_flag = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(flatten)]
    sources: SourceArgs,
    /// Longest time in which to stop after a signal.
    #[arg(long, value_name = "DURATION", default_value_t = DEFAULT_SHUTDOWN_TIMEOUT.into())]
    shutdown_timeout: spanbridge_config::Duration,
    /// Read the configuration again when one of its files changes, as on SIGHUP.
    #[arg(long)]
    watch: bool,
    /// Print the version.
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: (),
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and every component in it without starting anything.
    Validate(SourceArgs),
    /// List the component types of this program.
    Components,
    /// Print the effective configuration, defaults filled in.
    #[command(visible_alias = "print-initial-config")]
    PrintConfig(PrintArgs),
    /// About configurations.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// About Kubernetes.
    K8s {
        #[command(subcommand)]
        command: K8sCommand,
    },
    /// Generate telemetry and send it to an OTLP endpoint.
    Telemetrygen(Box<spanbridge_telemetrygen::Args>),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the JSON schema of the whole configuration.
    Schema,
}

#[derive(Debug, Subcommand)]
enum K8sCommand {
    /// Print the roles that the configuration needs, and no more, as manifests.
    Rbac(RbacArgs),
}

/// What `k8s rbac` is told.
#[derive(Debug, Args)]
struct RbacArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Name of the roles and bindings.
    #[arg(long, default_value = BUILD.command)]
    name: String,
    /// The account that gets the roles; without it there are no bindings.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: Option<rbac::ServiceAccount>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
struct SourceArgs {
    /// A file, or `file:`, `env:`, `yaml:`, `http:`, `https:` and what to read; later ones are merged over earlier ones.
    #[arg(long, value_name = "URI")]
    config: Vec<String>,
    /// A value over those of all files: `processors.batch.timeout=2s`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Feature gates to switch on, or with a leading `-` off; parted by commas.
    #[arg(long, value_name = "GATES", allow_hyphen_values = true)]
    feature_gates: Vec<String>,
}

#[derive(Debug, Args)]
struct PrintArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Whether secrets are printed.
    #[arg(long, value_enum, ignore_case = true, default_value_t = Mode::Redacted)]
    mode: Mode,
    /// In which format.
    #[arg(long, value_enum, ignore_case = true, default_value_t = Format::Yaml)]
    format: Format,
    /// Whether to validate the configuration first.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true")]
    validate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Secrets are replaced.
    Redacted,
    /// Secrets are printed.
    Unredacted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Clap prints `<name> <version>`; cobra, and so this program, `<name> version <version>`.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"));

impl Cli {
    /// Does what the command line says, until it is done or `control` asks to stop.
    ///
    /// # Errors
    /// Whatever failed; the program then exits with 1.
    pub async fn execute(self, logging: Logging, control: Control) -> Result<(), Error> {
        match self.command {
            None => {
                let registry = self.sources.registry()?;
                let options = Options {
                    sources: self.sources.checked()?,
                    shutdown_timeout: self.shutdown_timeout.get(),
                    watch: self.watch,
                };
                run(&registry, options, &logging, control).await
            }
            Some(Command::Validate(sources)) => validate(&sources.registry()?, sources),
            Some(Command::Components) => print(&components::list(&registry())),
            Some(Command::PrintConfig(args)) => print_config::print_config(&args.sources.registry()?, args),
            Some(Command::Config { command: ConfigCommand::Schema }) => {
                print(&format!("{:#}\n", registry().schema()))
            }
            Some(Command::K8s { command: K8sCommand::Rbac(args) }) => {
                rbac::print_roles(&args.sources.registry()?, args)
            }
            Some(Command::Telemetrygen(args)) => {
                let shutdown = control.shutdown().clone();
                spanbridge_telemetrygen::run(*args, shutdown).await.map(drop).map_err(Error::Telemetrygen)
            }
        }
    }
}

impl SourceArgs {
    /// The component types under the feature gates.
    fn registry(&self) -> Result<Registry, Error> {
        let (gates, _) = gates::read(&self.feature_gates).map_err(Error::Usage)?;
        Ok(registry_with(gates))
    }

    /// The sources, if there are any and the feature gates are in order.
    fn checked(self) -> Result<Sources, Error> {
        let (_, notices) = gates::read(&self.feature_gates).map_err(Error::Usage)?;
        for notice in notices {
            complain(&format!("{notice}\n"));
        }
        if self.config.is_empty() && self.set.is_empty() {
            return Err(Error::Usage("at least one config flag must be provided".into()));
        }
        Ok(Sources { configs: self.config, sets: self.set })
    }
}

/// Reads the configuration and creates its components; prints nothing but warnings.
fn validate(registry: &Registry, sources: SourceArgs) -> Result<(), Error> {
    let document = load(sources)?;
    let (config, warnings) = Config::read(&document, registry).map_err(Error::Config)?;
    if !warnings.is_empty() {
        complain(&warnings.render(RenderOptions::default()));
    }
    Ok(Service::check(config, BUILD)?)
}

/// Loads the document; prints its warnings.
fn load(sources: SourceArgs) -> Result<Document, Error> {
    let document =
        spanbridge_config::load(&sources.checked()?, &ProcessEnvironment).map_err(Error::Config)?;
    if !document.warnings().is_empty() {
        complain(&document.warnings().render(RenderOptions::default()));
    }
    Ok(document)
}

/// To standard output.
fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Error::Output)
}

/// To standard error; there is nothing to be done when that fails.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
