//! Time sources and stamps, each group with its peers: the standard library, the system call itself, `quanta`, `uhlc`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_clock::{HybridLogicalClock, NodeId, Stamp, TimeSource};
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build, whose figures mean nothing: run `cargo bench -p chronofabric-clock`.");
        std::process::exit(1);
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    read(&mut criterion);
    stamp(&mut criterion);
    receive(&mut criterion);
    contended(&mut criterion);
    criterion.final_summary();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for source in [TimeSource::counter(), TimeSource::system(), TimeSource::simulated(1)] {
        group.bench_function(format!("chronofabric {}", source.name()), |bencher| {
            bencher.iter(|| black_box(&source).now_ns());
        });
    }
    let counter = TimeSource::counter();
    group.bench_function("chronofabric counter, unordered", |bencher| {
        bencher.iter(|| black_box(&counter).now_unordered_ns());
    });
    #[cfg(unix)]
    group.bench_function("peer clock_gettime", |bencher| bencher.iter(clock_gettime_ns));
    group.bench_function("peer std SystemTime", |bencher| bencher.iter(SystemTime::now));
    group.bench_function("peer std Instant", |bencher| bencher.iter(Instant::now));
    let quanta = quanta::Clock::new();
    group.bench_function("peer quanta (monotonic only)", |bencher| bencher.iter(|| quanta.now()));
    group.finish();
}

fn stamp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stamp");
    for source in [TimeSource::counter(), TimeSource::system(), TimeSource::simulated(1)] {
        let clock = HybridLogicalClock::new(source, NodeId([1; 16]));
        group.bench_function(format!("chronofabric {}", clock.source().name()), |bencher| {
            bencher.iter(|| black_box(&clock).now().unwrap());
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let clock = HybridLogicalClock::open(folder.path(), TimeSource::counter()).unwrap();
    group.bench_function("chronofabric counter, folder", |bencher| bencher.iter(|| black_box(&clock).now().unwrap()));
    let clock = HybridLogicalClock::new(TimeSource::counter(), NodeId([1; 16]));
    let time_ns = clock.source().now_ns();
    group.bench_function("chronofabric, time given", |bencher| {
        bencher.iter(|| clock.now_at(black_box(time_ns)).unwrap())
    });
    let peer = uhlc::HLC::default();
    group.bench_function("peer uhlc", |bencher| bencher.iter(|| peer.new_timestamp()));
    group.throughput(Throughput::Elements(256));
    group.bench_function("chronofabric counter, 256 at once", |bencher| {
        bencher.iter(|| {
            clock.now_many_at(clock.source().now_ns(), 256).unwrap().fold(0, |sum, stamp: Stamp| sum ^ stamp.0)
        });
    });
    group.finish();
}

fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    let clock = HybridLogicalClock::new(TimeSource::counter(), NodeId([1; 16]));
    let remote = clock.now().unwrap();
    group.bench_function("chronofabric counter", |bencher| bencher.iter(|| clock.receive(black_box(remote)).unwrap()));
    let peer = uhlc::HLC::default();
    let remote = uhlc::HLC::default().new_timestamp();
    group.bench_function("peer uhlc", |bencher| {
        bencher.iter(|| {
            peer.update_with_timestamp(black_box(&remote)).unwrap();
            peer.new_timestamp()
        });
    });
    group.finish();
}

/// Time per stamp while a second thread takes stamps from the same clock.
fn contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stamp, two threads");
    let clock = HybridLogicalClock::new(TimeSource::counter(), NodeId([1; 16]));
    beside(
        || _ = black_box(clock.now()),
        || {
            group.bench_function("chronofabric counter", |bencher| bencher.iter(|| clock.now().unwrap()));
        },
    );
    let peer = uhlc::HLC::default();
    beside(
        || _ = black_box(peer.new_timestamp()),
        || {
            group.bench_function("peer uhlc", |bencher| bencher.iter(|| peer.new_timestamp()));
        },
    );
    group.finish();
}

/// Runs `measure` while another thread does `work` over and over.
fn beside(work: impl Fn() + Sync, measure: impl FnOnce()) {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                work();
            }
        });
        measure();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[cfg(unix)]
fn clock_gettime_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the length of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
