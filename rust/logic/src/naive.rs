//! The reference evaluator: the definitions, written down as they are, over a whole trace.
//!
//! It shares no code with the monitors but the tree, looks back over every window at every sample, and is what the
//! monitors are held against: the same verdicts, bit for bit. Its cost is the length of the trace times the number of
//! samples in a window, for each operator.

use crate::error::MonitorError;
use crate::formula::{Arithmetic, Comparison, Formula, Interval, Node, NodeId};
use crate::monitor::Verdict;

/// The verdict of a formula at every sample of a trace, given as times in nanoseconds and values in the order of
/// [`Formula::signals`].
///
/// ```
/// use chronofabric_logic::{Formula, Verdict, naive};
///
/// let formula = Formula::parse("once[0, 10 ns](x > 3)")?;
/// let verdicts = naive::verdicts(&formula, &[(0, [1.0]), (5, [4.0]), (12, [2.0])])?;
/// assert_eq!(verdicts[1], Verdict::Unknown);
/// assert_eq!(verdicts[2], Verdict::Known { robustness: 1.0, satisfied: true });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// What a monitor with unlimited memory would say of a sample that it refuses.
pub fn verdicts<V: AsRef<[f64]>>(formula: &Formula, samples: &[(i64, V)]) -> Result<Vec<Verdict>, MonitorError> {
    let samples: Vec<(i64, &[f64])> = samples.iter().map(|(time_ns, values)| (*time_ns, values.as_ref())).collect();
    let trace = Trace { formula, samples };
    trace.check()?;
    let mut conditions = Vec::with_capacity(formula.nodes.len());
    for node in 0..formula.nodes.len() {
        conditions.push(trace.condition(node, &conditions)?);
    }
    let robustness = &conditions[formula.root()];
    Ok((0..trace.samples.len())
        .map(|i| {
            if trace.is_covered(formula.root(), i) {
                Verdict::Known { robustness: robustness[i], satisfied: robustness[i].is_sign_positive() }
            } else {
                Verdict::Unknown
            }
        })
        .collect())
}

struct Trace<'a> {
    formula: &'a Formula,
    samples: Vec<(i64, &'a [f64])>,
}

impl Trace<'_> {
    fn check(&self) -> Result<(), MonitorError> {
        let signals = &self.formula.signals;
        let mut newest_ns = i64::MIN;
        for (time_ns, values) in &self.samples {
            if values.len() != signals.len() {
                return Err(MonitorError::WrongNumberOfValues { expected: signals.len(), given: values.len() });
            }
            if *time_ns < newest_ns {
                return Err(MonitorError::TimeWentBack { time_ns: *time_ns, newest_ns });
            }
            if let Some(place) = values.iter().position(|value| value.is_nan()) {
                return Err(MonitorError::NotANumber { signal: signals[place].clone() });
            }
            newest_ns = *time_ns;
        }
        Ok(())
    }

    /// The age of sample `j` at sample `i`, beyond the reach of overflow.
    fn age_ns(&self, j: usize, i: usize) -> i128 {
        i128::from(self.samples[i].0) - i128::from(self.samples[j].0)
    }

    /// Whether the trace reaches back from sample `i` as far as a node needs.
    fn is_covered(&self, node: NodeId, i: usize) -> bool {
        self.age_ns(0, i) >= i128::from(self.formula.horizons_ns[node])
    }

    /// The samples in the window of an operator at sample `i` at which its operands are known.
    fn window<'a>(
        &'a self,
        interval: Option<Interval>,
        operands: &'a [NodeId],
        i: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let start_ns = interval.map_or(0, |interval| i128::from(interval.start_ns));
        let end_ns = interval.map_or(i128::MAX, |interval| i128::from(interval.end_ns));
        (0..=i)
            .rev()
            .take_while(move |j| self.age_ns(*j, i) <= end_ns)
            .filter(move |j| self.age_ns(*j, i) >= start_ns)
            .filter(|j| operands.iter().all(|operand| self.is_covered(*operand, *j)))
    }

    /// The value of a number at sample `i`, NaN where it has none.
    fn number(&self, node: NodeId, i: usize) -> f64 {
        match self.formula.nodes[node] {
            Node::Number(value) => value,
            Node::Signal(signal) => self.samples[i].1[signal],
            Node::Negative(inner) => -self.number(inner, i),
            Node::Absolute(inner) => self.number(inner, i).abs(),
            Node::Arithmetic(operator, left, right) => {
                let (left, right) = (self.number(left, i), self.number(right, i));
                match operator {
                    _ if left.is_nan() || right.is_nan() => f64::NAN,
                    Arithmetic::Add => left + right,
                    Arithmetic::Subtract => left - right,
                    Arithmetic::Multiply => left * right,
                    Arithmetic::Divide if right == 0.0 => f64::NAN,
                    Arithmetic::Divide => left / right,
                    Arithmetic::Minimum => {
                        if left < right {
                            left
                        } else {
                            right
                        }
                    }
                    Arithmetic::Maximum => {
                        if left > right {
                            left
                        } else {
                            right
                        }
                    }
                }
            }
            _ => f64::NAN,
        }
    }

    /// The robustness of a condition at every sample, given that of the nodes before it in post-order.
    fn condition(&self, node: NodeId, before: &[Vec<f64>]) -> Result<Vec<f64>, MonitorError> {
        let samples = 0..self.samples.len();
        let both = |left: NodeId, right: NodeId, join: fn(f64, f64) -> f64| {
            before[left].iter().zip(&before[right]).map(|(left, right)| join(*left, *right)).collect()
        };
        Ok(match self.formula.nodes[node] {
            Node::Constant(true) => samples.map(|_| f64::INFINITY).collect(),
            Node::Constant(false) => samples.map(|_| f64::NEG_INFINITY).collect(),
            Node::Comparison(comparison, left, right) => samples
                .map(|i| {
                    let (left, right) = (self.number(left, i), self.number(right, i));
                    if left.is_nan() || right.is_nan() {
                        return Err(MonitorError::Undefined { comparison: self.formula.text_of(node) });
                    }
                    Ok(margin(comparison, left, right))
                })
                .collect::<Result<_, _>>()?,
            Node::Not(inner) => before[inner].iter().map(|value| -value).collect(),
            Node::And(left, right) => both(left, right, minimum),
            Node::Or(left, right) => both(left, right, maximum),
            Node::Implies(left, right) => both(left, right, |left, right| maximum(-left, right)),
            Node::Once(interval, inner) => samples
                .map(|i| self.window(interval, &[inner], i).map(|j| before[inner][j]).fold(f64::NEG_INFINITY, maximum))
                .collect(),
            Node::Historically(interval, inner) => samples
                .map(|i| self.window(interval, &[inner], i).map(|j| before[inner][j]).fold(f64::INFINITY, minimum))
                .collect(),
            Node::Since(interval, left, right) => samples
                .map(|i| {
                    // From the newest sample to the oldest; `left_since` is the minimum of `left` after `j` up to `i`.
                    let (mut best, mut left_since, mut reached) = (f64::NEG_INFINITY, f64::INFINITY, i);
                    for j in self.window(interval, &[left, right], i) {
                        left_since = before[left][j + 1..=reached].iter().copied().fold(left_since, minimum);
                        best = maximum(best, minimum(before[right][j], left_since));
                        reached = j;
                    }
                    best
                })
                .collect(),
            // Numbers are computed where a comparison asks for them.
            Node::Number(_) | Node::Signal(_) | Node::Negative(_) | Node::Absolute(_) | Node::Arithmetic(..) => {
                Vec::new()
            }
        })
    }
}

fn margin(comparison: Comparison, left: f64, right: f64) -> f64 {
    let distance = if left == right { 0.0 } else { (left - right).abs() };
    let holds = match comparison {
        Comparison::Less => left < right,
        Comparison::LessEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterEqual => left >= right,
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
    };
    if holds { distance } else { -distance }
}

fn minimum(left: f64, right: f64) -> f64 {
    if left.total_cmp(&right).is_lt() { left } else { right }
}

fn maximum(left: f64, right: f64) -> f64 {
    if left.total_cmp(&right).is_gt() { left } else { right }
}
