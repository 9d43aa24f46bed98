//! What a seed decides.

use stoppress::clock::{Random as _, SeededRandom};

/// What is drawn from a seed.
#[derive(Debug)]
pub(crate) struct Dice(SeededRandom);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    /// A number from 0 on, below `end`.
    pub(crate) fn below(&self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % end.max(1) as u64) as usize
    }

    /// A number from 0 on, below `end`.
    pub(crate) fn long(&self, end: i64) -> i64 {
        self.below(end.max(1) as usize) as i64
    }

    /// True so many times of a thousand.
    pub(crate) fn hits(&self, of_thousand: usize) -> bool {
        self.below(1000) < of_thousand
    }

    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}
