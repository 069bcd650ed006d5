//! The bytes of every value that crosses the wire or is written down, compared with golden files.
//!
//! A shard's log outlives the build that wrote it, so a change of bytes must be a decision. Each
//! file in `proto/golden/` holds one line a value, `name: bytes in hex` (or, in `*.json.txt`, the
//! value's JSON). A sample here that encodes differently fails with both lines; after a decision,
//! `ROTARY_BLESS=1 cargo test -p rotary-proto --test golden` writes the files anew.
//!
//! Nothing can be forgotten: each enum's samples are listed per variant, and a variant without
//! one does not compile; samples of structs name every field.
//!
//! What releases wrote is compared in the same way (`released`), and cannot be blessed.
//!
//! The same samples show that bytes cut short, bytes with something after them, and bytes at
//! random are errors and never a panic.

#[path = "golden/commands.rs"]
mod commands;
#[path = "golden/events.rs"]
mod events;
#[path = "golden/frames.rs"]
mod frames;
#[path = "golden/hostile.rs"]
mod hostile;
#[path = "golden/kept.rs"]
mod kept;
#[path = "golden/outcomes.rs"]
mod outcomes;
#[path = "golden/page.rs"]
mod page;
#[path = "golden/released.rs"]
mod released;
#[path = "golden/samples.rs"]
mod samples;
#[path = "golden/shapes.rs"]
mod shapes;
