//! The picture of a run: lanes over one axis of time.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::html::{both, cut, escape, section, table};
use super::timeline::{Stretch, Timeline};
use super::{BUCKETS_MAX, ROWS_MAX};

/// The picture's width, and where its lanes begin and end.
const WIDTH: u64 = 1_000;
const LEFT: u64 = 130;
const RIGHT: u64 = 990;
/// Heights of the charts and of a lane.
const CHART: u64 = 130;
const LANE: u64 = 16;
const GAP: u64 = 26;

/// A picture being drawn from the top down.
struct Drawing<'a> {
    timeline: &'a Timeline,
    svg: String,
    y: u64,
}

/// The section with the picture, what its signs mean, and the same as a table.
pub(super) fn over_time(timeline: &Timeline) -> String {
    let mut drawing = Drawing { timeline, svg: String::new(), y: 18 };
    drawing.operations();
    drawing.latencies();
    drawing.faults();
    drawing.leaders();
    drawing.axis();
    let Drawing { svg, y, .. } = drawing;
    let picture = format!(
        "<svg viewBox=\"0 0 {WIDTH} {y}\" role=\"img\" aria-labelledby=\"picture\">\
         <title id=\"picture\">Operations a second, latencies, faults and leaders over the run; \
         the table below has the figures</title>{svg}</svg>"
    );
    let body = format!("{}<div class=\"scroll\">{picture}</div>{}", legend(), figures(timeline));
    section("timeline", &both("Over time", "时间线"), &body)
}

fn legend() -> String {
    let words = [
        both("columns: ok below, then fail, unknown on top", "柱：下为成功，中为失败，上为未知"),
        both("lines: p50 solid, p99 dashed, max dotted", "线：实线 p50，虚线 p99，点线最大值"),
        both("diamonds: first offer after a fault", "菱形：故障后的首个邀请"),
        both("bars: faults; lanes below: who led", "横条：故障；下方泳道：主节点"),
    ];
    let items: String = words.iter().map(|words| format!("<li>{words}</li>")).collect();
    format!("<ul class=\"legend\">{items}</ul>")
}

impl Drawing<'_> {
    /// Where a time is, in tenths of a unit.
    fn x(&self, at_ms: u64) -> f64 {
        let share = at_ms.min(self.timeline.end_ms) as f64 / self.timeline.end_ms as f64;
        LEFT as f64 + share * (RIGHT - LEFT) as f64
    }

    fn text(&mut self, x: u64, y: u64, anchor: &str, text: &str) {
        let text = escape(&cut(text, 22));
        let _ = write!(
            self.svg,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" class=\"soft\">{text}</text>"
        );
    }

    fn rectangle(&mut self, (from, to): (f64, f64), y: f64, height: f64, class: &str, hint: &str) {
        let width = (to - from).max(1.0);
        let hint = escape(&cut(hint, 80));
        let _ = write!(
            self.svg,
            "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             class=\"{class}\"><title>{hint}</title></rect>"
        );
    }

    /// Stacked columns: ok, fail, unknown.
    fn operations(&mut self) {
        let timeline = self.timeline;
        let per_second = 1_000.0 / timeline.bucket_ms as f64;
        let all = |bucket: &super::timeline::Bucket| bucket.ok + bucket.fail + bucket.unknown;
        let most = timeline.buckets.iter().map(all).max().unwrap_or(1).max(1);
        let bottom = (self.y + CHART) as f64;
        self.text(LEFT - 8, self.y + 10, "end", &format!("{:.0}/s", most as f64 * per_second));
        self.text(LEFT - 8, self.y + CHART, "end", "0/s");
        for (at, bucket) in timeline.buckets.iter().enumerate() {
            let from_ms = at as u64 * timeline.bucket_ms;
            let columns = (self.x(from_ms), self.x(from_ms + timeline.bucket_ms) - 0.5);
            let mut y = bottom;
            for (count, class) in
                [(bucket.ok, "ok"), (bucket.fail, "fail"), (bucket.unknown, "unknown")]
            {
                if count > 0 {
                    let height = count as f64 / most as f64 * CHART as f64;
                    y -= height;
                    self.rectangle(columns, y, height, class, &format!("{count} {class}"));
                }
            }
        }
        self.marks(CHART);
        self.y += CHART + GAP;
    }

    /// Where phases begin; names that would lie over the one before are left to the lines.
    fn marks(&mut self, height: u64) {
        let mut free_from = 0.0;
        for (at_ms, name) in &self.timeline.marks {
            let (x, y) = (self.x(*at_ms), self.y);
            let bottom = y + height;
            let _ = write!(
                self.svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{bottom}\" class=\"mark\"/>"
            );
            let width = 7.0 * name.chars().take(22).count() as f64;
            let from = (x - 3.0).min(WIDTH as f64 - width);
            if from >= free_from {
                free_from = from + width;
                self.text(from as u64, y - 4, "start", name);
            }
        }
    }

    /// Percentiles as lines, on a scale that doubles.
    fn latencies(&mut self) {
        let timeline = self.timeline;
        let dots = timeline.first_offers.iter().map(|(_, took)| *took);
        let highest = timeline.buckets.iter().map(|bucket| bucket.latency.max).chain(dots);
        let most = highest.max().unwrap_or(1).max(16) as f64;
        let (top, y) = (self.y, |took: u64| (took as f64 + 1.0).ln() / (most + 1.0).ln());
        let height = |took: u64| (top + CHART) as f64 - y(took) * CHART as f64;
        self.text(LEFT - 8, self.y + 10, "end", &format!("{most:.0} ms"));
        self.text(LEFT - 8, self.y + CHART, "end", "0 ms");
        type Of = fn(&crate::checkers::Percentiles) -> u64;
        let lines: [(&str, Of); 3] =
            [("p50", |of| of.p50), ("p99", |of| of.p99), ("most", |of| of.max)];
        for (class, of) in lines {
            let mut points = String::new();
            for (at, bucket) in timeline.buckets.iter().enumerate() {
                if bucket.latency.count > 0 {
                    let x = self.x(at as u64 * timeline.bucket_ms + timeline.bucket_ms / 2);
                    let _ = write!(points, "{x:.1},{:.1} ", height(of(&bucket.latency)));
                }
            }
            let _ = write!(self.svg, "<polyline points=\"{points}\" class=\"{class}\"/>");
        }
        for (at_ms, took) in &timeline.first_offers {
            let (x, y) = (self.x(*at_ms), height(*took));
            let _ = write!(
                self.svg,
                "<path d=\"M{x:.1} {:.1}l5 5l-5 5l-5-5z\" class=\"bad\"><title>first offer after \
                 {took} ms</title></path>",
                y - 5.0
            );
        }
        self.y += CHART + GAP;
    }

    fn faults(&mut self) {
        for (name, faults) in self.timeline.faults.iter().take(ROWS_MAX) {
            let class = if faults.bitten == 0 { "missed" } else { "bad" };
            self.lane(name, &faults.bars, |_| class.to_owned());
        }
        self.y += GAP / 2;
    }

    fn leaders(&mut self) {
        let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
        for stretch in self.timeline.leaders.values().flatten() {
            let next = nodes.len();
            nodes.entry(&stretch.what).or_insert(next);
        }
        for (shard, lane) in self.timeline.leaders.iter().take(ROWS_MAX) {
            self.lane(&shard.to_string(), lane, |stretch| match stretch.what.as_str() {
                "" => "missed".to_owned(),
                node => format!("lane-{}", nodes.get(node).map_or(0, |at| at % 5)),
            });
        }
    }

    fn lane(&mut self, name: &str, lane: &[Stretch], class: impl Fn(&Stretch) -> String) {
        self.text(LEFT - 8, self.y + LANE - 5, "end", name);
        for stretch in lane {
            let Stretch { from_ms, to_ms, what } = stretch;
            let hint = format!("{name} {what}, {from_ms} to {to_ms} ms");
            let columns = (self.x(*from_ms), self.x(*to_ms));
            let (y, height) = (self.y as f64, (LANE - 4) as f64);
            self.rectangle(columns, y, height, &class(stretch), &hint);
        }
        self.y += LANE;
    }

    fn axis(&mut self) {
        let y = self.y + 4;
        let _ = write!(
            self.svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y}\" y2=\"{y}\" class=\"axis\"/>"
        );
        for tenth in 0..=10 {
            let at_ms = self.timeline.end_ms * tenth / 10;
            let x = self.x(at_ms) as u64;
            self.text(x, y + 14, "middle", &format!("{} s", at_ms / 1_000));
        }
        self.y += 26;
    }
}

/// The same as a table, for who cannot see the picture.
fn figures(timeline: &Timeline) -> String {
    let heads = [
        both("from, s", "起，秒"),
        "ok".to_owned(),
        both("fail", "失败"),
        both("unknown", "未知"),
        "p50 ms".to_owned(),
        "p99 ms".to_owned(),
        "max ms".to_owned(),
    ];
    let row = |(at, bucket): (usize, &super::timeline::Bucket)| {
        let from = at as u64 * timeline.bucket_ms;
        let latency = bucket.latency;
        let numbers =
            [bucket.ok, bucket.fail, bucket.unknown, latency.p50, latency.p99, latency.max];
        let first = format!("{}.{}", from / 1_000, from % 1_000 / 100);
        std::iter::once(first).chain(numbers.iter().map(u64::to_string)).collect()
    };
    let rows: Vec<Vec<String>> =
        timeline.buckets.iter().enumerate().take(BUCKETS_MAX + 1).map(row).collect();
    let caption = both("Operations and latencies in columns", "各时段的操作与延迟");
    let table = table(&caption, &heads, 0..heads.len(), &rows);
    format!("<details><summary>{}</summary>{table}</details>", both("As a table", "以表格显示"))
}
