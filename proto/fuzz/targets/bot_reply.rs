//! Reads arbitrary bytes as a bot's answer: one within its bounds or an error, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_proto::bot::BotReply;
use rotary_proto::limits;

fuzz_target!(|bytes: &[u8]| {
    let Ok(reply) = serde_json::from_slice::<BotReply>(bytes) else { return };
    if reply.check().is_ok() {
        assert!(reply.messages.len() <= limits::BOT_MESSAGES_MAX);
        let words: usize = reply.messages.iter().map(|message| message.text.len()).sum();
        assert!(words <= limits::BOT_WORDS_BYTES_MAX);
    }
});
