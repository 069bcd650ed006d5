//! The same simulation from many seeds, on as many threads as there are processors.

use super::world::WorldError;

/// What each of `count` seeds gives, from `first` on; in no order.
///
/// # Errors
/// Of whichever seed had one.
pub(crate) fn each<T: Send>(
    first: u64,
    count: u32,
    run: impl Fn(u64) -> Result<T, WorldError> + Sync,
) -> Result<Vec<T>, WorldError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let share = |thread| -> Result<Vec<T>, WorldError> {
        let mine = (0..count).filter(|seed| seed % threads == thread);
        mine.map(|seed| run(first + u64::from(seed))).collect()
    };
    let share = &share;
    let shares: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|thread| thread.join()).collect()
    });
    let mut runs = Vec::new();
    for share in shares {
        runs.extend(share.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    }
    Ok(runs)
}
