//! What every code means, why it appears, and what to do: the operator's book.
//!
//! A code is a stable word: the `code` of a problem, of a session's `bye`, of a failed start, of a
//! log line that wants somebody, of a check of `rotary doctor`; or the number that a process ends
//! with. One table has them all. `rotary explain` shows a page of it, a node serves the pages at
//! `/runbook/{code}`, where the `type` of a problem points, and `docs/runbook/` is written from it.
//! Tests read the sources: a code without a page fails them, and so does a page whose code is gone.
//!
//! Deliberately absent: what was wrong in one particular case. That is in the problem's `detail` or
//! in the fields of the log line.

mod answers;
mod byes;
mod exits;
mod lines;
mod starts;

use std::fmt::Write as _;

use crate::nearest::nearest;

/// One code with what there is to say about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// The stable word, or `exit-` and a number.
    pub(crate) code: &'static str,
    means: &'static str,
    why: &'static str,
    cure: &'static str,
}

/// The rows of the tables: the code, what it means, why it appears, what to do.
const fn page(
    code: &'static str,
    means: &'static str,
    why: &'static str,
    cure: &'static str,
) -> Page {
    Page { code, means, why, cure }
}

/// Where codes of one sort are met.
struct Chapter {
    title: &'static str,
    met: &'static str,
    pages: &'static [Page],
}

const CHAPTERS: [Chapter; 5] = [
    Chapter {
        title: "Answers",
        met: "Said by the HTTP API as a problem, or in a session as a refusal or a `bye`.",
        pages: answers::PAGES,
    },
    Chapter {
        title: "Ends of sockets",
        met: "Said in the `bye` with which a node closes a session's socket.",
        pages: byes::PAGES,
    },
    Chapter {
        title: "Starts that fail",
        met: "Said on standard error by a node that does not start.",
        pages: starts::PAGES,
    },
    Chapter {
        title: "Log lines and checks",
        met: "The field `code` of a node's log line, or a finding of `rotary doctor`.",
        pages: lines::PAGES,
    },
    Chapter {
        title: "Exit codes",
        met: "What a process of `rotary` ends with.",
        pages: exits::PAGES,
    },
];

/// Every page.
pub(crate) fn pages() -> impl Iterator<Item = &'static Page> {
    CHAPTERS.iter().flat_map(|chapter| chapter.pages)
}

/// The page of a code; a number stands for the exit code.
pub(crate) fn find(code: &str) -> Option<&'static Page> {
    let code = code.trim().to_lowercase();
    let exit = format!("exit-{code}");
    pages().find(|page| page.code == code || page.code == exit)
}

/// The code that was perhaps meant.
pub(crate) fn meant(code: &str) -> Option<&'static str> {
    nearest(&code.trim().to_lowercase(), pages().map(|page| page.code))
}

/// Where the page of a code is, on every node: what the `type` of a problem says.
pub(crate) fn place(code: &str) -> String {
    format!("/runbook/{code}")
}

impl Page {
    fn chapter(&self) -> &'static Chapter {
        let has = |chapter: &&Chapter| chapter.pages.iter().any(|page| page.code == self.code);
        CHAPTERS.iter().find(has).expect("a page is made in a chapter")
    }

    /// The page as Markdown, which reads well on a terminal too.
    pub(crate) fn text(&self) -> String {
        let Self { code, means, why, cure } = self;
        let mut text = format!("# `{code}`\n\n{}\n", wrapped(means));
        for (title, said) in [("Why", *why), ("What to do", *cure), ("Where", self.chapter().met)] {
            write!(text, "\n## {title}\n\n{}\n", wrapped(said)).expect("a text takes any text");
        }
        text
    }
}

/// Every code with what it means, for a terminal.
pub(crate) fn listing() -> String {
    let mut text = String::new();
    for Chapter { title, met, pages } in &CHAPTERS {
        write!(text, "{title}\n{met}\n\n").expect("a text takes any text");
        for Page { code, means, .. } in *pages {
            writeln!(text, "  {code:24}{means}").expect("a text takes any text");
        }
        text.push('\n');
    }
    text
}

/// Breaks a paragraph into lines of at most a hundred characters.
fn wrapped(paragraph: &str) -> String {
    let (mut text, mut width) = (String::new(), 0);
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 100 {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text
}

#[cfg(test)]
#[path = "runbook/tests.rs"]
mod tests;
