//! Pages: memory that a snapshot and the running state can share until one of them changes it.
//!
//! A page is *own* (plain memory, as cheap to read and write as any) or *shared* with a frozen
//! view. Freezing moves a page behind an `Arc` without touching what lies in it; the first write
//! after that takes it back, by copying it if the frozen view still stands. So a freeze costs a
//! few dozen nanoseconds a page, a write to a page that nobody has frozen costs no atomic
//! operation, and a write to a frozen one copies a page once.

use std::collections::VecDeque;
use std::sync::Arc;

/// Some values that are frozen and copied together.
#[derive(Debug, Clone)]
pub(crate) enum Page<T> {
    Own(Vec<T>),
    Shared(Arc<Vec<T>>),
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl<T: Clone> Page<T> {
    /// What lies in it.
    pub(crate) fn read(&self) -> &[T] {
        match self {
            Self::Own(values) => values,
            Self::Shared(values) => values,
        }
    }

    /// What lies in it, to be changed.
    pub(crate) fn write(&mut self) -> &mut Vec<T> {
        if let Self::Shared(_) = self {
            self.take_back();
        }
        match self {
            Self::Own(values) => values,
            Self::Shared(_) => unreachable!("it was taken back just above"),
        }
    }

    #[cold]
    fn take_back(&mut self) {
        if let Self::Shared(shared) = std::mem::take(self) {
            *self = Self::Own(Arc::unwrap_or_clone(shared));
        }
    }

    /// A view of what lies in it at present.
    pub(crate) fn freeze(&mut self) -> Arc<Vec<T>> {
        let shared = match std::mem::take(self) {
            Self::Own(values) => Arc::new(values),
            Self::Shared(shared) => shared,
        };
        *self = Self::Shared(shared.clone());
        shared
    }
}

/// Values of one page of a [`Fifo`].
const FIFO_PAGE: u64 = 256;

/// Values in order of their coming, each at a position of its own, counted from 0.
#[derive(Debug, Clone)]
pub(crate) struct Fifo<T> {
    pages: VecDeque<Page<T>>,
    /// The position of the first value that is left.
    first: u64,
    /// The position of the next to come.
    next: u64,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { pages: VecDeque::new(), first: 0, next: 0 }
    }
}

impl<T: Clone> Fifo<T> {
    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        (self.next - self.first) as usize
    }

    /// Adds a value and gives its position.
    pub(crate) fn push(&mut self, value: T) -> u64 {
        let position = self.next;
        if position.is_multiple_of(FIFO_PAGE) {
            self.pages.push_back(Page::default());
        }
        let page = self.pages.back_mut().expect("a page begins with its first value");
        page.write().push(value);
        self.next += 1;
        position
    }

    /// The value at a position, if it is left.
    pub(crate) fn at(&self, position: u64) -> Option<&T> {
        if !(self.first..self.next).contains(&position) {
            return None;
        }
        let page = position / FIFO_PAGE - self.first / FIFO_PAGE;
        self.pages.get(page as usize)?.read().get((position % FIFO_PAGE) as usize)
    }

    /// The oldest value.
    pub(crate) fn front(&self) -> Option<&T> {
        self.at(self.first)
    }

    /// Lets the oldest value go. Its memory goes with its page.
    pub(crate) fn drop_front(&mut self) {
        if self.first < self.next {
            self.first += 1;
            if self.first.is_multiple_of(FIFO_PAGE) {
                self.pages.pop_front();
            }
        }
    }

    /// A view of all values at present.
    pub(crate) fn freeze(&mut self) -> FrozenFifo<T> {
        let pages = self.pages.iter_mut().map(Page::freeze).collect();
        FrozenFifo { pages, skip: (self.first % FIFO_PAGE) as usize, len: self.len() }
    }
}

/// A [`Fifo`] as it was.
#[derive(Debug)]
pub(crate) struct FrozenFifo<T> {
    pages: Vec<Arc<Vec<T>>>,
    skip: usize,
    len: usize,
}

impl<T> FrozenFifo<T> {
    /// Its values, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter()).skip(self.skip).take(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_page_keeps_what_it_was_and_is_copied_once() {
        let mut page = Page::default();
        page.write().push(1);
        let frozen = page.freeze();
        page.write().push(2);
        assert!(matches!(&page, Page::Own(_)));
        assert_eq!((frozen.as_slice(), page.read()), ([1].as_slice(), [1, 2].as_slice()));
    }

    #[test]
    fn a_page_whose_view_is_gone_is_taken_back_without_a_copy() {
        let mut page = Page::Own(vec![1]);
        let before = page.read().as_ptr();
        drop(page.freeze());
        assert_eq!(page.write().as_ptr(), before);
    }

    #[test]
    fn values_are_found_by_position_until_they_go() {
        let mut fifo = Fifo::default();
        for value in 0..1_000u64 {
            assert_eq!(fifo.push(value), value);
        }
        (0..700).for_each(|_| fifo.drop_front());
        let frozen = fifo.freeze();
        (0..10).for_each(|_| fifo.drop_front());
        fifo.push(1_000);
        assert_eq!((fifo.at(709), fifo.at(710), fifo.at(1_000)), (None, Some(&710), Some(&1_000)));
        assert_eq!((fifo.len(), fifo.front(), fifo.at(1_001)), (291, Some(&710), None));
        assert_eq!(frozen.iter().copied().collect::<Vec<_>>(), (700..1_000).collect::<Vec<_>>());
        (0..500).for_each(|_| fifo.drop_front());
        assert_eq!((fifo.len(), fifo.front()), (0, None));
        let position = fifo.push(7);
        assert_eq!(fifo.at(position), Some(&7));
    }
}
