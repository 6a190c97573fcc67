//! Metrics of backends in the [text format](https://prometheus.io/docs/instrumenting/exposition_formats/)
//! of Prometheus.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use medcards_core::metric::{Metric, MetricSource, MetricValue};

/// Writes what the sources have behind what is there. Metrics of one name stand together, as the
/// format asks; one that a source has twice with the same labels is for it to answer for.
pub(crate) fn write_metrics(text: &mut String, sources: &[Arc<dyn MetricSource>]) {
    let mut metrics = Vec::new();
    for source in sources {
        source.collect(&mut metrics);
    }
    metrics.sort_by_key(|metric| metric.name);
    let mut last = "";
    for metric in &metrics {
        if metric.name != last {
            last = metric.name;
            write_head(text, metric);
        }
        write_metric(text, metric);
    }
}

// Writing to a string never fails.

fn write_head(text: &mut String, metric: &Metric) {
    let kind = match &metric.value {
        MetricValue::Counter(_) => "counter",
        MetricValue::Histogram(_) => "histogram",
        _ => "gauge",
    };
    let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
    let name = metric.name;
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn write_metric(text: &mut String, metric: &Metric) {
    let line =
        |text: &mut String, suffix: &str, bound: Option<&str>, value: &dyn std::fmt::Display| {
            let labels = labels(metric, bound);
            let _ = writeln!(text, "{}{suffix}{labels} {value}", metric.name);
        };
    match &metric.value {
        MetricValue::Counter(count) => line(text, "", None, count),
        MetricValue::Gauge(value) => line(text, "", None, value),
        MetricValue::Histogram(counts) => {
            for (bound, count) in &counts.buckets {
                line(text, "_bucket", Some(&bound.to_string()), count);
            }
            line(text, "_bucket", Some("+Inf"), &counts.count);
            line(text, "_sum", None, &counts.sum_s);
            line(text, "_count", None, &counts.count);
        }
        // A kind that this version does not know yet.
        _ => {}
    }
}

fn labels(metric: &Metric, bound: Option<&str>) -> String {
    let bound = bound.map(|bound| ("le", Cow::Borrowed(bound)));
    let labels = metric
        .labels
        .iter()
        .map(|(name, value)| (*name, Cow::Borrowed(&**value)));
    let mut text = String::new();
    for (name, value) in labels.chain(bound) {
        let lead = if text.is_empty() { '{' } else { ',' };
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(text, "{lead}{name}=\"{value}\"");
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use medcards_core::metric::DurationHistogram;

    use super::*;

    #[derive(Debug)]
    struct Two;

    impl MetricSource for Two {
        fn collect(&self, metrics: &mut Vec<Metric>) {
            let hits = |count| Metric::counter("hits_total", "Hits.", count);
            metrics.push(hits(3).with_label("tier", "near"));
            metrics.push(Metric::gauge("away", "A \\ and\nmore.", 1.5));
            metrics.push(hits(4).with_label("tier", "\"far\"\n"));
            let took = DurationHistogram::default();
            took.record(Duration::from_millis(3));
            metrics.push(Metric::histogram("took_seconds", "Time.", took.counts()));
        }
    }

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let mut text = String::new();
        write_metrics(&mut text, &[Arc::new(Two)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..8],
            [
                "# HELP away A \\\\ and\\nmore.",
                "# TYPE away gauge",
                "away 1.5",
                "# HELP hits_total Hits.",
                "# TYPE hits_total counter",
                "hits_total{tier=\"near\"} 3",
                "hits_total{tier=\"\\\"far\\\"\\n\"} 4",
                "# HELP took_seconds Time.",
            ]
        );
        assert!(lines.contains(&"took_seconds_bucket{le=\"0.0025\"} 0"));
        assert!(lines.contains(&"took_seconds_bucket{le=\"0.005\"} 1"));
        assert!(lines.contains(&"took_seconds_bucket{le=\"+Inf\"} 1"));
        assert_eq!(
            lines[lines.len() - 2..],
            ["took_seconds_sum 0.003", "took_seconds_count 1"]
        );
    }
}
