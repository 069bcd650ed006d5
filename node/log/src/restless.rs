//! Raft's tasks, polled in another order than that in which they woke. For simulations.
//!
//! A runtime of one thread polls tasks in the order of their waking, whatever the seed, and so a
//! simulation would see few of the orders that threads make. Here a task that is due steps back
//! behind the others now and then, by coins of the seed.

use std::cell::Cell;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::OptionalSend;
use openraft_rt::{Select2, Select3, Select4};

/// A task steps back once in so many polls,
const ONE_IN: u64 = 6;
/// and never more often than this before it is polled.
const STEPS_MAX: u8 = 3;

thread_local! {
    /// What coins are thrown with; 0 throws none.
    static COINS: Cell<u64> = const { Cell::new(0) };
}

/// From here on tasks of this thread step back by coins of `seed`, unless they do already.
pub(crate) fn stir(seed: u64) {
    if COINS.get() == 0 {
        COINS.set(seed | 1);
    }
}

fn steps_back() -> bool {
    let state = COINS.get();
    if state == 0 {
        return false;
    }
    // xorshift64 (Marsaglia 2003).
    let mut next = state ^ (state << 13);
    next ^= next >> 7;
    next ^= next << 17;
    COINS.set(next);
    (next >> 11).is_multiple_of(ONE_IN)
}

/// A task that steps back.
struct Stirred<F> {
    task: Pin<Box<F>>,
    steps: u8,
}

impl<F: Future> Future for Stirred<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.steps < STEPS_MAX && steps_back() {
            self.steps += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.steps = 0;
        self.task.as_mut().poll(cx)
    }
}

/// A runtime whose tasks step back; all else is the inner one's.
#[derive(Debug)]
pub(crate) struct Restless<RT>(RT);

impl<RT: AsyncRuntime + Debug> AsyncRuntime for Restless<RT> {
    type JoinError = RT::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = RT::JoinHandle<T>;
    type Sleep = RT::Sleep;
    type Instant = RT::Instant;
    type TimeoutError = RT::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = RT::Timeout<R, T>;
    type ThreadLocalRng = RT::ThreadLocalRng;
    type Mpsc = RT::Mpsc;
    type Watch = RT::Watch;
    type Oneshot = RT::Oneshot;
    type Mutex<T: OptionalSend + 'static> = RT::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        RT::spawn(Stirred { task: Box::pin(future), steps: 0 })
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        RT::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        RT::sleep_until(deadline)
    }

    fn timeout<R, F>(duration: Duration, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        RT::timeout(duration, future)
    }

    fn timeout_at<R, F>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        RT::timeout_at(deadline, future)
    }

    fn select2<A, B>(
        a: A,
        b: B,
    ) -> impl Future<Output = Select2<A::Output, B::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
    {
        RT::select2(a, b)
    }

    fn select3<A, B, C>(
        a: A,
        b: B,
        c: C,
    ) -> impl Future<Output = Select3<A::Output, B::Output, C::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
        C: Future + OptionalSend,
    {
        RT::select3(a, b, c)
    }

    fn select4<A, B, C, D>(
        a: A,
        b: B,
        c: C,
        d: D,
    ) -> impl Future<Output = Select4<A::Output, B::Output, C::Output, D::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
        C: Future + OptionalSend,
        D: Future + OptionalSend,
    {
        RT::select4(a, b, c, d)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        RT::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        RT::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(RT::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        RT::spawn_blocking(f)
    }
}
