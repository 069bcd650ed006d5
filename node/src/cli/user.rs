//! `rotary user` and `rotary login`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rotary_client::{Gateway, Method};
use rotary_proto::{Name, TenantId, UserId};
use serde_json::json;

use crate::cli::Remote;
use crate::cli::client::{CliError, change, read_all, said};
use crate::cli::output::{Format, Table, cell, rows, show};
use crate::cli::token::HolderArgs;

/// Longest file or input that is read for a password, in bytes.
const PASSWORD_FILE_BYTES_MAX: u64 = 1_024;

/// `rotary user`.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Makes a user.
    Create(CreateArgs),
    /// Lists users.
    List(Remote),
    /// Gives a user another password; every session and token of theirs ends.
    Passwd {
        /// Whom, e.g. us_7.
        id: UserId,
        #[command(flatten)]
        password: PasswordArgs,
        /// For your own: the password that you have, in a file.
        #[arg(long)]
        current_password_file: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Lets a user sign in no more; every session and token of theirs ends.
    Disable {
        /// Whom.
        id: UserId,
        /// The other way: they may sign in again.
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Where a password comes from: never from the command line, which others can see.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// The password, in a file; the first line of standard input if absent.
    #[arg(long)]
    password_file: Option<PathBuf>,
}

/// `rotary user create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What they sign in as.
    #[arg(long, value_parser = |text: &str| Name::new(text))]
    login: Name,
    #[command(flatten)]
    holder: HolderArgs,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// As whom.
    #[arg(long)]
    login: String,
    /// Of which tenant; of none if absent.
    #[arg(long)]
    tenant: Option<TenantId>,
    #[command(flatten)]
    password: PasswordArgs,
    /// A node of the cluster.
    #[arg(long, env = "ROTARY_URL", default_value = "http://127.0.0.1:7080")]
    url: Gateway,
    /// Who signs the certificates of nodes that speak TLS, in a PEM file.
    #[arg(long, env = "ROTARY_CA")]
    ca: Option<PathBuf>,
}

impl PasswordArgs {
    fn read(&self) -> Result<String, CliError> {
        match &self.password_file {
            Some(path) => read_password(path),
            None => first_line("standard input", std::io::stdin().lock()),
        }
    }
}

/// The first line of a file.
pub(crate) fn read_password(path: &Path) -> Result<String, CliError> {
    let file = std::fs::File::open(path);
    let name = path.display().to_string();
    let file = file.map_err(|error| CliError::Local(format!("{name}: {error}")))?;
    first_line(&name, file)
}

fn first_line(name: &str, from: impl std::io::Read) -> Result<String, CliError> {
    let mut text = String::new();
    let read = from.take(PASSWORD_FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| CliError::Local(format!("{name}: {error}")))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(CliError::Local(format!("{name}: the first line is to be the password")));
    }
    Ok(line.to_owned())
}

/// `rotary user …`
pub(crate) async fn run(command: UserCommand) -> Result<(), CliError> {
    match command {
        UserCommand::Create(args) => create(args).await,
        UserCommand::List(remote) => list(&remote).await,
        UserCommand::Passwd { id, password, current_password_file, remote } => {
            let current = current_password_file.as_deref().map(read_password).transpose()?;
            let body = json!({ "password": password.read()?, "current": current });
            let path = format!("/v1/users/{id}/password");
            change(&remote, Method::PUT, &path, &body).await.map(drop)
        }
        UserCommand::Disable { id, undo, remote } => {
            let path = format!("/v1/users/{id}/disabled");
            let body = json!({ "disabled": !undo });
            change(&remote, Method::PUT, &path, &body).await.map(drop)
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let CreateArgs { login, holder, password, remote } = args;
    let HolderArgs { role, tenant, site, agent } = holder;
    let body = json!({
        "login": login, "password": password.read()?, "role": role, "tenant": tenant,
        "site": site, "agent": agent,
    });
    let answer = change(&remote, Method::POST, "/v1/users", &body).await?;
    said(&remote, &answer, &cell(&answer["user"]));
    Ok(())
}

async fn list(remote: &Remote) -> Result<(), CliError> {
    let users = read_all(remote, "/v1/users").await?;
    show(remote.output, &users, |users| {
        let mut table = Table::new(["USER", "LOGIN", "ROLE", "OF", "DISABLED"]);
        for user in rows(users) {
            let of = |field: &str| cell(&user[field]);
            let whose = if user["site"].is_null() { of("tenant") } else { of("site") };
            table.row([of("user"), of("login"), of("role"), whose, of("disabled")]);
        }
        table
    });
    Ok(())
}

/// `rotary login`
pub(crate) async fn login(args: LoginArgs) -> Result<(), CliError> {
    let LoginArgs { login, tenant, password, url, ca } = args;
    let body = json!({ "login": login, "password": password.read()?, "tenant": tenant });
    let remote = Remote { url, token: String::new(), ca, output: Format::Table };
    let answer = change(&remote, Method::POST, "/v1/login", &body).await?;
    println!("{}", answer["token"].as_str().unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_and_not_nothing() {
        let read = |text: &str| first_line("x", text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(read("one two \nthree"), Ok("one two ".to_owned()));
        assert_eq!(read("one\r\n"), Ok("one".to_owned()));
        for text in ["", "\nlater"] {
            assert!(read(text).expect_err(text).contains("the first line"));
        }
    }
}
