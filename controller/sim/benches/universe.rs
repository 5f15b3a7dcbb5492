//! How fast the universe is: four weeks of an organization under a toy scaler that launches for each queued job.
//!
//! `cargo bench -p muster-sim`. Divide by the jobs: that is what the simulated world costs of each job's time.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use muster_sim::{Cut, Profile, Settings, Trace};

#[path = "../tests/sim/toy.rs"]
mod toy;

const TRACE: &[u8] = include_bytes!("../../../tests/traces/acme-four-weeks.jsonl.gz");

fn universe(c: &mut Criterion) {
    let trace = Trace::shipped("acme", TRACE);
    let jobs = trace.survey().unwrap_or_default().jobs;
    let mut group = c.benchmark_group("four_weeks");
    group.throughput(Throughput::Elements(jobs)).sample_size(10);
    group.bench_function("read_the_trace", |b| b.iter(|| black_box(trace.survey())));
    for (name, profile) in [("cold", Profile::default()), ("cold_ideal", Profile::ideal())] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let settings = Settings { profile: profile.clone(), ..Settings::default() };
                black_box(toy::Toy::new(settings, &trace, Cut::WHOLE, 0).run())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, universe);
criterion_main!(benches);
