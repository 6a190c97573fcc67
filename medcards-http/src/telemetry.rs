use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use medcards_core::feedback::{ResolverCounts, Tier};
use medcards_core::{Error, ErrorKind, Result};
use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

/// Upper bounds of the buckets of durations, in seconds: from a cached feedback (50 µs) to the
/// deadline of a live one (10 s).
const DURATION_BUCKETS: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0,
    2.5, 10.0,
];

/// How often the samples of histograms are folded into their buckets. They take memory till then:
/// eight bytes for each request of five seconds.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

// What a recorder may filter by; ours does not.
const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

const REQUESTS: &str = "http_requests_total";
const DURATION: &str = "http_request_duration_seconds";

/// The figures of one API, in a recorder of its own: two APIs in one process do not mix, and the
/// program may have a global recorder besides.
pub(crate) struct Telemetry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    requests: RwLock<HashMap<Box<str>, RouteFigures>>,
    next_upkeep_us: AtomicU64,
}

/// The figures of one route. Routes are few: they come from the router, never from a client.
struct RouteFigures {
    duration: Histogram,
    counts: HashMap<(&'static str, StatusCode), Counter>,
}

impl Telemetry {
    pub(crate) fn new() -> Result<Self> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &DURATION_BUCKETS)
            .map_err(|source| {
                Error::new(
                    ErrorKind::Unexpected,
                    "set up metrics",
                    "the buckets are refused",
                )
                .with_source(source)
            })?;
        let recorder = builder.build_recorder();
        for (name, help) in [
            (REQUESTS, "Requests answered, by route, method and status."),
            ("medcards_feedback_total", "Feedbacks served, by tier."),
            (
                "medcards_tier_failures_total",
                "Failures of tiers, which count as misses.",
            ),
            (
                "medcards_feedback_stale_total",
                "Feedbacks served past their time.",
            ),
            ("medcards_live_calls_total", "Live calls of the model."),
            (
                "medcards_shared_flights_total",
                "Requests that shared a search with another.",
            ),
            (
                "medcards_followed_calls_total",
                "Searches that read the words of another process's live call.",
            ),
            (
                "medcards_takeovers_total",
                "Live calls that another process had left unfinished.",
            ),
        ] {
            recorder.describe_counter(name.into(), None, help.into());
        }
        recorder.describe_gauge(
            "medcards_flights".into(),
            None,
            "Searches for feedback under way.".into(),
        );
        recorder.describe_histogram(
            DURATION.into(),
            None,
            "Time until a response begins.".into(),
        );
        let handle = recorder.handle();
        Ok(Self {
            recorder,
            handle,
            requests: RwLock::default(),
            next_upkeep_us: AtomicU64::new(0),
        })
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(
        &self,
        route: &str,
        method: &Method,
        status: StatusCode,
        took: Duration,
    ) {
        let key = (method_label(method), status);
        {
            let requests = self.requests.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(figures) = requests.get(route)
                && let Some(counter) = figures.counts.get(&key)
            {
                counter.increment(1);
                figures.duration.record(took);
                return;
            }
        }
        let mut requests = self
            .requests
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let figures = requests
            .entry(route.into())
            .or_insert_with(|| self.route_figures(route));
        let counter = figures
            .counts
            .entry(key)
            .or_insert_with(|| self.request_counter(route, key));
        counter.increment(1);
        figures.duration.record(took);
    }

    /// Folds samples into buckets when it is time, in a task of its own.
    pub(crate) fn keep_up(&self, now_us: u64) {
        let due = self.next_upkeep_us.load(Ordering::Relaxed);
        let interval_us = u64::try_from(UPKEEP_INTERVAL.as_micros()).unwrap_or(u64::MAX);
        let next = now_us.saturating_add(interval_us);
        let is_ours = now_us >= due
            && self
                .next_upkeep_us
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_ours {
            let handle = self.handle.clone();
            drop(tokio::spawn(async move { handle.run_upkeep() }));
        }
    }

    /// All figures as Prometheus text.
    pub(crate) fn render(&self, counts: &ResolverCounts) -> String {
        for tier in Tier::ALL {
            let labels = || vec![Label::new("tier", tier.as_str())];
            self.total(
                "medcards_feedback_total",
                labels(),
                counts.served[tier as usize],
            );
            self.total(
                "medcards_tier_failures_total",
                labels(),
                counts.failed[tier as usize],
            );
        }
        self.total("medcards_feedback_stale_total", Vec::new(), counts.stale);
        self.total("medcards_live_calls_total", Vec::new(), counts.live_calls);
        for (name, count) in [
            ("medcards_shared_flights_total", counts.shared_flights),
            ("medcards_followed_calls_total", counts.followed_calls),
            ("medcards_takeovers_total", counts.takeovers),
        ] {
            self.total(name, Vec::new(), count);
        }
        let flights = Key::from_static_name("medcards_flights");
        self.recorder
            .register_gauge(&flights, &METADATA)
            .set(counts.flights as f64);
        self.handle.render()
    }

    fn total(&self, name: &'static str, labels: Vec<Label>, value: u64) {
        self.recorder
            .register_counter(&Key::from_parts(name, labels), &METADATA)
            .absolute(value);
    }

    fn route_figures(&self, route: &str) -> RouteFigures {
        let key = Key::from_parts(DURATION, vec![Label::new("route", route.to_owned())]);
        let duration = self.recorder.register_histogram(&key, &METADATA);
        RouteFigures {
            duration,
            counts: HashMap::new(),
        }
    }

    fn request_counter(
        &self,
        route: &str,
        (method, status): (&'static str, StatusCode),
    ) -> Counter {
        let labels = vec![
            Label::new("route", route.to_owned()),
            Label::new("method", method),
            Label::new("status", status.as_str().to_owned()),
        ];
        self.recorder
            .register_counter(&Key::from_parts(REQUESTS, labels), &METADATA)
    }
}

/// The method; those that clients make up count together.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "other",
    }
}
