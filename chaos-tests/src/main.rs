//! `rotary-chaos`: the command line of the harness.

#[cfg(all(tokio_unstable, target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod system;

fn main() -> std::process::ExitCode {
    rotary_chaos::cli::run()
}
