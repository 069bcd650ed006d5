//! Reads a session frame from arbitrary text: a frame or an error, never a panic. A frame whose
//! values are within their bounds is read again from its own JSON as the same frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_proto::frame::ClientFrame;

fuzz_target!(|bytes: &[u8]| {
    if ClientFrame::check_size(bytes.len()).is_err() {
        return;
    }
    let Ok(frame) = serde_json::from_slice::<ClientFrame>(bytes) else { return };
    let json = serde_json::to_string(&frame).expect("a frame has a JSON form");
    let again = serde_json::from_str::<ClientFrame>(&json).expect("its own JSON is a frame");
    assert_eq!(again, frame);
});
