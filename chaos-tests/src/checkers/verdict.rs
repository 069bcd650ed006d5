//! What a checker says.

use std::fmt;

use serde::Serialize;

/// Findings that are kept of one checker; more are counted.
pub const FINDINGS_MAX: usize = 50;
/// Lines that are kept as proof of one finding.
const LINES_MAX: usize = 16;

/// How a question was answered. In the order of their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was looked at is as promised, and there was enough of it.
    Valid,
    /// It could not be found out. This is never as good as valid.
    Unknown,
    /// A promise is broken.
    Invalid,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Valid => "valid",
            Self::Unknown => "unknown",
            Self::Invalid => "INVALID",
        })
    }
}

/// Something that is not as promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// The numbers of the history's lines that prove it.
    pub lines: Vec<usize>,
}

/// What one checker found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The checker's name.
    pub name: &'static str,
    /// Of what it looked at so many.
    pub of: &'static str,
    /// How many it looked at.
    pub checked: u64,
    /// How many are not as promised.
    pub found: u64,
    /// The first [`FINDINGS_MAX`] of them.
    pub findings: Vec<Finding>,
    /// What kept it from finding out.
    pub doubts: Vec<String>,
    /// Figures for people, by name.
    pub figures: Vec<(String, String)>,
    /// The times behind some of the figures, in milliseconds, for sums over runs.
    pub times: Vec<(String, Vec<u64>)>,
}

impl Check {
    /// Nothing looked at so far, by the checker of that name, which looks at `of`.
    pub fn new(name: &'static str, of: &'static str) -> Self {
        let (findings, doubts, figures, times) = (vec![], vec![], vec![], vec![]);
        Self { name, of, checked: 0, found: 0, findings, doubts, figures, times }
    }

    /// Something is not as promised.
    pub fn find(&mut self, what: impl Into<String>, lines: impl IntoIterator<Item = usize>) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            let lines = lines.into_iter().filter(|line| *line > 0).take(LINES_MAX).collect();
            self.findings.push(Finding { what: what.into(), lines });
        }
    }

    /// Something could not be found out.
    pub fn doubt(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.doubts.len() < FINDINGS_MAX && !self.doubts.contains(&what) {
            self.doubts.push(what);
        }
    }

    /// A figure for people.
    pub fn figure(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.figures.push((name.into(), value.to_string()));
    }

    /// Times in milliseconds; for people their percentiles.
    pub fn times(&mut self, name: impl Into<String>, values: Vec<u64>) {
        let name = name.into();
        self.figure(name.clone(), Percentiles::of(values.clone()));
        self.times.push((name, values));
    }

    /// Doubts the answer where nothing was looked at.
    #[must_use]
    pub fn unless_empty(mut self) -> Self {
        if self.checked == 0 {
            let of = self.of;
            self.doubt(format!("there are no {of} in the history"));
        }
        self
    }

    /// How the question was answered.
    pub fn verdict(&self) -> Verdict {
        match (self.found, self.doubts.is_empty()) {
            (0, true) => Verdict::Valid,
            (0, false) => Verdict::Unknown,
            _ => Verdict::Invalid,
        }
    }
}

/// What all checkers say of one history.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Judgement {
    /// One for each question.
    pub checks: Vec<Check>,
}

impl Judgement {
    /// The worst of all answers; unknown where nothing was asked.
    pub fn verdict(&self) -> Verdict {
        self.checks.iter().map(Check::verdict).max().unwrap_or(Verdict::Unknown)
    }

    /// That checker's answer.
    pub fn of(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

/// A table for people, the findings and the doubts below it.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let Check { name, of, checked, found, .. } = check;
            let verdict = check.verdict();
            writeln!(f, "{name:<22} {verdict:<8} {found:>6} of {checked:>9} {of}")?;
            for (name, value) in &check.figures {
                writeln!(f, "    {name}: {value}")?;
            }
        }
        for check in &self.checks {
            let name = check.name;
            for finding in &check.findings {
                writeln!(f, "{name}: {} (lines {:?})", finding.what, finding.lines)?;
            }
            for doubt in &check.doubts {
                writeln!(f, "{name}: not known: {doubt}")?;
            }
        }
        writeln!(f, "verdict: {}", self.verdict())
    }
}

/// The middle, the 99th of a hundred and the largest of some milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Percentiles {
    /// How many there are.
    pub count: usize,
    /// The middle one.
    pub p50: u64,
    /// The one that 99 of a hundred are at or below.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Percentiles {
    /// Of those, in any order (nearest rank).
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |share: usize| {
            let rank = (values.len() * share).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or_default()
        };
        Self { count: values.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p99, max } = self;
        write!(f, "p50 {p50} ms, p99 {p99} ms, max {max} ms of {count}")
    }
}
