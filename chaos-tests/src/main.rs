//! `rotary-chaos`: the command line of the harness.

fn main() -> std::process::ExitCode {
    rotary_chaos::cli::run()
}
