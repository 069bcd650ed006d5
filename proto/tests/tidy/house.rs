//! Lengths, module docs, and forms that this house leaves out.

use crate::source::{Class, Source, production, rust, sources};
use crate::{FILE_LINES_MAX, FILE_LINES_P95_MAX, FUNCTION_LINES_MAX, LINE_CHARS_MAX, settle};

#[test]
fn a_file_is_short_enough_to_be_read_in_one_go() {
    let too_long = |file: &Source| {
        let (path, lines) = (&file.path, file.production_lines());
        let what = format!("{path}:{FILE_LINES_MAX}: {lines} lines before its tests");
        (lines > FILE_LINES_MAX).then(|| format!("{what}; split it by noun"))
    };
    settle(rust().iter().filter_map(too_long).collect());
}

#[test]
fn nearly_every_file_is_shorter_still() {
    let mut lengths: Vec<_> =
        rust().iter().map(|file| (file.production_lines(), file.path.clone())).collect();
    lengths.sort_unstable();
    let (_, longest) = lengths.split_at(lengths.len() * 95 / 100);
    let (at_95, path) = &longest[0];
    assert!(
        *at_95 <= FILE_LINES_P95_MAX,
        "{path}:1: the 95th percentile of file lengths is {at_95}, above {FILE_LINES_P95_MAX}; \
         split one of {:?}",
        longest.iter().map(|(_, path)| path).collect::<Vec<_>>()
    );
}

#[test]
fn a_function_fits_a_screen_or_says_why_not() {
    let mut breaches = Vec::new();
    for file in rust() {
        for Function { name, line, lines } in functions(&file) {
            if lines > FUNCTION_LINES_MAX && !is_excused(&file, line) {
                breaches.push(format!(
                    "{}:{line}: fn {name} has {lines} lines, above {FUNCTION_LINES_MAX}; split \
                     it, or put `// long: <reason>` above it",
                    file.path
                ));
            }
        }
    }
    settle(breaches);
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Every function with a body, nested ones included.
fn functions(file: &Source) -> Vec<Function> {
    let code = file.only(Class::Code);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let glued = code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
        let name: String = code[at + 3..].trim_start().chars().take_while(is_name).collect();
        if glued || name.is_empty() {
            continue;
        }
        if let Some(lines) = body_lines(&code[at..]) {
            let line = code[..at].matches('\n').count() + 1;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Lines from the signature to the brace that closes the body; none where there is no body.
fn body_lines(code: &str) -> Option<usize> {
    let (mut brackets, mut braces, mut lines) = (0i32, 0i32, 1);
    for c in code.chars() {
        match c {
            '\n' => lines += 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => continue,
        }
        if c == '}' && braces == 0 && brackets == 0 {
            return Some(lines);
        }
    }
    None
}

/// Whether the comments and attributes right above that line give a reason for length.
fn is_excused(file: &Source, line: usize) -> bool {
    let lines: Vec<&str> = file.text.lines().collect();
    let above = lines[..line - 1].iter().rev().map(|line| line.trim());
    above
        .take_while(|line| !line.is_empty() && !line.ends_with(['}', ';']))
        .any(|line| line.contains("clippy::too_many_lines") || line.starts_with("// long: "))
}

#[test]
fn functions_are_found_with_their_lengths() {
    let text = "fn a() {\n    if b {\n    }\n}\ntrait T {\n    fn c(x: [u8; 2]);\n}\n\
                const fn d<const N: usize>() -> [u8; N] { [0; N] }\ntype F = fn (u8);\n";
    let file = Source { path: String::new(), text: text.to_owned() };
    let found: Vec<_> = functions(&file).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(found, [("a".to_owned(), 1, 4), ("d".to_owned(), 8, 1)]);
}

#[test]
fn a_line_fits_beside_another() {
    let mut breaches = Vec::new();
    let is_code = |file: &Source| file.is_rust() || file.path.starts_with("scripts/");
    for file in sources().iter().filter(|file| is_code(file)) {
        for (number, line) in file.lines() {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX && !line.contains("://") {
                let path = &file.path;
                breaches.push(format!(
                    "{path}:{number}: {chars} characters, above {LINE_CHARS_MAX}; break the line"
                ));
            }
        }
    }
    settle(breaches);
}

#[test]
fn every_file_opens_with_its_story() {
    let mute = |file: &Source| !file.text.trim_start().starts_with("//!");
    let breach = |file: Source| {
        let path = file.path;
        format!("{path}:1: no module doc; open with `//!`: what it is, its rules, its caveats")
    };
    settle(rust().into_iter().filter(mute).map(breach).collect());
}

#[test]
fn a_module_file_is_named_after_its_module() {
    let is_mod = |file: &Source| file.path.ends_with("/mod.rs");
    let breach = |file: Source| {
        let dir = file.path.trim_end_matches("/mod.rs").to_owned();
        format!("{}:1: a mod.rs; name it {dir}.rs", file.path)
    };
    settle(rust().into_iter().filter(is_mod).map(breach).collect());
}

#[test]
fn nothing_is_unwrapped_outside_of_tests() {
    let mut breaches = Vec::new();
    for file in production() {
        let code = file.only(Class::Code);
        for (at, line) in code.lines().take(file.production_lines()).enumerate() {
            if line.contains(".unwrap()") {
                breaches.push(format!(
                    "{}:{}: unwrap; use `?`, or `expect` with the invariant that holds",
                    file.path,
                    at + 1
                ));
            }
        }
    }
    settle(breaches);
}
