//! How a subscription buffers and hands out.

/// The largest capacity of a subscription.
pub const CAPACITY_MAX: usize = 1 << 26;

/// What happens to an event that finds its subscription full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest waiting event makes room.
    DropOldest,
    /// The new event is dropped.
    DropNewest,
    /// The new event goes to the dead letters.
    DeadLetter,
    /// The publisher waits.
    Block,
}

/// In which order a subscription hands events out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Each publisher's events of one priority in the order in which they were published; the most urgent priority first.
    #[default]
    Publisher,
    /// No event before one that could have caused it, whatever their topics and priorities.
    Causal,
}

/// How a subscription buffers.
#[derive(Clone, Debug)]
pub struct SubscriptionOptions {
    /// What it is called in reports.
    pub name: Box<str>,
    /// How many events may wait, for each priority.
    pub capacity: usize,
    /// How many bytes of payload may wait, over all priorities.
    pub capacity_bytes: Option<usize>,
    /// What happens when it is full.
    pub overflow: Overflow,
    /// How long a publisher waits under [`Overflow::Block`].
    pub block_timeout_ns: i64,
    /// How many dead letters are kept.
    pub dead_letters_max: usize,
    /// In which order it hands out.
    pub order: Order,
    /// How many of the last events that a topic keeps it is given first, of each topic.
    pub history: usize,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self {
            name: "".into(),
            capacity: 1024,
            capacity_bytes: None,
            overflow: Overflow::DropOldest,
            block_timeout_ns: 1_000_000_000,
            dead_letters_max: 1024,
            order: Order::Publisher,
            history: 1,
        }
    }
}
