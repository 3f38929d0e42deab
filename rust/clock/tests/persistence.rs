//! A clock with a folder keeps its id and its order through restarts, crashes, refusals of the disk, and other openers.

#![cfg(not(loom))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_clock::{ClockError, ClockOptions, HybridLogicalClock, NodeId, Stamp, TimeSource};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use tempfile::{TempDir, tempdir};

const SECOND_NS: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const HORIZON_NS: i64 = SECOND_NS;

fn state_of(folder: &Path) -> PathBuf {
    folder.join("clock.state")
}

fn opened(folder: &TempDir, source: &TimeSource) -> HybridLogicalClock {
    let options = ClockOptions { horizon_ns: Some(HORIZON_NS), ..ClockOptions::default() };
    HybridLogicalClock::open_with_options(folder.path(), source.clone(), &options).unwrap()
}

/// The bound on disk, read as the format says.
fn bound_of(folder: &Path) -> Stamp {
    let bytes = fs::read(state_of(folder)).unwrap();
    assert_eq!(bytes.len(), 40);
    Stamp::decode(&bytes[28..36]).unwrap()
}

fn node_of(folder: &Path) -> NodeId {
    NodeId(fs::read(state_of(folder)).unwrap()[12..28].try_into().unwrap())
}

/// Leaves a folder as a killed process does: the file as it is, the lock gone.
fn crashed(folder: &TempDir, clock: HybridLogicalClock) {
    let state = fs::read(state_of(folder.path())).unwrap();
    drop(clock);
    fs::write(state_of(folder.path()), state).unwrap();
}

#[test]
fn a_restart_keeps_the_node_and_never_steps_back_though_the_source_does() {
    let folder = tempdir().unwrap();
    let (mut node, mut last) = (None, Stamp(0));
    for start_ns in [START_NS, START_NS - 3_600 * SECOND_NS, 0, START_NS + SECOND_NS] {
        let clock = opened(&folder, &TimeSource::simulated(start_ns));
        assert_eq!(*node.get_or_insert(clock.node()), clock.node());
        assert_eq!(node_of(folder.path()), clock.node());
        for _ in 0..100 {
            let stamp = clock.now().unwrap();
            assert!(stamp > last, "{stamp:?} after {last:?}");
            assert!(stamp <= bound_of(folder.path()));
            last = stamp;
        }
    }
}

#[test]
fn a_clean_restart_does_not_start_ahead_of_its_source_and_a_crash_at_most_by_the_horizon() {
    let folder = tempdir().unwrap();
    let source = TimeSource::simulated(START_NS);
    let clock = opened(&folder, &source);
    let last = clock.now().unwrap();
    drop(clock);

    let clock = opened(&folder, &source);
    let after_close = clock.now().unwrap();
    assert!(after_close > last && after_close.units() == last.units(), "{after_close:?} after {last:?}");
    let bound = bound_of(folder.path());
    crashed(&folder, clock);

    let after_crash = opened(&folder, &source).now().unwrap();
    assert!(after_crash > bound);
    assert!(after_crash.time_ns() <= START_NS + HORIZON_NS + SECOND_NS / 1_000);
}

#[test]
fn stamps_up_to_the_bound_and_beyond_are_covered_on_disk_before_they_are_issued() {
    let folder = tempdir().unwrap();
    let source = TimeSource::simulated(START_NS);
    let clock = opened(&folder, &source);
    for _ in 0..50 {
        source.as_simulated().unwrap().advance(SECOND_NS / 7).unwrap();
        assert!(clock.now().unwrap() <= bound_of(folder.path()));
        let remote = Stamp::from_time_ns(source.now_ns() + SECOND_NS / 3);
        assert!(clock.receive(remote).unwrap() <= bound_of(folder.path()));
        let first = clock.now_many_at(source.now_ns(), 1 << 20).unwrap().next().unwrap();
        assert!(first.0 + (1 << 20) - 1 <= bound_of(folder.path()).0);
    }
}

#[test]
fn stamps_of_many_threads_are_covered_on_disk() {
    let folder = tempdir().unwrap();
    let options = ClockOptions { horizon_ns: Some(1_000_000), ..ClockOptions::default() };
    let clock =
        HybridLogicalClock::open_with_options(folder.path(), TimeSource::simulated(START_NS), &options).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    // Half a horizon a batch: the bound is used up all the time.
                    let first = clock.now_many_at(START_NS, 33 << 16).unwrap().next().unwrap();
                    assert!(first.0 + (33 << 16) - 1 <= bound_of(folder.path()).0);
                }
            });
        }
    });
}

#[test]
fn extending_ahead_of_time_keeps_stamps_off_the_disk() {
    let folder = tempdir().unwrap();
    let source = TimeSource::simulated(START_NS);
    let clock = opened(&folder, &source);
    clock.now().unwrap();
    assert_eq!(clock.extend_interval_ns(), Some(HORIZON_NS / 4));
    assert!(!clock.extend().unwrap(), "extended though nearly all of the horizon was left");
    let mut extended = 0;
    for _ in 0..40 {
        source.as_simulated().unwrap().advance(HORIZON_NS / 4).unwrap();
        extended += usize::from(clock.extend().unwrap());
        let before = bound_of(folder.path());
        clock.now().unwrap();
        assert_eq!(bound_of(folder.path()), before, "a stamp had to wait for the disk");
    }
    assert!((10..=20).contains(&extended), "extended {extended} times in 40 quarters of the horizon");
}

#[test]
fn an_idle_clock_is_not_extended() {
    let folder = tempdir().unwrap();
    let source = TimeSource::simulated(START_NS);
    let clock = opened(&folder, &source);
    clock.now().unwrap();
    source.as_simulated().unwrap().advance(60 * SECOND_NS).unwrap();
    let before = bound_of(folder.path());
    assert!(!clock.extend().unwrap());
    assert_eq!(bound_of(folder.path()), before);
    assert!(clock.now().unwrap() > before, "an idle clock goes on when it is used again");
}

#[test]
fn a_crash_before_the_rename_leaves_the_old_record_in_force() {
    let folder = tempdir().unwrap();
    let clock = opened(&folder, &TimeSource::simulated(START_NS));
    let (node, last) = (clock.node(), clock.now().unwrap());
    crashed(&folder, clock);
    let temporary = folder.path().join("clock.state.new");
    for leftover in [&b""[..], b"CFCLOCK\n\0\x01", b"anything else"] {
        fs::write(&temporary, leftover).unwrap();
        let clock = opened(&folder, &TimeSource::simulated(0));
        assert_eq!(clock.node(), node);
        assert!(clock.now().unwrap() > last);
        assert!(!temporary.exists());
    }
}

#[test]
fn a_crash_before_the_first_rename_leaves_a_new_folder() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("clock.state.new"), b"CFCLOCK\n").unwrap();
    let clock = opened(&folder, &TimeSource::simulated(START_NS));
    assert_eq!(clock.now().unwrap(), Stamp::from_time_ns(START_NS));
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempdir().unwrap();
    drop(opened(&folder, &TimeSource::simulated(START_NS)));
    let path = state_of(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = HybridLogicalClock::open(folder.path(), TimeSource::system()).unwrap_err();
    assert!(matches!(error, ClockError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("clock.state") && error.to_string().contains("checksum"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);

    bytes[30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    HybridLogicalClock::open(folder.path(), TimeSource::system()).expect("a refusal gives the folder back");
}

#[test]
fn an_unknown_version_is_refused() {
    let folder = tempdir().unwrap();
    drop(opened(&folder, &TimeSource::simulated(START_NS)));
    let mut bytes = fs::read(state_of(folder.path())).unwrap();
    bytes[8] = 1;
    fs::write(state_of(folder.path()), bytes).unwrap();
    let error = HybridLogicalClock::open(folder.path(), TimeSource::system()).unwrap_err();
    assert!(matches!(error, ClockError::UnknownVersion { found: 257, known: 1, .. }), "{error}");
}

#[test]
fn a_second_opener_is_refused_until_the_first_has_closed() {
    let folder = tempdir().unwrap();
    let clock = opened(&folder, &TimeSource::simulated(START_NS));
    let error = HybridLogicalClock::open(folder.path(), TimeSource::system()).unwrap_err();
    assert!(matches!(&error, ClockError::FolderInUse { folder: named } if named == folder.path()), "{error}");
    clock.close().unwrap();
    HybridLogicalClock::open(folder.path(), TimeSource::system()).unwrap();
}

#[test]
fn a_disk_that_refuses_ends_stamps_at_the_bound_and_they_go_on_when_it_recovers() {
    let folder = tempdir().unwrap();
    let source = TimeSource::simulated(START_NS);
    let clock = opened(&folder, &source);
    let first = clock.now().unwrap();
    let bound = bound_of(folder.path());
    // A folder in the way of the temporary file refuses every write, also to the superuser.
    let obstacle = folder.path().join("clock.state.new");
    fs::create_dir(&obstacle).unwrap();

    source.as_simulated().unwrap().advance(HORIZON_NS - 1_000_000).unwrap();
    let before = clock.now().expect("the old bound still covers this");
    assert!(first < before && before <= bound);
    assert!(matches!(clock.extend(), Err(ClockError::Storage { .. })));
    source.as_simulated().unwrap().advance(HORIZON_NS).unwrap();
    for _ in 0..3 {
        let error = clock.now().unwrap_err();
        assert!(matches!(&error, ClockError::Storage { path, .. } if *path == obstacle), "{error}");
    }
    assert_eq!(clock.last(), before);
    assert_eq!(bound_of(folder.path()), bound);

    fs::remove_dir(&obstacle).unwrap();
    let after = clock.now().unwrap();
    assert!(after > bound && after <= bound_of(folder.path()));
}

#[test]
fn closing_records_a_bound_above_the_stamps_of_racing_threads() {
    for _ in 0..20 {
        let folder = tempdir().unwrap();
        let clock = opened(&folder, &TimeSource::counter());
        let last = thread::scope(|scope| {
            let stamping = scope.spawn(|| {
                let mut last = Stamp(0);
                loop {
                    match clock.now() {
                        Ok(stamp) => last = stamp,
                        Err(ClockError::Closed) => return last,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            clock.close().unwrap();
            stamping.join().unwrap()
        });
        assert!(last < bound_of(folder.path()));
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = HybridLogicalClock::open(file.join("clock"), TimeSource::system()).unwrap_err();
    assert!(matches!(&error, ClockError::Storage { .. }) && error.to_string().contains("file"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

const FOLDER_VARIABLE: &str = "CHRONOFABRIC_CLOCK_TEST_FOLDER";

fn child(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_stamps_and_aborts", "--ignored", "--nocapture"]);
    command.env(FOLDER_VARIABLE, folder).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

#[test]
#[ignore = "the child process that the tests below start"]
fn child_stamps_and_aborts() {
    let folder = std::env::var_os(FOLDER_VARIABLE).expect("started by another test");
    match HybridLogicalClock::open(folder, TimeSource::counter()) {
        Ok(clock) => {
            let last = (0..1_000).map(|_| clock.now().unwrap()).last().unwrap();
            println!("\nnode={} last={last}", clock.node());
        }
        Err(error) => println!("\nrefused={error}"),
    }
    std::process::abort();
}

#[test]
fn a_process_that_aborts_leaves_a_folder_that_opens_above_its_stamps() {
    let folder = tempdir().unwrap();
    let mut last = Stamp(0);
    for _ in 0..3 {
        let output = child(folder.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("node=")).expect(&text);
        let (node, stamp) = line.split_once(" last=").unwrap();
        let clock = HybridLogicalClock::open(folder.path(), TimeSource::counter()).unwrap();
        assert_eq!(clock.node(), node.parse().unwrap());
        assert!(stamp.parse::<Stamp>().unwrap() > last);
        last = clock.now().unwrap();
        assert!(last > stamp.parse().unwrap());
    }
}

#[test]
fn another_process_is_refused() {
    let folder = tempdir().unwrap();
    let clock = opened(&folder, &TimeSource::system());
    let output = child(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("refused=") && text.contains("in use by another node"), "{text}");
    clock.now().unwrap();
}
