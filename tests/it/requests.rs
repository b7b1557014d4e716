//! What a command line and the standard variables mean, as a request of the library.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use modelfetch::cli::{self, Environment, Invocation, Job, Output, Stderr, Unusable, Work};
use modelfetch::command::verify::VerifyRequest;
use modelfetch::request::{Connections, Destination, NetworkUse, RepoKind, Request};
use modelfetch::show::Style;

const NO_TERMINAL: Stderr = Stderr { is_terminal: false };

fn work(line: &str, variables: &[(&str, &str)], stderr: Stderr) -> Result<Work, Unusable> {
    let arguments: Vec<OsString> =
        std::iter::once("modelfetch").chain(line.split_whitespace()).map(Into::into).collect();
    let environment = Environment::from_pairs(variables.iter().copied());
    match cli::parse(&arguments, &environment, stderr)? {
        Invocation::Work(work) => Ok(*work),
        Invocation::Page(page) => panic!("`{line}` asks for {page:?}"),
    }
}

fn request(line: &str, variables: &[(&str, &str)]) -> Request {
    match work(line, variables, NO_TERMINAL) {
        Ok(Work { job: Job::Fetch(request) | Job::Plan(request) | Job::Smoke(request), .. }) => request,
        other => panic!("`{line}` gives {other:?}"),
    }
}

fn verify(line: &str) -> VerifyRequest {
    match work(line, &[], NO_TERMINAL) {
        Ok(Work { job: Job::Verify(request), .. }) => request,
        other => panic!("`{line}` gives {other:?}"),
    }
}

/// The message of a refusal; its exit number must be that of bad usage.
fn refusal(line: &str, variables: &[(&str, &str)]) -> String {
    match work(line, variables, NO_TERMINAL) {
        Ok(work) => panic!("`{line}` was accepted: {work:?}"),
        Err(Unusable::Syntax(error)) => {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        }
        Err(Unusable::Meaning(error)) => {
            assert_eq!(error.exit_number(), 2, "{error}");
            error.to_string()
        }
    }
}

fn output(line: &str, variables: &[(&str, &str)], is_terminal: bool) -> Output {
    work(line, variables, Stderr { is_terminal }).expect("accepted").output
}

#[test]
fn without_any_flag_the_defaults_hold() {
    let request = request("fetch o/n", &[]);
    assert_eq!(request.repo.to_string(), "o/n");
    assert_eq!(request.revision.as_str(), "main");
    assert_eq!(request.selection.describe(), "all files");
    assert_eq!(request.destination, Destination::Dir(".".into()));
    assert_eq!(request.network, NetworkUse::Allowed);
    assert_eq!(request.limits.connections, Connections::Auto);
    assert_eq!(request.limits.stall_timeout, Duration::from_secs(10));
    assert_eq!(request.limits.give_up_after, Duration::from_mins(5));
    assert_eq!((request.limits.rate_max, request.limits.deadline), (None, None));
    let endpoints: Vec<_> = request.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["https://huggingface.co"]);
    assert!(request.endpoints.token().is_none());
}

#[test]
fn every_flag_reaches_the_request() {
    let request = request(
        "fetch datasets/x --repo-type dataset --revision v1 --include a/* --exclude *.bin --quant Q8_0 \
         --dir /d --endpoint https://a.example --endpoint https://b.example --require-fresh --verify full \
         --connections 16 --limit-rate 25MB --deadline 6h --stall-timeout 30 --give-up-after 10m",
        &[],
    );
    assert_eq!(request.repo.kind, RepoKind::Dataset);
    assert_eq!(request.revision.as_str(), "v1");
    assert_eq!(request.selection.describe(), "a/*, not *.bin, quantization Q8_0");
    assert_eq!(request.destination, Destination::Dir("/d".into()));
    assert_eq!(request.endpoints.iter().count(), 2);
    assert_eq!(request.network, NetworkUse::RequireFresh);
    assert_eq!(request.limits.connections, Connections::Fixed(16));
    assert_eq!(request.limits.rate_max, Some(25_000_000));
    assert_eq!(request.limits.deadline, Some(Duration::from_hours(6)));
    assert_eq!(request.limits.stall_timeout, Duration::from_secs(30));
    assert_eq!(request.limits.give_up_after, Duration::from_mins(10));
}

#[test]
fn a_repository_can_carry_revision_quantization_and_file() {
    let quant = request("fetch o/n:Q4_K_M", &[]);
    assert_eq!(quant.selection.describe(), "quantization Q4_K_M");
    let url = request("fetch https://huggingface.co/o/n/blob/v2/d/m.gguf", &[]);
    assert_eq!((url.revision.as_str(), url.selection.describe().as_str()), ("v2", "d/m.gguf"));
    let hf = request("fetch hf://o/n@v3/d/m.gguf", &[]);
    assert_eq!((hf.revision.as_str(), hf.selection.describe().as_str()), ("v3", "d/m.gguf"));
}

#[test]
fn what_cannot_both_be_meant_is_refused_by_name() {
    for (line, first, second) in [
        ("fetch o/n@v1 --revision v2", "a revision in REPO", "--revision"),
        ("fetch https://huggingface.co/o/n/blob/main/a.gguf b.gguf", "a file in REPO", "FILE"),
        ("fetch o/n:Q8_0 a.gguf", ":QUANT in REPO", "FILE"),
        ("fetch o/n:Q8_0 --quant Q4_0", ":QUANT in REPO", "--quant"),
        ("fetch o/n --offline --require-fresh", "--offline", "--require-fresh"),
        ("fetch o/n --dir d --cache=c", "--dir", "--cache"),
        ("fetch o/n --quiet --verbose", "--quiet", "--verbose"),
    ] {
        let message = refusal(line, &[]);
        assert!(message.contains(first) && message.contains(second), "{line}: {message}");
    }
    let message = refusal("fetch o/n --require-fresh", &[("HF_HUB_OFFLINE", "1")]);
    assert!(message.contains("HF_HUB_OFFLINE") && message.contains("--require-fresh"), "{message}");
}

#[test]
fn bad_values_are_refused_with_the_reason() {
    for (line, reason) in [
        ("fetch name", "owner/name"),
        ("fetch o/n ../x", "`..`"),
        ("fetch o/n --revision ../x", "contains `..`"),
        ("fetch o/n --sha256 abc", "expected 64 hex digits, found 3"),
        ("fetch o/n --connections 0", "from 1 to 64"),
        ("fetch o/n --connections 65", "from 1 to 64"),
        ("fetch o/n --limit-rate fast", "25M"),
        ("fetch o/n --deadline 0", "longer than zero"),
        ("fetch o/n --deadline soon", "1h30m"),
        ("fetch o/n --endpoint ftp://x.example", "expected https://HOST"),
        ("fetch o/n --repo-type thing", "model, dataset, space"),
        ("fetch o/n --token-file /nonexistent/token", "token file"),
        ("fetch o/n --quant a/b", "Q4_K_M"),
        ("fetch o/n --include [", "glob"),
        ("fetch o/n --tokn x", "--token-file"),
        ("fetch", "<REPO>"),
        ("fetsh o/n", "fetch"),
    ] {
        let message = refusal(line, &[]);
        assert!(message.contains(reason), "{line}: {message}");
    }
}

#[test]
fn a_password_in_an_endpoint_is_not_repeated() {
    let work = work("fetch o/n --endpoint https://user:hunter2@x.example", &[], NO_TERMINAL);
    let work = format!("{:?}", work.expect("accepted"));
    assert!(!work.contains("hunter2") && work.contains("x.example"), "{work}");
    let message = refusal("fetch o/n --endpoint https://user:hunter2@x.example?y", &[]);
    assert!(!message.contains("hunter2") && message.contains("query"), "{message}");
}

/// There is no flag for a token, and a guess at one must not put it into a log.
#[test]
fn a_token_given_as_a_flag_is_refused_and_not_repeated() {
    for line in ["fetch o/n --token hf_secret", "fetch o/n --token=hf_secret"] {
        let message = refusal(line, &[]);
        assert!(!message.contains("hf_secret") && message.contains("--token-file"), "{message}");
    }
}

#[test]
fn a_secret_in_the_place_of_something_else_is_not_repeated() {
    for line in [
        "hf_SECRET",
        "fetch hf_SECRET",
        "fetch user:SECRET@host/o/n",
        "fetch user:SE/CRET@host/o/n",
        "fetch user:SECRET@host",
        "fetch o/n --connections hf_SECRET",
        "fetch o/n --insecure-token=hf_SECRET",
        "fetch o/n --offline=hf_SECRET",
        "fetch o/n -thf_SECRET",
        "fetch o/n --repo-type https://user:SECRET@host",
        "fetch o/n --deadline https://host/?token=SECRET",
        "fetch o/n --token-file hf_SECRET",
        "fetch o/n --token-endpoint hf_SECRET",
        "fetch o/n --endpoint hf_SECRET",
        "fetch o/n --endpoint user:SECRET@host",
        "fetch o/n --sha256 hf_SECRET",
    ] {
        let message = refusal(line, &[]);
        assert!(!message.contains("SE") && !message.contains("CRET"), "{line}: {message}");
    }
    let message = refusal("fetch o/n --connections AKCSECRET", &[("HF_TOKEN", "AKCSECRET")]);
    assert!(!message.contains("SECRET") && message.contains("--connections"), "{message}");
}

#[test]
fn the_cache_is_huggingface_hubs_unless_a_place_is_given() {
    let home = ("HOME", "/home/u");
    assert_eq!(
        request("fetch o/n --cache", &[home]).destination,
        Destination::Cache("/home/u/.cache/huggingface/hub".into())
    );
    assert_eq!(
        request("fetch o/n --cache", &[home, ("HF_HOME", "~/hf")]).destination,
        Destination::Cache("/home/u/hf/hub".into())
    );
    assert_eq!(request("fetch o/n --cache=/c", &[home]).destination, Destination::Cache("/c".into()));
    assert_eq!(request("fetch o/n --cache=~/c", &[home]).destination, Destination::Cache("/home/u/c".into()));
    assert!(refusal("fetch o/n --cache", &[]).contains("HF_HOME"));
}

#[test]
fn the_standard_offline_variables_mean_offline() {
    for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        assert_eq!(request("fetch o/n", &[(variable, "1")]).network, NetworkUse::Offline);
        assert_eq!(request("fetch o/n", &[(variable, "0")]).network, NetworkUse::Allowed);
        assert_eq!(request("fetch o/n", &[(variable, "")]).network, NetworkUse::Allowed);
    }
}

#[test]
fn the_standard_timeouts_are_heard_unless_a_flag_says_otherwise() {
    let timeouts = |line: &str, variables: &[(&str, &str)]| {
        let limits = request(line, variables).limits;
        [limits.stall_timeout, limits.answer_timeout].map(|timeout| timeout.as_secs())
    };
    let (bytes, answers) = (("HF_HUB_DOWNLOAD_TIMEOUT", "60"), ("HF_HUB_ETAG_TIMEOUT", " 30 "));
    assert_eq!(timeouts("fetch o/n", &[]), [10, 10]);
    assert_eq!(timeouts("fetch o/n", &[bytes]), [60, 10]);
    assert_eq!(timeouts("fetch o/n", &[bytes, answers]), [60, 30]);
    assert_eq!(timeouts("fetch o/n --stall-timeout 5s", &[bytes, answers]), [5, 5]);
    for default in ["0", "", " "] {
        assert_eq!(timeouts("fetch o/n", &[("HF_HUB_DOWNLOAD_TIMEOUT", default)]), [10, 10]);
    }
    for variable in [bytes.0, answers.0] {
        for bad in ["soon", "10s", "1.5", "-1", "99999999999999999999"] {
            let message = refusal("fetch o/n", &[(variable, bad)]);
            assert!(message.contains(variable) && message.contains("whole seconds"), "{message}");
        }
    }
}

#[test]
fn a_token_never_travels_in_the_clear_unasked() {
    let variables = [("HF_TOKEN", "hf_secret"), ("HF_ENDPOINT", "http://mirror.example")];
    let message = refusal("fetch o/n", &variables);
    assert!(message.contains("plain http") && !message.contains("hf_secret"), "{message}");
    assert!(request("fetch o/n --insecure-token", &variables).endpoints.token().is_some());
}

#[test]
fn a_token_with_a_line_break_inside_is_refused() {
    let message = refusal("fetch o/n", &[("HF_TOKEN", "hf_a\nhf_b")]);
    assert!(message.contains("HF_TOKEN") && !message.contains("hf_a"), "{message}");
}

#[test]
fn debug_output_of_a_whole_command_line_holds_no_token() {
    let work = work("fetch o/n", &[("HF_TOKEN", "hf_secret")], NO_TERMINAL).expect("accepted");
    let text = format!("{work:?}");
    assert!(text.contains("Token(from HF_TOKEN)") && !text.contains("hf_secret"), "{text}");
}

#[test]
fn a_dry_run_is_a_plan() {
    let work = work("fetch o/n --dry-run", &[], NO_TERMINAL).expect("accepted");
    assert_eq!(work.job.name(), "plan");
}

#[test]
fn verify_takes_paths_pins_and_a_place() {
    let pin = "00".repeat(32);
    let request = verify(&format!("verify a.gguf d/b.gguf --dir /m --sha256 a.gguf={pin} --repair"));
    assert_eq!(request.paths, [Path::new("a.gguf"), Path::new("d/b.gguf")]);
    assert_eq!(request.destination, Destination::Dir("/m".into()));
    assert!(request.repair);
    let digest = request.pins.for_file(&"a.gguf".parse().expect("path"), 2).expect("pin");
    assert_eq!(digest.to_string(), pin);
}

#[test]
fn certificate_authorities_come_from_the_environment() {
    let variables = [("SSL_CERT_FILE", "/ca.pem"), ("SSL_CERT_DIR", "")];
    let roots = work("fetch o/n", &variables, NO_TERMINAL).expect("accepted").roots;
    assert_eq!(roots.file.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(roots.dirs, Vec::<std::path::PathBuf>::new());
}

#[test]
fn bars_are_for_terminals_and_lines_for_everything_else() {
    let style = |line, variables: &[(&str, &str)], is_terminal| output(line, variables, is_terminal).progress;
    assert_eq!(style("fetch o/n", &[], true), Style::Bars);
    assert_eq!(style("fetch o/n", &[], false), Style::Lines);
    assert_eq!(style("fetch o/n", &[("TERM", "dumb")], true), Style::Lines);
    assert_eq!(style("fetch o/n", &[("HF_HUB_DISABLE_PROGRESS_BARS", "1")], true), Style::Lines);
    assert_eq!(
        style("fetch o/n --progress bars", &[("HF_HUB_DISABLE_PROGRESS_BARS", "1")], true),
        Style::Bars
    );
    assert_eq!(style("fetch o/n --progress bars", &[], false), Style::Lines);
    assert_eq!(style("fetch o/n --verbose", &[], true), Style::Lines);
    assert_eq!(style("fetch o/n --progress json", &[], true), Style::Json);
    assert_eq!(style("fetch o/n --progress none", &[], true), Style::Warnings);
    assert_eq!(style("fetch o/n --quiet", &[], true), Style::Silent);
}

#[test]
fn colour_is_for_terminals_that_were_not_told_otherwise() {
    let color = |line, variables: &[(&str, &str)], is_terminal| output(line, variables, is_terminal).color;
    assert!(color("fetch o/n", &[], true));
    assert!(!color("fetch o/n", &[], false));
    assert!(!color("fetch o/n", &[("NO_COLOR", "1")], true));
    assert!(color("fetch o/n", &[("NO_COLOR", "")], true), "an empty NO_COLOR counts as absent");
    assert!(color("fetch o/n --color always", &[("NO_COLOR", "1")], false));
    assert!(!color("fetch o/n --color never", &[], true));
}
