//! A condition over columns: block by block, each instruction over all rows of a block, so that compilers can use wide
//! registers, and what a block needs stays in the nearest cache.

use super::{Condition, Step};
use crate::formula::Comparison;

/// How many rows a block has.
const BLOCK: usize = 1024;
/// How many rows one word answers for.
const WORD: usize = u64::BITS as usize;

/// One signal at many samples.
pub trait Column {
    /// The values from row `first` on, as many as there is room for: those that lie there already, or what was written into
    /// the room. A value that is missing is NaN.
    fn read<'a>(&'a self, first: usize, room: &'a mut [f64]) -> &'a [f64];
}

/// Which rows a condition holds at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    words: Vec<u64>,
    rows: usize,
    matching: usize,
}

impl Rows {
    /// One bit a row, the first in the lowest bit of the first word; those behind the last row are zero.
    pub fn into_words(self) -> Vec<u64> {
        self.words
    }

    /// Whether it holds at a row.
    pub fn holds_at(&self, row: usize) -> bool {
        self.words[row / WORD] >> (row % WORD) & 1 == 1
    }

    /// How many rows it holds at.
    pub fn matching(&self) -> usize {
        self.matching
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

type Numbers = [f64; BLOCK];
type Truths = [u8; BLOCK];

impl Condition {
    /// Where it holds, given the columns of [`crate::Formula::signals`] in their order. It does not hold at a row where
    /// [`Condition::holds`] gives no answer.
    ///
    /// # Panics
    ///
    /// Where there are fewer columns than signals.
    pub fn rows(&self, columns: &[&dyn Column], rows: usize) -> Rows {
        let mut scratch = Scratch {
            numbers: vec![[0.0; BLOCK]; self.numbers],
            truths: vec![[0; BLOCK]; self.truths],
            answered: [1; BLOCK],
            room: [0.0; BLOCK],
        };
        let mut words = Vec::with_capacity(rows.div_ceil(WORD));
        for first in (0..rows).step_by(BLOCK) {
            let count = BLOCK.min(rows - first);
            self.run_block(columns, first, count, &mut scratch);
            let Scratch { truths, answered, .. } = &mut scratch;
            for (truth, answered) in truths[0][..count].iter_mut().zip(&answered[..count]) {
                *truth &= answered;
            }
            truths[0][count..].fill(0);
            words.extend(truths[0][..count.next_multiple_of(WORD)].chunks_exact(WORD).map(packed));
        }
        let matching = words.iter().map(|word| word.count_ones() as usize).sum();
        Rows { words, rows, matching }
    }

    fn run_block(&self, columns: &[&dyn Column], first: usize, count: usize, scratch: &mut Scratch) {
        let Scratch { numbers, truths, answered, room } = scratch;
        answered.fill(1);
        let answered = &mut answered[..count];
        for step in &self.steps {
            match *step {
                Step::Signal { to, signal } => {
                    numbers[to][..count].copy_from_slice(columns[signal].read(first, &mut room[..count]));
                }
                Step::Number { to, value } => numbers[to][..count].fill(value),
                Step::Negative { to } => numbers[to][..count].iter_mut().for_each(|number| *number = -*number),
                Step::Absolute { to } => numbers[to][..count].iter_mut().for_each(|number| *number = number.abs()),
                Step::Arithmetic { to, operator } => {
                    let (left, right) = pair(numbers, to);
                    for (left, right) in left[..count].iter_mut().zip(&right[..count]) {
                        *left = operator.apply(*left, *right);
                    }
                }
                Step::Compare { from, comparison, to } => {
                    let (left, right) = (&numbers[from][..count], &numbers[from + 1][..count]);
                    compare(comparison, left.iter().copied().zip(right.iter().copied()), &mut truths[to], answered);
                }
                Step::CompareSignal { signal, comparison, value, to } => {
                    let left = columns[signal].read(first, &mut room[..count]);
                    compare(comparison, left.iter().map(|left| (*left, value)), &mut truths[to], answered);
                }
                Step::Constant { to, value } => truths[to].fill(u8::from(value)),
                Step::Not { to } => truths[to].iter_mut().for_each(|truth| *truth ^= 1),
                Step::And { to } => join(truths, to, |left, right| left & right),
                Step::Or { to } => join(truths, to, |left, right| left | right),
                Step::Implies { to } => join(truths, to, |left, right| left ^ 1 | right),
            }
        }
    }
}

/// The registers of one block.
struct Scratch {
    numbers: Vec<Numbers>,
    truths: Vec<Truths>,
    /// One where every comparison so far has had two numbers to compare.
    answered: Truths,
    room: Numbers,
}

fn pair<T>(registers: &mut [T], first: usize) -> (&mut T, &T) {
    let (before, after) = registers.split_at_mut(first + 1);
    (&mut before[first], &after[0])
}

fn join(truths: &mut [Truths], to: usize, operator: impl Fn(u8, u8) -> u8) {
    let (left, right) = pair(truths, to);
    for (left, right) in left.iter_mut().zip(right) {
        *left = operator(*left, *right);
    }
}

/// Compares pairs of numbers; each operator has a loop of its own.
#[inline(always)]
fn compare(comparison: Comparison, pairs: impl Iterator<Item = (f64, f64)>, truths: &mut Truths, answered: &mut [u8]) {
    match comparison {
        Comparison::Less => compare_by(pairs, truths, answered, |left, right| left < right),
        Comparison::LessEqual => compare_by(pairs, truths, answered, |left, right| left <= right),
        Comparison::Greater => compare_by(pairs, truths, answered, |left, right| left > right),
        Comparison::GreaterEqual => compare_by(pairs, truths, answered, |left, right| left >= right),
        Comparison::Equal => compare_by(pairs, truths, answered, |left, right| left == right),
        Comparison::NotEqual => compare_by(pairs, truths, answered, |left, right| left != right),
    }
}

#[inline(always)]
fn compare_by(
    pairs: impl Iterator<Item = (f64, f64)>,
    truths: &mut Truths,
    answered: &mut [u8],
    holds: impl Fn(f64, f64) -> bool,
) {
    for ((truth, answered), (left, right)) in truths.iter_mut().zip(answered).zip(pairs) {
        *truth = u8::from(holds(left, right));
        *answered &= u8::from(!(left.is_nan() | right.is_nan()));
    }
}

/// Bytes that are zero or one as the bits of a word: the product gathers the lowest bits of eight bytes in its top byte.
fn packed(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).enumerate().fold(0, |word, (place, eight)| {
        let eight = eight.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        word | (eight.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * place)
    })
}
