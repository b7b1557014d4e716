//! The result in Prometheus' text format, for `node_exporter`'s textfile collector.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Findings, Summary};

/// The metrics of one run that ended at `now`.
pub fn metrics(summary: &Summary<'_>, now: SystemTime) -> String {
    let mut text = String::new();
    let repo = match summary.findings {
        Some(Findings::Fetched(outcome)) => outcome.repo.to_string(),
        Some(Findings::Planned { plan }) => plan.repo.to_string(),
        Some(Findings::Smoked { smoke }) => smoke.plan.repo.to_string(),
        _ => String::new(),
    };
    let labels = format!("command=\"{}\",repo=\"{}\"", escape(summary.command), escape(&repo));
    let mut gauge = |name: &str, help: &str, value: String| {
        let _ = write!(
            text,
            "# HELP modelfetch_{name} {help}\n# TYPE modelfetch_{name} gauge\nmodelfetch_{name}{{{labels}}} {value}\n"
        );
    };
    let end = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    gauge("success", "Whether the last run succeeded.", u8::from(summary.exit == 0).to_string());
    gauge("exit_number", "Exit status of the last run.", summary.exit.to_string());
    gauge("wanted_bytes", "Total size of the files asked for.", summary.bytes_total.to_string());
    gauge("fetched_bytes", "Bytes received by the last run.", summary.bytes_fetched.to_string());
    gauge("retries", "Failures that the last run tried again.", summary.retries.to_string());
    gauge("duration_seconds", "Time the last run took.", format!("{:.3}", summary.seconds));
    gauge("end_timestamp_seconds", "When the last run ended.", end.to_string());
    text
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
