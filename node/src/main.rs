//! The binary: an allocator, and what the library does.

/// A node allocates small things on one thread and frees them on another, and takes large buffers
/// for each batch. With this allocator a distribution costs a tenth less than with the system's;
/// without huge pages, because clearing those would cost more than it saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    rotary::run()
}
