//! `rotary doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use serde_json::json;

use crate::cli::client::trust;
use crate::cli::output::{Format, Table};
use crate::cli::{exit, fail, fail_with};
use crate::config::Config;
use crate::doctor::{Finding, Grade, examine, known};

/// `rotary doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The configuration of this machine's node, which may run or not.
    #[arg(long, env = "ROTARY_CONFIG", default_value = "rotary.toml")]
    config: PathBuf,
    /// Who signs the certificates of nodes that speak TLS, in a PEM file; gateway.ca_file, if
    /// absent.
    #[arg(long, env = "ROTARY_CA")]
    ca: Option<PathBuf>,
    /// How long to wait for each node, in milliseconds.
    #[arg(long, default_value_t = 3_000, value_parser = value_parser!(u64).range(10..=60_000))]
    patience_ms: u64,
    /// A token or API key that may see the cluster, to look at what it knows of its nodes, too.
    #[arg(long, env = "ROTARY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How to show what was found.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// `rotary doctor`
pub(crate) async fn doctor(args: &DoctorArgs) -> u8 {
    let config = match Config::load(&args.config, &[]) {
        Ok(config) => config,
        Err(error) => return fail_with(exit::USAGE, &error, Some("config-invalid")),
    };
    let trusted = match trust(args.ca.as_deref().or(config.gateway.trusted())) {
        Ok(trusted) => trusted,
        Err(error) => return fail(exit::USAGE, &error),
    };
    let patience = Duration::from_millis(args.patience_ms);
    let mut found = examine(&config, &trusted, patience).await;
    if let Some(token) = &args.token {
        known::look(&config, (token, &trusted), patience, &mut found).await;
    }
    match args.output {
        Format::Json => println!("{:#}", json!({"data": found})),
        Format::Table => print!("{}", table(&found)),
    }
    let worst = found.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Good);
    match worst {
        Grade::Good => exit::OK,
        Grade::Warning => {
            eprintln!("rotary: it works; `rotary explain CODE` says what to do about the warnings");
            exit::OK
        }
        Grade::Failure => {
            fail(exit::UNHEALTHY, &"`rotary explain CODE` says what to do about each failure")
        }
    }
}

fn table(found: &[Finding]) -> Table {
    let mut table = Table::new(["STATE", "CODE", "OF", "WHAT"]);
    for Finding { grade, code, of, detail } in found {
        let state = match grade {
            Grade::Good => "good",
            Grade::Warning => "warning",
            Grade::Failure => "failure",
        };
        let code = code.unwrap_or("-").to_owned();
        table.row([state.to_owned(), code, of.clone(), detail.clone()]);
    }
    table
}
