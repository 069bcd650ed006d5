//! `rotary debug`: what somebody needs who looks for a fault, in one file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use rotary_client::{Api, ApiError, Gateway, Patience, Trust};
use serde_json::Value;

use crate::cli::Remote;
use crate::cli::client::{CliError, read_value, trust};
use crate::cli::output::{Format, cell, rows};
use crate::debug::archive::Bundle;
use crate::debug::{cluster, metrics};

/// How long a node may take to look at itself, with what it waits for others meanwhile.
const PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(30), total: Duration::from_secs(30) };
/// Bytes of an answer that are taken into a bundle.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// `rotary debug`.
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Asks every node what it says of itself, and packs that into a file that can be given away:
    /// ids, numbers, codes, and nothing about people, addresses or secrets.
    Bundle(BundleArgs),
}

/// `rotary debug bundle`.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// Where to: a file, in the form of .tar.gz.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn command(command: DebugCommand) -> Result<(), CliError> {
    match command {
        DebugCommand::Bundle(args) => bundle(args).await,
    }
}

async fn bundle(BundleArgs { out, remote }: BundleArgs) -> Result<(), CliError> {
    let answer = read_value(&remote, "/v1/cluster").await?;
    let trusted = trust(remote.ca.as_deref())?;
    let mut bundle = Bundle::default();
    bundle.add("cluster.json", format!("{:#}\n", cluster(&answer)).into_bytes());
    for node in rows(&answer["nodes"]) {
        let asked = Asked { node: cell(&node["node"]), gateway_only: false };
        asked.tell(&node["url"], &remote, &trusted, &mut bundle).await;
    }
    for node in rows(&answer["gateways"]) {
        let asked = Asked { node: cell(&node["node"]), gateway_only: true };
        asked.tell(&node["url"], &remote, &trusted, &mut bundle).await;
    }
    let (bytes, silent) = (bundle.bytes(), bundle.silent_nodes());
    let written = bundle.write(&out);
    written.map_err(|error| CliError::Local(format!("{}: {error}", out.display())))?;
    match remote.output {
        Format::Json => {
            let said = serde_json::json!({"file": out, "bytes": bytes, "silent": silent});
            println!("{said:#}");
        }
        Format::Table => println!("{}: {bytes} bytes before they were packed", out.display()),
    }
    Ok(())
}

/// A node that is asked.
struct Asked {
    node: String,
    /// Whether it has doors only: then only what it measures is its own.
    gateway_only: bool,
}

impl Asked {
    /// Puts what it tells into the bundle, and says how far that is.
    async fn tell(&self, url: &Value, remote: &Remote, trusted: &Trust, bundle: &mut Bundle) {
        let before = bundle.bytes();
        match self.ask(url, remote, trusted, bundle).await {
            Ok(()) => eprintln!("{}: {} bytes", self.node, bundle.bytes() - before),
            Err(error) => {
                let error = CliError::from(error);
                let code = error.code().unwrap_or("unreachable").to_owned();
                eprintln!("{}: it told nothing: {error}", self.node);
                bundle.silent(&self.node, &code);
            }
        }
    }

    async fn ask(
        &self,
        url: &Value,
        remote: &Remote,
        trusted: &Trust,
        bundle: &mut Bundle,
    ) -> Result<(), ApiError> {
        let url = url.as_str().unwrap_or_default().parse::<Gateway>();
        let gateway = url.map_err(|error| ApiError::Unreadable(error.to_string()))?;
        let api = Api::new(vec![gateway], remote.token.trim(), PATIENCE)?.trusting(trusted);
        if !self.gateway_only {
            let report = api.fetch("/v1/debug").await?.body;
            if report.len() > ANSWER_BYTES_MAX {
                let why = format!("a report of {} bytes", report.len());
                return Err(ApiError::Unreadable(why));
            }
            bundle.add(&self.file("report.json"), report.to_vec());
        }
        let scrape = api.fetch("/metrics").await?.body;
        let mut shown = metrics(&String::from_utf8_lossy(&scrape));
        shown.truncate(shown.floor_char_boundary(ANSWER_BYTES_MAX));
        bundle.add(&self.file("metrics.txt"), shown.into_bytes());
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
        let node: String = self.node.chars().filter(plain).take(40).collect();
        format!("{node}/{name}")
    }
}
