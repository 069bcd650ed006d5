//! A script's paragraphs: read, compared, written.

/// One script.
pub(crate) struct Page {
    pub(crate) paragraphs: Vec<Paragraph>,
}

/// Commands and what they must give.
pub(crate) struct Paragraph {
    /// Comments and commands as they stand in the file.
    head: Vec<String>,
    /// Commands alone.
    pub(crate) commands: Vec<String>,
    /// The trace.
    pub(crate) expected: Vec<String>,
}

impl Page {
    /// Takes a script apart.
    pub(crate) fn read(text: &str) -> Self {
        let paragraphs = text.split("\n\n").filter(|part| !part.trim().is_empty());
        Self { paragraphs: paragraphs.map(Paragraph::read).collect() }
    }

    /// The script as a file.
    pub(crate) fn text(&self) -> String {
        let parts: Vec<String> = self.paragraphs.iter().map(Paragraph::text).collect();
        parts.join("\n")
    }
}

impl Paragraph {
    fn read(text: &str) -> Self {
        let lines: Vec<String> = text.trim_matches('\n').lines().map(str::to_owned).collect();
        let end = lines.iter().position(|line| line == "---").unwrap_or(lines.len());
        let head = lines[..end].to_vec();
        let is_command = |line: &&String| !line.starts_with('#');
        let commands = head.iter().filter(is_command).cloned().collect();
        let expected = lines.get(end + 1..).unwrap_or_default().to_vec();
        Self { head, commands, expected }
    }

    fn text(&self) -> String {
        if self.commands.is_empty() {
            return self.head.join("\n") + "\n";
        }
        let mut lines = self.head.clone();
        lines.push("---".to_owned());
        lines.extend(self.expected.iter().cloned());
        lines.join("\n") + "\n"
    }
}

/// What differs between a paragraph and what its commands gave.
pub(crate) fn difference(paragraph: &Paragraph, trace: &[String]) -> String {
    let mut lines: Vec<String> = paragraph.head.iter().map(|line| format!("    {line}")).collect();
    let (old, new) = (&paragraph.expected, trace);
    let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let rest = (old.len() - same).min(new.len() - same);
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest);
    let tail = tail.take_while(|(old, new)| old == new).count();
    lines.extend(new[..same].iter().map(|line| format!("    {line}")));
    lines.extend(old[same..old.len() - tail].iter().map(|line| format!("  - {line}")));
    lines.extend(new[same..new.len() - tail].iter().map(|line| format!("  + {line}")));
    lines.extend(new[new.len() - tail..].iter().map(|line| format!("    {line}")));
    lines.join("\n") + "\n"
}
