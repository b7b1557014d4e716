//! Runs of the program: started, watched, stopped, judged.

use std::ffi::OsStr;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// No run takes longer; one that does is killed and fails its test.
const PATIENCE: Duration = Duration::from_mins(2);
/// What is done at once is done by then, even on a machine that has much else to do; what waits for
/// a limit of minutes is not.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(30);
/// A run that is told to end has this long.
const PROMPTLY: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
/// Between two looks at a run's memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Of a new pipe: pipe(7).
const PIPE_CAPACITY: usize = 64 << 10;

/// A command line that is being put together.
pub(crate) struct Modelfetch(Command);

impl Modelfetch {
    /// In a directory that has a `home`. Nothing of the test's own environment is passed on.
    pub(crate) fn new(dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelfetch"));
        command.env_clear().env("HOME", dir.join("home")).current_dir(dir);
        Self(command)
    }

    /// As another user: through `setpriv`, which runs the program with no rights of root.
    pub(crate) fn by_user(self, uid: u32) -> Self {
        let (user, group) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        self.through("setpriv", &[&user, &group, "--clear-groups", "--"])
    }

    /// Where a crash may leave a core of any size.
    pub(crate) fn with_cores(self) -> Self {
        self.through("prlimit", &["--core=unlimited", "--"])
    }

    /// Through another program, which runs this one.
    pub(super) fn through(self, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        command.arg(self.0.get_program()).args(self.0.get_args());
        command.env_clear();
        command.envs(self.0.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if let Some(dir) = self.0.get_current_dir() {
            command.current_dir(dir);
        }
        Self(command)
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Run {
        self.start().finish()
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(self) -> Running {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut running = self.start_with_stderr(writer);
        running.stderr = Stream::read(reader);
        running
    }

    /// Starts it with a stderr that takes nothing more: a pipe that is full, and its other end, for
    /// [`Running::listen`].
    #[track_caller]
    pub(crate) fn start_unheard(self) -> (Running, PipeReader) {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(&vec![b'\n'; PIPE_CAPACITY]).expect("as much as it takes");
        (self.start_with_stderr(writer), reader)
    }

    #[track_caller]
    fn start_with_stderr(mut self, stderr: PipeWriter) -> Running {
        self.0.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = self.0.spawn().expect("the program starts");
        let stdout = Stream::read(child.stdout.take().expect("a pipe"));
        Running { child, stdout, stderr: Stream::default(), started: Instant::now() }
    }
}

/// A run under way; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    started: Instant,
}

impl Running {
    /// Waits until stderr holds this text.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.wait_until(&format!("{text:?} on stderr"), |run| run.stderr.text().contains(text));
    }

    /// Waits until something is true; fails if the run ends first.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        loop {
            let over = self.child.try_wait().expect("a child").is_some();
            if condition(self) {
                return;
            }
            assert!(
                !over && self.started.elapsed() < PATIENCE,
                "waited in vain for {what}; stderr:\n{}",
                self.stderr.text()
            );
            thread::sleep(POLL);
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended by itself, which its exit status will tell.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Tells it to end, which it does at once, with the number for that.
    #[track_caller]
    pub(crate) fn terminate(self) -> Run {
        self.signal(Signal::TERM);
        self.finish_within(PROMPTLY).exits(143)
    }

    /// Kills it as the kernel does when memory runs out.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a child that was killed");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Begins to read what it says on a stderr that nobody read.
    pub(crate) fn listen(&mut self, stderr: PipeReader) {
        self.stderr = Stream::read(stderr);
    }

    /// The most memory it ever had resident, in KiB, and its threads of now.
    fn peak_kib_and_threads(&self) -> Option<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        // A process that is over has no memory.
        Some((field("VmHWM:")?, field("Threads:")?))
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(self) -> Run {
        self.finish_within(PATIENCE)
    }

    /// Waits for its end, which has to come within this time from now; kills it otherwise.
    #[track_caller]
    pub(crate) fn finish_within(mut self, limit: Duration) -> Run {
        let begun = Instant::now();
        let (mut peak_kib, mut peak_threads, mut looked) = (0, 0, None);
        let status = loop {
            if looked.is_none_or(|looked: Instant| looked.elapsed() >= LOOK_EVERY) {
                // The kernel keeps the peak itself; of a process that is over it tells nothing.
                if let Some((kib, threads)) = self.peak_kib_and_threads() {
                    (peak_kib, peak_threads) = (kib, threads.max(peak_threads));
                }
                looked = Some(Instant::now());
            }
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(
                begun.elapsed() < limit,
                "still running after {limit:?}; stderr:\n{}",
                self.stderr.text()
            );
            thread::sleep(POLL);
        };
        let time = self.started.elapsed();
        let (stdout, stderr) = (self.stdout.all(), self.stderr.all());
        let (status, dumped_core) = (status.code(), status.core_dumped());
        Run { status, dumped_core, stdout, stderr, time, peak_kib, peak_threads }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came out of a pipe so far.
#[derive(Default)]
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn read(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                shared.lock().expect("readers do not panic").extend_from_slice(&buffer[..count]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("readers do not panic")).into_owned()
    }

    /// Everything, once the pipe is closed.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("readers do not panic");
        }
        self.text()
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit number; `None` after a signal that was not caught.
    pub(crate) status: Option<i32>,
    /// The kernel wrote a core, wherever it went.
    pub(crate) dumped_core: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) time: Duration,
    /// The most memory it had resident, in KiB, as seen up to shortly before its end.
    pub(crate) peak_kib: u64,
    /// The most threads it had, as seen every now and then.
    pub(crate) peak_threads: u64,
}

impl Run {
    /// It ended well.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// It ended with this number.
    #[track_caller]
    pub(crate) fn exits(self, number: i32) -> Self {
        assert_eq!(self.status, Some(number), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// stderr holds this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in\n{}", self.stderr);
        self
    }

    /// stderr does not hold this text.
    #[track_caller]
    pub(crate) fn does_not_say(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "{text:?} is in\n{}", self.stderr);
        self
    }

    /// stdout holds this text.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "{text:?} is not in\n{}", self.stdout);
        self
    }

    /// It took no longer than this.
    #[track_caller]
    pub(crate) fn within(self, limit: Duration) -> Self {
        assert!(self.time <= limit, "took {:?}; stderr:\n{}", self.time, self.stderr);
        self
    }

    /// It did not wait for anything that takes minutes.
    #[track_caller]
    pub(crate) fn at_once(self) -> Self {
        self.within(AT_ONCE)
    }

    /// It took at least this long.
    #[track_caller]
    pub(crate) fn not_before(self, limit: Duration) -> Self {
        assert!(self.time >= limit, "took only {:?}; stderr:\n{}", self.time, self.stderr);
        self
    }

    /// What `--json` printed.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| {
            panic!("stdout is no JSON ({why}):\n{}\nstderr:\n{}", self.stdout, self.stderr)
        })
    }
}
