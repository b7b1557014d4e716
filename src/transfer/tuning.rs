//! The values by which this room was tuned, all in one place.

use std::time::Duration;

// The number of connections: tuner.

/// Connections at the start.
pub(super) const START: u16 = 4;
/// Time between two looks at the total rate, unless the first answer took longer than half of it.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// The shortest look, while the number doubles: of shorter ones the noise is all there is to see.
pub(super) const LOOK_MIN: Duration = Duration::from_millis(50);
/// The longest one: a server that thinks for long before its first answer is no long way.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(1);
/// Twice as many connections must bring this many times as much to be doubled again.
pub(super) const DOUBLED: f64 = 1.6;
/// Half as many connections again must bring this much more to be worth it.
pub(super) const GAIN: f64 = 1.1;
/// A fall to this share of the best rate is a collapse: some CDNs punish many connections
/// (`huggingface_hub#4893`: 4 sustained 300 MB/s where 6 collapsed).
pub(super) const COLLAPSE: f64 = 0.6;
/// A fall to this share is seen in half the time, and ends the connections that are too many.
pub(super) const RUIN: f64 = 0.3;
/// So many looks at a fall, deep ones counted twice, are a collapse; as many are not judged after one: what is on its way to
/// the connections that are left was sent before it.
pub(super) const LOW_LOOKS: i8 = 4;
/// Time after a collapse before growing again; twice as long after each further one.
pub(super) const REST: Duration = Duration::from_secs(20);
pub(super) const REST_MAX: Duration = Duration::from_mins(10);

// The number of files: engine.

/// Files at work. Where the disk is slower than the network, files whose bytes are all there wait for their hash and
/// flush, each with two threads and a buffer.
pub(super) const FILES_MAX: usize = 64;

// The first bytes of a file: active.

/// How long the other connections, which have asked for their parts, read no more of them until those of one show that a
/// file is what its name says: they come at the same time, but for one that is held up.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(1);

// What older files may have: active.

/// Bytes that are fetched while it is asked what older files have of a file: a changed model begins otherwise, mostly.
pub(super) const FIRST_BYTES: u64 = 256 << 10;
/// How long no more of it is asked for, where even these do not come.
pub(super) const HELD_BACK_MAX: Duration = Duration::from_secs(1);
/// How long at least, beyond the time until they come: whoever is asked may be no neighbour.
pub(super) const HELD_BACK_MIN: Duration = Duration::from_millis(50);
/// Bytes per second of a quick link: a hundredth of the time that all of it would take there is not missed.
pub(super) const QUICK_LINK: u64 = 100_000_000;

// The length of ranges: tuner, schedule.

/// Shorter ranges lose too much to the latency of their requests.
pub(super) const SEGMENT_MIN: u64 = 4 << 20;
pub(super) const SEGMENT_MAX: u64 = 64 << 20;
/// A range takes this many times the latency of its request: a loss of 5 %.
pub(super) const LATENCIES_PER_SEGMENT: f64 = 20.0;

// Who takes over from whom: schedule, engine.

/// Less than this is not worth a request of its own.
pub(super) const SPLIT_MIN: u64 = 512 << 10;
/// Seconds after which a connection has shown its pace. Twice as many, each time, for one that takes over a range
/// that hardly moved: a server that is slow to begin, or silent, would otherwise be asked for it
/// again and again, with no answer and no failure ever.
pub(super) const PACE_SHOWN_AFTER: f64 = 0.2;
/// Seconds that a range must still take for a part of it to be worth a request of its own.
pub(super) const WORTH_IT: f64 = 0.1;
/// Seconds beyond four times what another connection needs: all of the range changes hands.
pub(super) const HOPELESS: f64 = 1.0;
/// Time after which an idle connection looks again whether another one needs help.
pub(super) const HELP_EVERY: Duration = Duration::from_millis(100);

/// How far ahead of the first gap ranges are handed out, so that what is still to be hashed
/// stays in the page cache.
pub(super) const WINDOW: u64 = 512 << 20;

// What counts as progress, and as trouble: connection.

/// Bytes from one answer that count as progress; fewer do if they are all that was asked for. A
/// server whose answers all end after some bytes must not keep a run alive for ever.
pub(super) const PROGRESS: u64 = 64 << 10;
/// Failures in a row after which another endpoint is asked where the bytes are.
pub(super) const FAILURES_BEFORE_FAILOVER: u32 = 3;

// Bytes asked for again: blame.

/// Parts in which the bytes of this run are asked for again: each costs a pass of the hash.
pub(super) const PARTS: u64 = 4;
/// A smaller part is not worth a pass.
pub(super) const PART_MIN: u64 = 16 << 20;
