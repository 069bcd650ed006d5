//! The page's sections of words and tables.

use super::html::{both, cut, escape, section, table};
use super::timeline::Timeline;
use super::{LINE_CHARS_MAX, ROWS_MAX};
use crate::checkers::{Check, Finding, Judgement, Percentiles, Verdict};
use crate::history::History;

/// Lines that are shown of one finding.
const PROOFS_MAX: usize = 4;

/// What each checker's findings are, in both languages.
const MEANINGS: [(&str, &str, &str); 12] = [
    ("replay", "facts and answers that do not follow", "不符合模型的事实与应答"),
    ("real_time", "answers out of the order of time", "与实时顺序不符的应答"),
    ("total_queue", "lost, duplicated or unasked for", "丢失、重复或凭空出现"),
    ("conservation", "over capacity, or leaked", "超出座席容量或泄漏"),
    ("interval_overlap", "served by two agents at once", "同时分配给两名座席"),
    ("no_overtake", "overtaken, or kept waiting", "被插队或无故等待"),
    ("exactly_once_terminal", "offers that end twice, never or too soon", "未恰好结束一次的邀请"),
    ("dense_prefix", "gaps and repetitions in streams", "事件流中的缺口与重复"),
    ("lin_small", "conversations no order explains", "无法线性化的会话"),
    ("liveness", "sites out of service after the heal", "恢复后仍无服务的站点"),
    ("coverage", "faults that never bit, a history cut short", "未生效的故障或残缺的历史"),
    ("success_floor", "too little that succeeded", "成功的操作过少"),
];

fn sign(verdict: Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Valid => ("valid", format!("✓ {}", both("valid", "通过"))),
        Verdict::Unknown => ("unknown", format!("? {}", both("unknown", "未知"))),
        Verdict::Invalid => ("invalid", format!("✗ {}", both("invalid", "不通过"))),
    }
}

/// The verdict, what was run, and how to run it again.
pub(super) fn verdict(history: &History, judgement: &Judgement) -> String {
    let (class, words) = sign(judgement.verdict());
    let why = match judgement.verdict() {
        Verdict::Valid => both(
            "Every promise that was looked at held, and there was enough to look at.",
            "所检查的每项承诺均成立，且样本充分。",
        ),
        Verdict::Unknown => both(
            "No broken promise was found, but not everything could be found out.",
            "未发现违背承诺之处，但并非一切都能查明。",
        ),
        Verdict::Invalid => {
            both("A promise is broken; the findings below prove it.", "有承诺被违背，证据见下。")
        }
    };
    let seed = history.head.seed;
    let replay = escape(&cut(&history.head.replay, 2 * LINE_CHARS_MAX));
    let again = both("To run it again", "重现此次运行");
    let lines = history.lines.len() + 1;
    let what = both(
        &format!("Seed {seed}; {lines} lines of history."),
        &format!("种子 {seed}；历史记录共 {lines} 行。"),
    );
    let body = format!(
        "<p class=\"verdict {class}\">{words}</p><p>{why} {what}</p><h3>{again}</h3>\
         <pre tabindex=\"0\">{replay}</pre>"
    );
    section("verdict", &both("Verdict", "结论"), &body)
}

/// Every question: how many are not as promised, of how many.
pub(super) fn counts(judgement: &Judgement) -> String {
    let row = |check: &Check| {
        let meaning = MEANINGS.iter().find(|(name, ..)| *name == check.name);
        let meaning = meaning.map_or_else(|| escape(check.name), |(_, en, zh)| both(en, zh));
        let (class, words) = sign(check.verdict());
        vec![
            meaning,
            check.found.to_string(),
            check.checked.to_string(),
            escape(check.of),
            format!("<strong class=\"{class}\">{words}</strong>"),
            format!("<code>{}</code>", escape(check.name)),
        ]
    };
    let heads = [
        both("What would be wrong", "问题"),
        both("found", "发现"),
        both("of", "检查数"),
        both("what was looked at", "检查对象"),
        both("answer", "结果"),
        both("checker", "检查器"),
    ];
    let rows: Vec<Vec<String>> = judgement.checks.iter().map(row).collect();
    let caption = both("Each checker's count", "各检查器的计数");
    let body = table(&caption, &heads, 1..3, &rows);
    section("counts", &both("Counts", "计数"), &body)
}

/// Kinds of faults: done, bitten, and what came after.
pub(super) fn faults(timeline: &Timeline) -> String {
    let heads = [
        both("fault", "故障"),
        both("done", "次数"),
        both("bit", "生效"),
        both("did not bite", "未生效"),
        both("first offer after, p50 ms", "故障后首个邀请 p50 毫秒"),
        "p99 ms".to_owned(),
        "max ms".to_owned(),
    ];
    let rows: Vec<Vec<String>> = timeline
        .faults
        .iter()
        .take(ROWS_MAX * 2)
        .map(|(name, faults)| {
            let Percentiles { p50, p99, max, .. } = Percentiles::of(faults.first_offers.clone());
            let numbers = [faults.done, faults.bitten, faults.missed, p50, p99, max];
            let name = escape(&cut(name, 60));
            std::iter::once(name).chain(numbers.iter().map(u64::to_string)).collect()
        })
        .collect();
    let body = match rows.is_empty() {
        true => format!("<p>{}</p>", both("Nothing was broken.", "没有注入故障。")),
        false => {
            let caption = both("What was done to the cluster", "对集群注入的故障");
            table(&caption, &heads, 1..heads.len(), &rows)
        }
    };
    section("faults", &both("Faults", "故障"), &body)
}

/// What is wrong, with the lines that prove it, and what could not be found out.
pub(super) fn findings(history: &History, judgement: &Judgement) -> String {
    let mut body = String::new();
    for check in &judgement.checks {
        if check.findings.is_empty() && check.doubts.is_empty() {
            continue;
        }
        body.push_str(&format!("<h3><code>{}</code></h3>", escape(check.name)));
        for finding in check.findings.iter().take(ROWS_MAX) {
            body.push_str(&proved(history, finding));
        }
        let more = check.found.saturating_sub(ROWS_MAX as u64);
        if more > 0 {
            let more = both(&format!("and {more} more"), &format!("另有 {more} 项"));
            body.push_str(&format!("<p>{more}</p>"));
        }
        for doubt in check.doubts.iter().take(ROWS_MAX) {
            let doubt = escape(&cut(doubt, LINE_CHARS_MAX));
            body.push_str(&format!("<p>{}: {doubt}</p>", both("not known", "无法查明")));
        }
    }
    if body.is_empty() {
        body = format!("<p>{}</p>", both("Nothing is wrong.", "未发现问题。"));
    }
    section("findings", &both("Findings", "发现"), &body)
}

fn proved(history: &History, finding: &Finding) -> String {
    let what = escape(&cut(&finding.what, LINE_CHARS_MAX));
    let lines = finding.lines.iter().take(PROOFS_MAX).filter_map(|number| {
        let text = history.line_text(*number)?;
        Some(format!("{number}: {}\n", escape(&cut(&text, LINE_CHARS_MAX))))
    });
    let lines: String = lines.collect();
    format!("<details><summary>{what}</summary><pre tabindex=\"0\">{lines}</pre></details>")
}

/// Everything else that checkers counted.
pub(super) fn figures(judgement: &Judgement) -> String {
    let rows: Vec<Vec<String>> = judgement
        .checks
        .iter()
        .flat_map(|check| check.figures.iter().take(ROWS_MAX).map(move |figure| (check, figure)))
        .map(|(check, (name, value))| {
            let cell = |text: &str| escape(&cut(text, 120));
            vec![cell(check.name), cell(name), cell(value)]
        })
        .collect();
    let heads = [both("checker", "检查器"), both("figure", "指标"), both("value", "数值")];
    let caption = both("Figures of the checkers", "检查器的各项指标");
    section("figures", &both("Figures", "指标"), &table(&caption, &heads, 0..0, &rows))
}
