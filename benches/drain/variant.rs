//! What is measured: ways to write, with records that are made for them, and records that are hard.

use loadgen::Fields;

/// One way to write, or kind of record.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Share of the records that repeat the key of an earlier one.
    pub(crate) updates: f64,
    /// Share of tombstones.
    pub(crate) deletes: f64,
    pub(crate) fields: Fields,
    /// What records are padded to.
    pub(crate) size_bytes: Option<usize>,
    /// Of the topic.
    pub(crate) compression: Option<&'static str>,
    /// So that the topic does not grow beyond some gigabytes.
    pub(crate) rows_max: u64,
    /// What the table has besides the columns of an order.
    pub(crate) more: &'static str,
    /// What the configuration has besides its defaults.
    pub(crate) sets: &'static [&'static str],
    /// What is asked of the rate, in that of the same work by files and psql.
    pub(crate) copy_ratio_min: f64,
    /// What is asked of it in the bound that consumption and COPY set together.
    pub(crate) bound_ratio_min: f64,
    /// What is asked of the processor, in seconds for a million records.
    pub(crate) cpu_max_s_per_million: f64,
}

impl Variant {
    pub(crate) fn is_append(&self) -> bool {
        self.sets.is_empty()
    }
}

const KEY: &str = ", PRIMARY KEY (order_id)";

const WIDE: &str = ", shop_id int, clerk_id int, stock_before int, stock_after int, \
    weight_grams int, loyalty_points int, latitude float8, longitude float8, discount float8, \
    rating real, tax numeric(12,2), shipping numeric(12,2), subtotal numeric(12,2), \
    refund numeric(12,2), email text, city text, country char(2), coupon text, \
    paid_at timestamptz, packed_at timestamptz, shipped_at timestamptz, due_on date, \
    session_id uuid, client_ip inet, gift boolean, insured boolean, product_ids bigint[], \
    quantities int[], tags text[], address jsonb, items jsonb";

/// Of rows of a kilobyte: psql's COPY goes round in its ring of 16 MB of shared buffers, where ours, which end
/// after some MB, take new ones every time: the page that one connection's process touches for the first
/// time costs it 1.9 us, half a second for a million rows. Each of ours also makes a thousand slots again.
const LARGE_BOUND_RATIO_MIN: f64 = 0.5;
/// Of compressed topics: the broker and the wire have less to do, which is a larger part of the bound than of
/// the whole way.
const PACKED_BOUND_RATIO_MIN: f64 = 0.7;

const APPEND: Variant = Variant {
    name: "append",
    updates: 0.0,
    deletes: 0.0,
    fields: Fields::Order,
    size_bytes: None,
    compression: None,
    rows_max: u64::MAX,
    more: "",
    sets: &[],
    copy_ratio_min: 0.3,
    bound_ratio_min: 0.8,
    cpu_max_s_per_million: 1.2,
};

const UPSERT: Variant = Variant {
    name: "upsert",
    updates: 0.2,
    more: KEY,
    sets: &["routes[0].to[0].write=upsert"],
    copy_ratio_min: 0.5,
    bound_ratio_min: 0.6,
    cpu_max_s_per_million: 2.0,
    ..APPEND
};

pub(crate) const VARIANTS: [Variant; 9] = [
    APPEND,
    UPSERT,
    Variant { name: "mirror", deletes: 0.05, sets: &["routes[0].to[0].write=mirror"], ..UPSERT },
    // No field is where it was in the last record, and the bound knows no JSON.
    Variant { name: "shuffled", fields: Fields::Shuffled, bound_ratio_min: 0.6, ..APPEND },
    Variant {
        name: "wide",
        fields: Fields::Wide,
        rows_max: 2_000_000,
        more: WIDE,
        bound_ratio_min: LARGE_BOUND_RATIO_MIN,
        cpu_max_s_per_million: 10.0,
        ..APPEND
    },
    Variant {
        name: "1kb",
        size_bytes: Some(1 << 10),
        rows_max: 2_000_000,
        bound_ratio_min: LARGE_BOUND_RATIO_MIN,
        cpu_max_s_per_million: 3.0,
        ..APPEND
    },
    Variant {
        name: "16kb",
        size_bytes: Some(16 << 10),
        rows_max: 200_000,
        cpu_max_s_per_million: 40.0,
        ..APPEND
    },
    Variant {
        name: "lz4",
        compression: Some("lz4"),
        bound_ratio_min: PACKED_BOUND_RATIO_MIN,
        cpu_max_s_per_million: 1.5,
        ..APPEND
    },
    Variant {
        name: "zstd",
        compression: Some("zstd"),
        bound_ratio_min: PACKED_BOUND_RATIO_MIN,
        cpu_max_s_per_million: 2.0,
        ..APPEND
    },
];
