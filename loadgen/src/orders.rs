//! The stream of events: seed and profile in, what to write and where out.
//!
//! Planning an event is cheap and rendering it is not, so each of several threads plans the whole
//! stream and renders only the partitions that it owns. Order within a partition is thus the same
//! for any number of threads.

use std::time::SystemTime;

use crate::partition::Partitioner;
use crate::poison::Poison;
use crate::profile::{Clock, Key, Profile};
use crate::random::{self, Popularity, Stream, bits};
use crate::window::{Status, Window};

/// One record to be: its place, its key and what it says.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// The partition that the record goes to.
    pub partition: u32,
    /// The record's key, written as a decimal; `None` for no key.
    pub key: Option<i64>,
    pub(crate) content: Content,
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    Order(Order),
    /// A null value; removes the order of this number.
    Tombstone {
        number: u64,
    },
    Poison {
        kind: Poison,
        index: u64,
    },
}

/// An order at one point of its life. `number` decides the columns that are not here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) customer: u64,
    pub(crate) status: Status,
    pub(crate) created_ms: i64,
    pub(crate) is_late: bool,
    /// Whether this is the order's first record.
    pub(crate) is_new: bool,
}

/// The endless stream of events of a profile.
#[derive(Debug, Clone)]
pub struct Orders {
    profile: Profile,
    partitioner: Partitioner,
    popularity: Popularity,
    poison_below: u64,
    delete_below: u64,
    update_below: u64,
    late_below: u64,
    position: u64,
    next_number: u64,
    poisoned: u64,
    window: Option<Window>,
}

impl Orders {
    /// The stream from its beginning; the profile must be valid.
    pub fn new(profile: &Profile) -> Self {
        let Profile { updates, deletes, poison, .. } = *profile;
        let changes = updates > 0.0 || deletes > 0.0;
        Orders {
            partitioner: Partitioner::new(profile.partitions, profile.seed, profile.hot_partition),
            popularity: Popularity::new(profile.customers, profile.key_skew),
            poison_below: random::threshold(poison),
            delete_below: random::threshold(poison + deletes),
            update_below: random::threshold(poison + deletes + updates),
            late_below: random::threshold(profile.late),
            position: 0,
            next_number: 0,
            poisoned: 0,
            window: changes.then(|| Window::new(profile.window)),
            profile: profile.clone(),
        }
    }

    /// How many events were planned.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Plans the next event.
    pub fn plan(&mut self) -> Event {
        let index = self.position;
        self.position += 1;
        if self.update_below == 0 {
            return self.new_order();
        }
        let kind = bits(self.profile.seed, Stream::Kind, index);
        let event = if kind < self.poison_below {
            Some(self.poison(index))
        } else if kind < self.delete_below {
            self.tombstone(index)
        } else if kind < self.update_below {
            self.update(index)
        } else {
            None
        };
        // The first events of a stream find no order to change.
        event.unwrap_or_else(|| self.new_order())
    }

    fn new_order(&mut self) -> Event {
        let number = self.next_number;
        self.next_number += 1;
        let created_ms = self.created_ms(number);
        // Where orders live on they start at the beginning; else a table shows every status.
        let status = if self.profile.updates > 0.0 {
            Status::Created
        } else {
            any_status(bits(self.profile.seed, Stream::Target, number))
        };
        if let Some(window) = &mut self.window {
            window.open(status, created_ms);
        }
        self.order(number, status, created_ms, true)
    }

    fn update(&mut self, index: u64) -> Option<Event> {
        let draw = bits(self.profile.seed, Stream::Target, index);
        let target = self.window.as_mut()?.advance(draw)?;
        Some(self.order(target.number, target.status, target.created_ms, false))
    }

    fn tombstone(&mut self, index: u64) -> Option<Event> {
        let draw = bits(self.profile.seed, Stream::Target, index);
        let number = self.window.as_mut()?.delete(draw)?.number;
        // The key names the order, yet the partition is where the order's own records are:
        // elsewhere the tombstone could overtake them.
        let (partition, _) = self.place(number, self.customer(number));
        let key = Some(self.order_id(number));
        Some(Event { partition, key, content: Content::Tombstone { number } })
    }

    fn poison(&mut self, index: u64) -> Event {
        let kind = Poison::KINDS[(self.poisoned % Poison::KINDS.len() as u64) as usize];
        self.poisoned += 1;
        let customer = self.customer(!index);
        let key = match self.profile.key {
            Key::Customer => Some(customer as i64),
            Key::Order => Some(poison_id(index)),
            Key::None => None,
        };
        let partition = self.partition_of(key, index);
        Event { partition, key, content: Content::Poison { kind, index } }
    }

    fn order(&self, number: u64, status: Status, created_ms: i64, is_new: bool) -> Event {
        let customer = self.customer(number);
        let (partition, key) = self.place(number, customer);
        let is_late = is_new && self.is_late(number);
        let order = Order { number, customer, status, created_ms, is_late, is_new };
        Event { partition, key, content: Content::Order(order) }
    }

    fn place(&self, number: u64, customer: u64) -> (u32, Option<i64>) {
        let key = match self.profile.key {
            Key::Customer => Some(customer as i64),
            Key::Order => Some(self.order_id(number)),
            Key::None => None,
        };
        (self.partition_of(key, number), key)
    }

    fn partition_of(&self, key: Option<i64>, index: u64) -> u32 {
        match key {
            Some(key) => self.partitioner.of_key(itoa::Buffer::new().format(key).as_bytes()),
            None => self.partitioner.in_turn(index),
        }
    }

    fn customer(&self, number: u64) -> u64 {
        self.popularity.draw(bits(self.profile.seed, Stream::Customer, number))
    }

    fn order_id(&self, number: u64) -> i64 {
        self.profile.start_id.saturating_add_unsigned(number)
    }

    fn is_late(&self, number: u64) -> bool {
        self.late_below > 0 && bits(self.profile.seed, Stream::Lateness, number) < self.late_below
    }

    fn created_ms(&self, number: u64) -> i64 {
        let on_time = match self.profile.clock {
            Clock::Fixed { start_ms, step_us } => {
                start_ms.saturating_add_unsigned(number.saturating_mul(step_us) / 1000)
            }
            Clock::Now => now_ms(),
        };
        if !self.is_late(number) {
            return on_time;
        }
        let draw = random::mix(bits(self.profile.seed, Stream::Lateness, number));
        on_time.saturating_sub_unsigned(1 + random::below(draw, self.profile.late_by_ms))
    }
}

/// The `order_id` of a poison record: negative, so that one which became a row stands out.
pub(crate) fn poison_id(index: u64) -> i64 {
    -1 - (index & (i64::MAX as u64)) as i64
}

/// The statuses of a shop's orders at some moment: most of them are delivered.
fn any_status(bits: u64) -> Status {
    match random::below(bits, 100) {
        0..10 => Status::Created,
        10..30 => Status::Paid,
        30..50 => Status::Shipped,
        50..95 => Status::Delivered,
        _ => Status::Removed,
    }
}

fn now_ms() -> i64 {
    // A clock before 1970 is no reason to fail.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as i64)
}
