//! What one order costs on its way from JSON into a batch, on one core.

#![allow(clippy::expect_used)]

mod orders;
mod steps;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::frontier::Frontier;

use crate::{
    orders::{ORDERS, orders},
    steps::Steps,
};

fn codec(criterion: &mut Criterion) {
    let mut steps = Steps::new();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::ElementsAndBytes {
        elements: ORDERS as u64,
        bytes: orders().iter().map(|order| order.len() as u64).sum(),
    });
    group.bench_function("decode", |bencher| bencher.iter(|| steps.decode()));
    group.bench_function("decode, mapped", |bencher| bencher.iter(|| steps.decode_mapped()));
    group.bench_function("encode", |bencher| bencher.iter(|| steps.encode()));
    group.bench_function("batch", |bencher| bencher.iter(|| steps.batch()));
    group.bench_function("all", |bencher| bencher.iter(|| steps.all()));
    group.finish();
}

/// A batch that leaves and arrives, as often as there are orders.
fn frontier(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frontier");
    group.throughput(Throughput::Elements(ORDERS as u64));
    group.bench_function("depart and arrive", |bencher| {
        bencher.iter(|| {
            let mut frontier = Frontier::new(0);
            for next in 0..ORDERS as i64 {
                frontier.depart(next..next + 1).expect("it continues");
                black_box(frontier.arrive());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, codec, frontier);
criterion_main!(benches);
