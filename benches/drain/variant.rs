//! What is measured: ways to write, with records that are made for them.

/// One way to write.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Share of the records that repeat the key of an earlier one.
    pub(crate) updates: f64,
    /// Share of tombstones.
    pub(crate) deletes: f64,
    /// What the table has besides its columns.
    pub(crate) constraint: &'static str,
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

pub(crate) const VARIANTS: [Variant; 3] = [
    Variant {
        name: "append",
        updates: 0.0,
        deletes: 0.0,
        constraint: "",
        sets: &[],
        copy_ratio_min: 0.3,
        bound_ratio_min: 0.8,
        cpu_max_s_per_million: 1.2,
    },
    Variant {
        name: "upsert",
        updates: 0.2,
        deletes: 0.0,
        constraint: KEY,
        sets: &["routes[0].to[0].write=upsert"],
        copy_ratio_min: 0.5,
        bound_ratio_min: 0.6,
        cpu_max_s_per_million: 2.0,
    },
    Variant {
        name: "mirror",
        updates: 0.2,
        deletes: 0.05,
        constraint: KEY,
        sets: &["routes[0].to[0].write=mirror"],
        copy_ratio_min: 0.5,
        bound_ratio_min: 0.6,
        cpu_max_s_per_million: 2.0,
    },
];
