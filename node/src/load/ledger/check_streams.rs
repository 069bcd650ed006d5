//! P8: what each session received is what its viewer may see, without a hole and without a
//! repetition, whichever node is asked for the truth.

use rotary_proto::NodeId;

use super::history::{History, Segment, StreamLog};
use super::readings::Readings;
use super::verdict::Verdict;

pub(super) fn check(history: &History, readings: &Readings, verdict: &mut Verdict) {
    for (number, stream) in &history.streams {
        for fault in &stream.faults {
            verdict.gaps.insert(format!("stream {number}: {fault}"));
        }
        for segment in &stream.segments {
            numbered(*number, segment, verdict);
        }
        for (node, reading) in &readings.nodes {
            match reading.viewers.get(&(stream.site, stream.viewer)) {
                Some(truth) => same(*number, stream, *node, truth, verdict),
                None => {
                    let text = format!("stream {number}: {node} has no feed of its viewer");
                    verdict.gaps.insert(text);
                }
            }
        }
    }
}

/// Dense numbers and rising places.
fn numbered(number: u64, segment: &Segment, verdict: &mut Verdict) {
    let (mut seq, mut cursor) = (segment.seq, segment.after);
    for seen in &segment.events {
        if seen.seq != seq + 1 {
            let text = format!("stream {number}: event {} came after {seq}", seen.seq);
            verdict.gaps.insert(text);
        }
        if seen.cursor <= cursor {
            let text = format!("stream {number}: place {} came after {cursor}", seen.cursor);
            verdict.gaps.insert(text);
        }
        (seq, cursor) = (seen.seq, seen.cursor);
    }
}

/// The same events as the node tells between the same places.
fn same(
    number: u64,
    stream: &StreamLog,
    node: NodeId,
    truth: &[(u64, u64)],
    verdict: &mut Verdict,
) {
    for segment in &stream.segments {
        let Some(last) = segment.events.last().map(|seen| seen.cursor) else { continue };
        let shown = |(at, _): &&(u64, u64)| *at > segment.after && *at <= last;
        let due = truth.iter().filter(shown).copied();
        let got = segment.events.iter().map(|seen| (seen.cursor, seen.digest));
        let difference = due.zip(got.map(Some).chain(std::iter::repeat(None)));
        let mut missing = 0;
        for (due, got) in difference {
            if Some(due) != got {
                let text = match got {
                    Some((at, _)) if at == due.0 => format!("place {at} says something else"),
                    Some((at, _)) => format!("place {at} came where {} was due", due.0),
                    None => format!("place {} never came", due.0),
                };
                verdict.gaps.insert(format!("stream {number} against {node}: {text}"));
                missing += 1;
                break;
            }
        }
        let count = truth.iter().filter(shown).count();
        if missing == 0 && segment.events.len() > count {
            let extra = segment.events.len() - count;
            let text = format!("stream {number} against {node}: {extra} events too many");
            verdict.gaps.insert(text);
        }
    }
}
