//! When to try again, after how long, and when to stop. What is tried is the caller's: nothing here speaks
//! HTTP.
//!
//! Delays grow exponentially with full jitter; a server's own wish (`Retry-After`, `RateLimit`) wins.
//! There is one time budget per thing fetched, shared by all its connections, and progress refills it: a slow
//! link may take all day, a dead one ends the run. What counts as progress is the caller's to say.

use std::sync::Mutex;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::error::{Error, Failure};
use crate::report::{Event, Reporter};

const DELAY_MIN: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The Hub counts requests in windows of 5 minutes; three of them are patience enough.
const ORDERED_WAIT_MAX: Duration = Duration::from_mins(15);
/// A pause that leaves less than this of a run is not begun: that who was asked is busy says more than the deadline.
const ANSWER_MIN: Duration = Duration::from_millis(500);

/// Why a try brought nothing.
#[derive(Debug)]
pub enum Setback {
    /// An exchange failed. The failure says whether another may work ([`Failure::is_worth_another_try`]).
    Failed(Failure),
    /// Whom was asked is of no use; another may be.
    Useless(Error),
    /// It is no use to ask anybody again.
    Final(Error),
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Something that is tried until it works, with what is told about it meanwhile.
#[derive(Clone, Copy)]
pub struct Retry<'a> {
    /// What is wanted, as events name it: a path, or the subject of a question.
    pub what: &'a str,
    /// How an error names the failed tries, from `what` and the host that failed last.
    pub doing: fn(what: &str, host: &str) -> String,
    /// The time that failures may take.
    pub budget: &'a Budget,
    /// Hears of each failure, and of the first success after one.
    pub reporter: &'a dyn Reporter,
}

impl<'a> Retry<'a> {
    /// A question to whoever may answer it; `what` is its subject.
    pub fn question(what: &'a str, budget: &'a Budget, reporter: &'a dyn Reporter) -> Self {
        Self { what, doing: |what, host| format!("asking {host} for {what}"), budget, reporter }
    }

    /// Tries the only way there is. Ends with its answer, or with an error: after a permanent failure, a
    /// [`Setback::Useless`] or [`Setback::Final`], or when the budget is spent.
    pub async fn run<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Setback>>,
    {
        self.among([()], |()| attempt()).await
    }

    /// Tries several ways, one after the other, round by round with a pause in between, until one works. A way
    /// that failed for good is not tried again; when none is left, the error is that of the first one.
    pub async fn among<W: Copy, T, F>(
        &self,
        ways: impl IntoIterator<Item = W>,
        mut attempt: impl FnMut(W) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Setback>>,
    {
        let mut ways: Vec<(usize, W)> = ways.into_iter().enumerate().collect();
        let mut refusal: Option<(usize, Error)> = None;
        let mut backoff = Backoff::default();
        loop {
            let mut passing = None;
            for (rank, way) in std::mem::take(&mut ways) {
                let refused = match attempt(way).await {
                    Ok(answer) => {
                        self.recovered(&mut backoff);
                        return Ok(answer);
                    }
                    Err(Setback::Final(error)) => return Err(error),
                    Err(Setback::Useless(error)) => error,
                    Err(Setback::Failed(failure)) if failure.is_worth_another_try(backoff.attempts) => {
                        passing = Some(failure);
                        ways.push((rank, way));
                        continue;
                    }
                    Err(Setback::Failed(failure)) => self.refused(failure),
                };
                if refusal.as_ref().is_none_or(|(first, _)| rank < *first) {
                    refusal = Some((rank, refused));
                }
            }
            let Some(failure) = passing else {
                let nobody = || Error::Internal(format!("nobody to ask for {}", self.what));
                return Err(refusal.map_or_else(nobody, |(_, error)| error));
            };
            self.pause(failure, &mut backoff).await?;
        }
    }

    /// Tells of a failure and pauses as long as it should, or returns the error that ends the tries. For a
    /// caller with a loop of its own, e.g. one that must also notice that somebody else has succeeded.
    pub async fn pause(&self, failure: Failure, backoff: &mut Backoff) -> Result<(), Error> {
        let doing = (self.doing)(self.what, failure.host());
        let (delay, failure) = self.budget.pause_after(failure, backoff, &doing)?;
        let attempt = backoff.attempts;
        self.reporter.report(&Event::Retrying { what: self.what, cause: &failure, delay, attempt });
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Tells of a success, if there were failures before it, and forgets them.
    pub fn recovered(&self, backoff: &mut Backoff) {
        if backoff.attempts > 0 {
            self.reporter.report(&Event::Recovered { what: self.what, attempts: backoff.attempts });
            backoff.reset();
        }
    }

    fn refused(&self, failure: Failure) -> Error {
        Error::Refused { what: (self.doing)(self.what, failure.host()), answer: Box::new(failure) }
    }
}

/// The delays of one connection or question; begins anew after a success.
#[derive(Debug)]
pub struct Backoff {
    delays: ExponentialBackoff,
    /// Failures since the last success.
    pub attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        let builder =
            ExponentialBuilder::new().with_min_delay(DELAY_MIN).with_max_delay(DELAY_MAX).without_max_times();
        Self { delays: builder.build(), attempts: 0 }
    }
}

impl Backoff {
    /// The next delay: uniform between zero and an exponentially growing bound.
    fn next_delay(&mut self) -> Duration {
        self.attempts += 1;
        self.delays.next().unwrap_or(DELAY_MAX).mul_f64(fastrand::f64())
    }

    /// Call it when something worked.
    pub fn reset(&mut self) {
        if self.attempts > 0 {
            *self = Self::default();
        }
    }
}

/// The time that failures may take, refilled by progress.
#[derive(Debug)]
pub struct Budget {
    give_up_after: Duration,
    deadline: Option<Instant>,
    state: Mutex<BudgetState>,
}

#[derive(Debug)]
struct BudgetState {
    last_progress: Instant,
    /// Pauses ordered by the server since the last progress; they do not count as failure.
    /// What several connections were told at the same time counts once.
    ordered: Duration,
    /// The end of the last ordered pause.
    paused_until: Instant,
}

impl Budget {
    /// A full budget. No ordered pause is begun that leaves no time for an answer before `deadline`, the end of the run.
    pub fn new(give_up_after: Duration, deadline: Option<std::time::Instant>) -> Self {
        let now = Instant::now();
        let deadline = deadline.map(Instant::from_std);
        let state = BudgetState { last_progress: now, ordered: Duration::ZERO, paused_until: now };
        Self { give_up_after, deadline, state: Mutex::new(state) }
    }

    /// Fills it again.
    pub fn progressed(&self) {
        let mut state = self.lock();
        state.last_progress = Instant::now();
        state.ordered = Duration::ZERO;
    }

    /// How long to pause after `failure`, or the error that ends it. `what` names the operation
    /// for the error.
    fn pause_after(
        &self,
        failure: Failure,
        backoff: &mut Backoff,
        what: &str,
    ) -> Result<(Duration, Failure), Error> {
        if !failure.is_worth_another_try(backoff.attempts) {
            return Err(Error::Refused { what: what.into(), answer: Box::new(failure) });
        }
        let mut state = self.lock();
        // "At once" is no pause: a server that says nothing else must not be asked for ever.
        if let Some(wait) = failure.ordered_wait().filter(|wait| !wait.is_zero()) {
            backoff.attempts += 1;
            // A little later than asked, and not all clients at the same moment.
            let pause = wait.saturating_add(Duration::from_secs(1).mul_f64(fastrand::f64()));
            if !state.order(pause, self.deadline) {
                return Err(Error::RateLimited { host: failure.host().into(), wait });
            }
            return Ok((pause, failure));
        }
        let delay = backoff.next_delay();
        let elapsed = state.last_progress.elapsed().saturating_sub(state.ordered);
        if elapsed + delay > self.give_up_after {
            let attempts = backoff.attempts;
            return Err(Error::GaveUp { what: what.into(), attempts, elapsed, last: Box::new(failure) });
        }
        Ok((delay, failure))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BudgetState> {
        self.state.lock().expect("nothing panics while it holds the budget")
    }
}

impl BudgetState {
    /// Notes a pause that begins now; says whether it can be waited for.
    fn order(&mut self, wait: Duration, deadline: Option<Instant>) -> bool {
        let now = Instant::now();
        let Some(until) = now.checked_add(wait) else { return false };
        if deadline.is_some_and(|deadline| deadline.saturating_duration_since(until) < ANSWER_MIN) {
            return false;
        }
        self.ordered += until.saturating_duration_since(self.paused_until.max(now));
        self.paused_until = self.paused_until.max(until);
        self.ordered <= ORDERED_WAIT_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::sync::Mutex;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// What was reported.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Reporter for Heard {
        fn report(&self, event: &Event<'_>) {
            let word = match event {
                Event::Retrying { what, attempt, .. } => format!("retry {attempt} of {what}"),
                Event::Recovered { what, attempts } => format!("{what} after {attempts}"),
                _ => return,
            };
            self.0.lock().expect("nothing panics").push(word);
        }
    }

    impl Heard {
        fn list(&self) -> Vec<String> {
            self.0.lock().expect("nothing panics").clone()
        }
    }

    fn passing() -> Failure {
        Failure::Wrong { host: "hub".into(), why: "half an answer".into() }
    }

    fn permanent() -> Failure {
        Failure::Misconfigured { host: "hub".into(), why: "a circle".into() }
    }

    fn limited(seconds: u64) -> Failure {
        Failure::Status {
            host: "hub".into(),
            status: 429,
            phrase: "Too Many Requests",
            message: None,
            code: None,
            request_id: None,
            wait: Some(Duration::from_secs(seconds)),
        }
    }

    fn retry<'a>(budget: &'a Budget, heard: &'a Heard) -> Retry<'a> {
        let doing = |what: &str, host: &str| format!("asking {host} for {what}");
        Retry { what: "a file", doing, budget, reporter: heard }
    }

    /// Plays a script of failures, then succeeds with the number of tries.
    async fn play(budget: &Budget, heard: &Heard, script: Vec<Failure>) -> Result<u32, Error> {
        let script = RefCell::new(script.into_iter());
        let tries = Cell::new(0);
        let attempt = || {
            tries.set(tries.get() + 1);
            std::future::ready(script.borrow_mut().next().map_or(Ok(tries.get()), |why| Err(why.into())))
        };
        retry(budget, heard).run(attempt).await
    }

    #[test]
    fn delays_are_jittered_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..200).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] <= DELAY_MIN);
        assert!(delays.iter().all(|delay| *delay <= DELAY_MAX));
        assert!(delays[20..].iter().any(|delay| *delay > DELAY_MAX / 2));
        assert!(delays[20..].iter().any(|delay| *delay < DELAY_MAX / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_failure_is_waited_out_and_told() {
        let (budget, heard) = (Budget::new(MINUTE, None), Heard::default());
        let tries = play(&budget, &heard, vec![passing(), passing()]).await;
        assert_eq!(tries.expect("an answer"), 3);
        assert_eq!(heard.list(), ["retry 1 of a file", "retry 2 of a file", "a file after 2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_do_not_end_are_given_up_when_the_budget_is_spent() {
        let (budget, heard) = (Budget::new(MINUTE, None), Heard::default());
        let began = Instant::now();
        let error = play(&budget, &heard, std::iter::repeat_with(passing).take(10_000).collect()).await;
        let Err(Error::GaveUp { what, attempts, elapsed, .. }) = error else { panic!("{error:?}") };
        assert_eq!(what, "asking hub for a file");
        assert_eq!(attempts as usize, heard.list().len() + 1);
        assert!(elapsed <= MINUTE && began.elapsed() <= MINUTE, "{elapsed:?}");
        assert!(began.elapsed() > MINUTE / 3, "given up after {:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_setup_is_asked_three_times_for_one_edge_may_be_right() {
        let (budget, heard) = (Budget::new(MINUTE, None), Heard::default());
        let began = Instant::now();
        let tries = play(&budget, &heard, vec![permanent(), permanent()]).await;
        assert_eq!(tries.expect("an answer"), 3);
        let error = play(&budget, &heard, vec![permanent(), permanent(), permanent()]).await;
        assert!(matches!(error, Err(Error::Refused { .. })), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_ordered_pause_is_kept_and_is_no_failure() {
        let (budget, heard) = (Budget::new(MINUTE, None), Heard::default());
        let began = Instant::now();
        // Longer than failures may take altogether.
        play(&budget, &heard, vec![limited(120), passing(), limited(120)]).await.expect("an answer");
        assert!(began.elapsed() >= Duration::from_mins(4));
        let error = play(&budget, &heard, vec![limited(24 * 60 * 60)]).await;
        assert!(matches!(error, Err(Error::RateLimited { .. })), "{error:?}");
        // After the pause there would be no time left for an answer.
        let deadline = std::time::Instant::now() + MINUTE + ANSWER_MIN;
        let error = play(&Budget::new(MINUTE, Some(deadline)), &heard, vec![limited(60)]).await;
        assert!(matches!(error, Err(Error::RateLimited { .. })), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_ways_each_is_tried_until_it_fails_for_good() {
        let (budget, heard) = (Budget::new(MINUTE, None), Heard::default());
        let asked = RefCell::new(Vec::new());
        let attempt = |way: &'static str| {
            asked.borrow_mut().push(way);
            let rounds = asked.borrow().iter().filter(|asked| **asked == way).count();
            std::future::ready(match way {
                "circle" => Err(Setback::Failed(permanent())),
                "page" => Err(Setback::Useless(Error::NotAHub { host: "b".into(), why: "a page".into() })),
                _ if rounds < 3 => Err(Setback::Failed(passing())),
                _ => Ok(()),
            })
        };
        retry(&budget, &heard).among(["circle", "page", "slow"], attempt).await.expect("an answer");
        assert_eq!(*asked.borrow(), ["circle", "page", "slow", "circle", "slow", "circle", "slow"]);
        assert_eq!(heard.list().last().map(String::as_str), Some("a file after 2"));
    }

    #[tokio::test(start_paused = true)]
    async fn when_no_way_is_left_the_first_one_is_told() {
        let (budget, heard) = (Budget::new(MINUTE, None), Heard::default());
        let rounds = Cell::new(0);
        let attempt = |way: u8| {
            rounds.set(rounds.get() + 1);
            std::future::ready(Err::<(), _>(match (way, rounds.get()) {
                (0, 1) => Setback::Failed(passing()),
                (0, _) => Setback::Failed(permanent()),
                _ => Setback::Useless(Error::NotAHub { host: "b".into(), why: "a page".into() }),
            }))
        };
        let error = retry(&budget, &heard).among([0, 1], attempt).await;
        assert!(matches!(error, Err(Error::Refused { .. })), "{error:?}");
        assert_eq!(rounds.get(), 4);
        let attempt = |()| std::future::ready(Err::<(), _>(Setback::Final(Error::Internal("no".into()))));
        let error = retry(&budget, &heard).among([(), ()], attempt).await;
        assert!(matches!(error, Err(Error::Internal(_))), "{error:?}");
    }
}
