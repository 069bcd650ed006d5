//! `rotary-chaos`: the command line of the harness.

#[cfg(all(tokio_unstable, target_os = "linux", target_env = "gnu"))]
mod system;

fn main() -> std::process::ExitCode {
    rotary_chaos::cli::run()
}
