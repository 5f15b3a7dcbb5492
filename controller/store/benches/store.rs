//! What a call costs: the memory ledger per fact (put, told, committed), the file with many writers at once.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::FutureExt;
use muster_core::ids::Generation;
use muster_core::ports::{Batch, Store};
use muster_store::contract::samples::{at, completed, finished_job, instance, job, queued};
use muster_store::{Durability, MemoryStore, SqliteOptions, SqliteStore, Upkeep};

/// Facts that one simulated tick merges.
const TICK: i64 = 10;

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a future that is ready at once")
}

/// A tick's worth of facts through a ledger whose futures are ready at once, with everything that surrounds it.
fn tick<S: Store>(store: &S, first: i64, generation: Generation) -> Generation {
    let mut batch = Batch::default();
    for number in first..first + TICK {
        ready(store.put_fact(&completed(job(number), number))).expect("put");
        batch.jobs.push(finished_job(number, number));
    }
    let told = ready(store.new_facts(1_000)).expect("told");
    batch.merged.extend(told.iter().map(|new| new.seq));
    black_box(ready(store.jobs(&[job(first)])).expect("jobs"));
    ready(store.commit(&batch, generation)).expect("commit")
}

fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    group.throughput(Throughput::Elements(TICK.unsigned_abs()));
    group.bench_function("fact put, told and committed as a finished job", |bench| {
        let store = MemoryStore::default();
        let (mut first, mut generation) = (0, Generation(0));
        bench.iter(|| {
            generation = tick(&store, first, generation);
            first += TICK;
            if first % 100_000 == 0 {
                // As the simulator does: what is old goes.
                ready(store.prune(at(first) + muster_store::JOB_RETENTION)).expect("prune");
            }
        });
    });
    group.finish();
    let store = MemoryStore::default();
    criterion.bench_function("memory/touch_lease", |bench| {
        bench.iter(|| ready(store.touch_lease(black_box(&instance(1)), at(1))));
    });
}

/// How long `writers` tasks take to put `count` facts together.
fn put_from(path: &Path, options: &SqliteOptions, writers: i64, count: i64) -> Duration {
    let store = Arc::new(SqliteStore::open(path, options).expect("open"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("runtime");
    let begun = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in (writer..count).step_by(usize::try_from(writers).expect("few")) {
                        store.put_fact(&queued(job(number), 0)).await.expect("put");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task");
        }
    });
    begun.elapsed()
}

fn file(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sqlite, put_fact");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    for (durability, name) in [(Durability::PowerLoss, "power loss"), (Durability::ProcessEnd, "process end")] {
        for writers in [1, 64, 512] {
            group.bench_function(BenchmarkId::new(name, writers), |bench| {
                bench.iter_custom(|count| {
                    let directory = tempfile::tempdir().expect("a directory");
                    let options = SqliteOptions { durability, ledger: None };
                    put_from(&directory.path().join("muster.db"), &options, writers, i64::try_from(count).expect("few"))
                });
            });
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    memory(&mut criterion);
    file(&mut criterion);
    criterion.final_summary();
}
