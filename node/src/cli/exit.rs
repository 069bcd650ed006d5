//! Exit codes, the same for every command.

/// Done.
pub(crate) const OK: u8 = 0;
/// Not done.
pub(crate) const ERROR: u8 = 1;
/// Asked wrongly: flags or configuration.
pub(crate) const USAGE: u8 = 2;
/// What was asked for is not there.
pub(crate) const NOT_FOUND: u8 = 3;
/// Something else is in the way.
pub(crate) const CONFLICT: u8 = 4;
/// The token may not.
pub(crate) const AUTH: u8 = 5;
/// The cluster is not as it should be.
pub(crate) const UNHEALTHY: u8 = 10;
/// This build cannot apply what the cluster acts by: what a node ends with that meets it later
/// ([`rotary_storage::EXIT_BUILD`]).
pub(crate) const BUILD: u8 = 76;
/// It may have been done; or nobody looked whether it was.
pub(crate) const UNKNOWN: u8 = 11;

/// What the standard library's printing says when nobody reads any more, as in `rotary … | head`.
const NOBODY_READS: &str = "failed printing to stdout: Broken pipe";

/// Has the process end without a word when whoever read its output has gone: the same as `kill`
/// would have made of it, 128 and the number of SIGPIPE.
pub(crate) fn quietly_when_nobody_reads() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with(NOBODY_READS)) {
            std::process::exit(141);
        }
        loud(panic);
    }));
}
