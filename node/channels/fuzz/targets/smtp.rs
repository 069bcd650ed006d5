//! Lets arbitrary bytes be what a relay says: replies or an error, never a panic, and nothing that
//! the dialog says is more than one line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_channels::smtp::{Account, Dialog, Next, Replies, Security};
use rotary_proto::MailAddress;

fuzz_target!(|bytes: &[u8]| {
    let address = MailAddress::new("ana@example.com").expect("valid");
    let account = Some(Account { user: "u".to_owned(), password: "p".to_owned() });
    let mut dialog = Dialog::new("node-1", Security::StartTls, account);
    let mut replies = Replies::default();
    for piece in bytes.chunks(7) {
        replies.put(piece);
        loop {
            let Ok(next) = replies.take() else { return };
            let Some(reply) = next else { break };
            let next = match dialog.take(reply) {
                Ok(Next::Ready) => dialog.begin(&address, &address),
                Ok(Next::Secure) => dialog.secured(),
                Ok(next) => next,
                Err(_) => return,
            };
            let Next::Say(line) = next else { panic!("{next:?} is not said") };
            let inner = line.strip_suffix(b"\r\n").expect("a line");
            assert!(!inner.contains(&b'\n') && !inner.contains(&b'\r'));
        }
    }
});
