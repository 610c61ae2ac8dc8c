//! Records that come in transactions of Kafka's.

use rdkafka::{
    ClientConfig,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};

use super::{records::Message, wait::LIMIT, world::World};

/// A producer whose records come in transactions, into partition 0.
pub(crate) struct Transactions<'a> {
    world: &'a World,
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl<'a> Transactions<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &world.brokers)
            .set("transactional.id", &world.name)
            .create()
            .unwrap();
        producer.init_transactions(LIMIT).unwrap();
        Self { world, producer }
    }

    /// Begins a transaction with these records; the broker has them when it returns.
    pub(crate) fn begin(&self, messages: impl Iterator<Item = Message>) {
        self.producer.begin_transaction().unwrap();
        for message in messages {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.world.name).partition(0);
            record.payload = message.value.as_deref();
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(LIMIT).unwrap();
    }

    pub(crate) fn commit_begun(&self) {
        self.producer.commit_transaction(LIMIT).unwrap();
    }

    pub(crate) fn commit(&self, messages: impl Iterator<Item = Message>) {
        self.begin(messages);
        self.commit_begun();
    }

    pub(crate) fn abort(&self, messages: impl Iterator<Item = Message>) {
        self.begin(messages);
        self.producer.abort_transaction(LIMIT).unwrap();
    }
}
