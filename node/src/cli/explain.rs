//! `rotary explain`.

use crate::cli::{exit, fail};
use crate::runbook;

/// `rotary explain CODE`; without a code, all of them.
pub(crate) fn explain(code: Option<&str>) -> u8 {
    let Some(code) = code else {
        print!("{}", runbook::listing());
        return exit::OK;
    };
    if let Some(page) = runbook::find(code) {
        print!("{}", page.text());
        return exit::OK;
    }
    let hint = match runbook::meant(code) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`rotary explain` lists every code".to_owned(),
    };
    fail(exit::NOT_FOUND, &format!("{code}: no such code; {hint}"))
}
