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
    let copied = summary.bytes_copied.to_string();
    gauge("copied_bytes", "Bytes that the last run copied from older files.", copied);
    gauge("retries", "Failures that the last run tried again.", summary.retries.to_string());
    gauge("duration_seconds", "Time the last run took.", format!("{:.3}", summary.seconds));
    gauge("end_timestamp_seconds", "When the last run ended.", end.to_string());
    text
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture;
    use super::super::{Summary, Totals};
    use super::*;
    use crate::error::Error;

    #[test]
    fn the_metrics_of_a_good_run_carry_its_labels_and_sums() {
        let outcome = fixture::outcome(1);
        let totals = Totals { bytes_total: 7, bytes_fetched: 5, bytes_copied: 3, retries: 2 };
        let summary = Summary::new("fetch", None, Some(Findings::Fetched(&outcome)), totals, 1.25);
        let text = metrics(&summary, UNIX_EPOCH + Duration::from_secs(99));
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = "{command=\"fetch\",repo=\"o/n\"}";
        let expected = [
            ("success", "1"),
            ("exit_number", "0"),
            ("wanted_bytes", "7"),
            ("fetched_bytes", "5"),
            ("copied_bytes", "3"),
            ("retries", "2"),
            ("duration_seconds", "1.250"),
            ("end_timestamp_seconds", "99"),
        ];
        assert_eq!(values, expected.map(|(name, value)| format!("modelfetch_{name}{labels} {value}")));
    }

    #[test]
    fn every_metric_has_its_help_and_type_and_is_documented() {
        let error = Error::Internal("x".into());
        let text = metrics(&Summary::new("fetch", Some(&error), None, Totals::default(), 0.0), UNIX_EPOCH);
        let manual = include_str!("../../docs/progress.md");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split('{').next().expect("a name");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            assert!(text.contains(&format!("# TYPE {name} gauge\n")), "{name}");
            assert!(manual.contains(&format!("`{name}`")), "{name} is not documented");
        }
    }
}
