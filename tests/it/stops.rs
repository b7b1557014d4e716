//! A run that is told to end ends, wherever it is, and leaves nothing running.

use std::ffi::OsString;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fake_hub::{Fault, Rule, Server};
use modelfetch::cli::{self, Environment, Invocation, Job, Stderr, Work};
use modelfetch::report::{Event, Reporter};
use modelfetch::{Context, net, stop};

use crate::support::command::AT_ONCE;
use crate::support::{FILE, MIB, REPO, TestDir, hub, model};

#[test]
fn a_run_that_asks_anew_what_a_wrong_file_should_be_is_stopped_by_a_signal() {
    let hub = hub(&model(1, 4));
    hub.fault(Rule::cdn().covering(2_000_000).then(Fault::FlipByte(2_000_000)));
    let asked = hub.fault(Rule::resolve().nth(2).always().then(Fault::stall(0)));
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE, "--connections", "1"]).start();
    run.wait_until("the second question", |_| asked.count() > 0);
    run.terminate();
    dir.assert_absent(FILE);
}

struct Silent;

impl Reporter for Silent {
    fn report(&self, _: &Event<'_>) {}
}

/// Threads of this process that one runtime started, or a thread of it did: they inherit the name.
fn threads_of(runtime: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == runtime))
        .count()
}

#[test]
fn a_fetch_that_is_dropped_leaves_no_thread() {
    const RUNTIME: &str = "dropped-fetch";
    let model = model(1, 64);
    let hub = hub(&model);
    hub.fault(Rule::cdn().late_range().always().then(Fault::stall(MIB)));
    let dir = TestDir::new();
    let line = ["modelfetch", "fetch", REPO, FILE, "--dir", dir.models().to_str().expect("UTF-8")];
    let environment = Environment::from_pairs([("HF_ENDPOINT", hub.endpoint().as_str())]);
    let Ok(Invocation::Work(work)) =
        cli::parse(&line.map(OsString::from), &environment, Stderr { is_terminal: false })
    else {
        panic!("a command line that is understood")
    };
    let Work { job: Job::Fetch(request), roots, proxies, .. } = *work else { panic!("a fetch") };

    let workers = 2;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(RUNTIME)
        .thread_keep_alive(Duration::from_millis(100))
        .enable_all()
        .build()
        .expect("a runtime");
    let (_sender, stop) = stop::channel(None);
    let context =
        Context { http: net::client(&roots, proxies).expect("a client"), reporter: Arc::new(Silent), stop };
    let bytes_move = async {
        while hub.bytes_sent(Server::Cdn) < 2 * MIB {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let fetch_a_part = || {
        runtime.block_on(async {
            tokio::select! {
                ended = modelfetch::fetch(&request, &context) => panic!("it ended: {ended:?}"),
                () = bytes_move => {}
            }
        });
    };
    thread::scope(|scope| {
        thread::Builder::new().name(RUNTIME.into()).spawn_scoped(scope, fetch_a_part).expect("a thread");
    });
    let deadline = Instant::now() + AT_ONCE;
    while threads_of(RUNTIME) > workers && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    let left = threads_of(RUNTIME).saturating_sub(workers);
    // Not by dropping it: that would wait for the threads.
    runtime.shutdown_background();
    assert_eq!(left, 0, "threads are left");
    // The next one is not kept waiting by what the dropped one held.
    hub.clear_faults();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().at_once();
    dir.assert_done(FILE, &model);
}
