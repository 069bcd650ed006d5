//! The frame of the page, and how text gets into it.

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A text that cannot be anything else in HTML or an attribute of it.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// No more than so many characters of a text, with a sign that there is more.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A text in both languages, of which one is shown.
pub(super) fn both(english: &str, chinese: &str) -> String {
    let (english, chinese) = (escape(english), escape(chinese));
    format!("<span lang=\"en\">{english}</span><span lang=\"zh\">{chinese}</span>")
}

/// A section of the page with its heading.
pub(super) fn section(id: &str, heading: &str, body: &str) -> String {
    format!("<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{heading}</h2>{body}</section>\n")
}

/// A table with its caption, heads and rows; the first cell of a row is its head, and those from
/// `numbers` on are numbers.
pub(super) fn table(
    caption: &str,
    heads: &[String],
    numbers: std::ops::Range<usize>,
    rows: &[Vec<String>],
) -> String {
    let class = |at: usize| if numbers.contains(&at) { " class=\"number\"" } else { "" };
    let head: String = heads
        .iter()
        .enumerate()
        .map(|(at, head)| format!("<th scope=\"col\"{}>{head}</th>", class(at)))
        .collect();
    let row = |row: &Vec<String>| {
        let cells: String = row
            .iter()
            .enumerate()
            .map(|(at, cell)| match at {
                0 => format!("<th scope=\"row\">{cell}</th>"),
                _ => format!("<td{}>{cell}</td>", class(at)),
            })
            .collect();
        format!("<tr>{cells}</tr>")
    };
    let rows: String = rows.iter().map(row).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"table\"><table>\
         <caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>\
         </table></div>"
    )
}

/// The whole page.
pub(super) fn document(name: &str, body: &str) -> String {
    let name = escape(&cut(name, 120));
    let title = both("Chaos run", "混沌测试");
    let skip = both("Skip to the verdict", "跳到结论");
    let (theme, language) = (both("Light or dark", "深色或浅色"), "中文 / English");
    format!(
        "<!doctype html>\n<html lang=\"en\" data-lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Rotary chaos run: {name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#verdict\">{skip}</a>\n<header><h1>{title}: {name}</h1>\
         <button type=\"button\" id=\"language\">{language}</button>\
         <button type=\"button\" id=\"theme\">{theme}</button></header>\n<main>\n{body}</main>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}
