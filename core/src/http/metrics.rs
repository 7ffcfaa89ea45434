//! GET `/metrics`: the machine's counters and gauges as Prometheus text or as JSON.
//!
//! What is measured is decided by the machine, which hands over a plain list. Names are `dolake_…_total` for counters
//! and end in their unit (`_bytes`, `_seconds`) where they have one. Source of the text: Prometheus exposition format
//! 0.0.4.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::http::respond::Answer;

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only up, from zero at each start of the process.
    Counter,
    /// Up and down.
    Gauge,
}

impl MetricKind {
    fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        }
    }
}

/// One measured number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricValue {
    /// A whole number, exact to its last digit.
    Integer(u64),
    /// Any other, as seconds are.
    Float(f64),
}

/// A value and what sets it apart from the metric's other values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Names (`[a-zA-Z_][a-zA-Z0-9_]*`) and values, in order.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: MetricValue,
}

/// A metric with all its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// `dolake_` and what is counted, `[a-z0-9_]`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// Its values; a metric without any is still named.
    pub samples: Vec<Sample>,
}

impl Metric {
    /// A metric without values yet.
    pub fn new(kind: MetricKind, name: &'static str, help: &'static str) -> Metric {
        assert!(well_named(kind, name), "metric name {name:?}: dolake_…, with _total for counters and only for them");
        Metric { name, help, kind, samples: Vec::new() }
    }

    /// A counter with one value and no labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Metric {
        Metric::new(MetricKind::Counter, name, help).with(&[], MetricValue::Integer(value))
    }

    /// A gauge with one value and no labels.
    pub fn gauge(name: &'static str, help: &'static str, value: MetricValue) -> Metric {
        Metric::new(MetricKind::Gauge, name, help).with(&[], value)
    }

    /// With one value more.
    #[must_use]
    pub fn with(mut self, labels: &[(&'static str, &str)], value: MetricValue) -> Metric {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value });
        self
    }
}

fn well_named(kind: MetricKind, name: &str) -> bool {
    let characters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let counter = match kind {
        MetricKind::Counter => true,
        MetricKind::Gauge => false,
    };
    characters && name.starts_with("dolake_") && name.ends_with("_total") == counter
}

/// The whole answer, in the form that was asked for ([`super::Route::Metrics`]).
pub fn answer(metrics: &[Metric], json: bool) -> Answer {
    if json {
        return Answer::json(200, &as_json(metrics));
    }
    Answer::typed(200, "text/plain; version=0.0.4; charset=utf-8", as_text(metrics).into())
}

fn as_text(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for metric in metrics {
        let name = metric.name;
        let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
        line(&mut text, format_args!("# HELP {name} {help}"));
        line(&mut text, format_args!("# TYPE {name} {}", metric.kind.as_str()));
        for Sample { labels, value } in &metric.samples {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            match value {
                MetricValue::Integer(value) => line(&mut text, format_args!("{name}{labels} {value}")),
                MetricValue::Float(value) => line(&mut text, format_args!("{name}{labels} {}", float(*value))),
            }
        }
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("text into memory");
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Prometheus has its own spelling of what is no number.
fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

/// `{ name: { type, help, values: [{ labels, value }] } }`; what is no number is null.
fn as_json(metrics: &[Metric]) -> Value {
    let sample = |sample: &Sample| {
        let labels: Map<String, Value> =
            sample.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        match sample.value {
            MetricValue::Integer(value) => json!({ "labels": labels, "value": value }),
            MetricValue::Float(value) => json!({ "labels": labels, "value": value }),
        }
    };
    let metric = |metric: &Metric| {
        let values: Vec<Value> = metric.samples.iter().map(sample).collect();
        let value = json!({ "type": metric.kind.as_str(), "help": metric.help, "values": values });
        (metric.name.to_owned(), value)
    };
    Value::Object(metrics.iter().map(metric).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Vec<Metric> {
        vec![
            Metric::counter("dolake_events_total", "Events taken.", u64::MAX),
            Metric::gauge("dolake_flush_seconds", "Duration of the last flush.", MetricValue::Float(0.25)),
            Metric::new(MetricKind::Gauge, "dolake_table_rows", "Rows \\ of\ntables.")
                .with(&[("table", "a\"b\\c\nd"), ("mode", "changelog")], MetricValue::Integer(1))
                .with(&[("table", "e")], MetricValue::Float(f64::NAN)),
            Metric::new(MetricKind::Counter, "dolake_nacks_total", "Nacks."),
        ]
    }

    #[test]
    fn prometheus_gets_its_text() {
        let answer = answer(&metrics(), false);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let expected = "\
# HELP dolake_events_total Events taken.
# TYPE dolake_events_total counter
dolake_events_total 18446744073709551615
# HELP dolake_flush_seconds Duration of the last flush.
# TYPE dolake_flush_seconds gauge
dolake_flush_seconds 0.25
# HELP dolake_table_rows Rows \\\\ of\\ntables.
# TYPE dolake_table_rows gauge
dolake_table_rows{table=\"a\\\"b\\\\c\\nd\",mode=\"changelog\"} 1
dolake_table_rows{table=\"e\"} NaN
# HELP dolake_nacks_total Nacks.
# TYPE dolake_nacks_total counter
";
        assert_eq!(std::str::from_utf8(&answer.body), Ok(expected));
    }

    #[test]
    fn programs_get_json() {
        let answer = answer(&metrics(), true);
        let expected = json!({
            "dolake_events_total": {
                "type": "counter", "help": "Events taken.", "values": [{"labels": {}, "value": u64::MAX}],
            },
            "dolake_flush_seconds": {
                "type": "gauge", "help": "Duration of the last flush.", "values": [{"labels": {}, "value": 0.25}],
            },
            "dolake_table_rows": {
                "type": "gauge", "help": "Rows \\ of\ntables.", "values": [
                    {"labels": {"table": "a\"b\\c\nd", "mode": "changelog"}, "value": 1},
                    {"labels": {"table": "e"}, "value": null},
                ],
            },
            "dolake_nacks_total": { "type": "counter", "help": "Nacks.", "values": [] },
        });
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).expect("JSON"), expected);
    }

    #[test]
    fn infinities_are_spelled_as_prometheus_does() {
        assert_eq!((float(f64::INFINITY).as_str(), float(f64::NEG_INFINITY).as_str()), ("+Inf", "-Inf"));
    }

    #[test]
    fn a_name_follows_the_rules() {
        let check = |kind, name, expected| assert_eq!(well_named(kind, name), expected, "{name}");
        check(MetricKind::Counter, "dolake_events_total", true);
        check(MetricKind::Counter, "dolake_events", false);
        check(MetricKind::Gauge, "dolake_events_total", false);
        check(MetricKind::Gauge, "dolake_buffer_bytes", true);
        check(MetricKind::Gauge, "buffer_bytes", false);
        check(MetricKind::Gauge, "dolake_Buffer", false);
    }
}
