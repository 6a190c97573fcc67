//! What reviewers ask about feedback that models wrote before the trace begins.

use std::collections::BTreeMap;

use medcards_core::ai::PromptVersion;
use medcards_core::case::CaseVersion;
use medcards_core::feedback::{Feedback, FeedbackKey, Shared};
use medcards_core::jiff::SignedDuration;
use medcards_core::testing::{SAMPLE_START, sample_feedback};
use medcards_core::user::Locale;
use serde_json::{Value, json};

use super::super::step::{See, Step, Who};
use super::{ABSENT, Author};

const QUEUE: &str = "/v1/admin/feedback";
const REVIEW: &str = "/v1/admin/feedback/review";

/// Feedback in every store, each written a minute after the one before: the cases with these names
/// are in the file. The last is of a case that nobody has.
pub(in super::super) fn written(
    cases: &BTreeMap<String, String>,
) -> Vec<(FeedbackKey, Feedback<Shared>)> {
    let names = ["letters", "surgery-001", "surgery-002", "french", "several"];
    let ids = names.iter().map(|name| cases[*name].as_str());
    let mut written = Vec::new();
    for (minute, id) in (0..).zip(ids.chain([ABSENT])) {
        for (chosen, locale) in [(0_usize, "en"), (1, "fr")] {
            let key = FeedbackKey {
                case_id: id.parse().unwrap(),
                case_version: CaseVersion::FIRST,
                chosen: [chosen].into_iter().collect(),
                locale: locale.parse::<Locale>().unwrap(),
                prompt_version: PromptVersion::new(1),
                model: "a-model/of-nobody".parse().unwrap(),
            };
            let text = format!("Words of minute {minute}, of “{locale}”: ½ ≥ 0.");
            let mut feedback = sample_feedback(&text);
            feedback.written_at = SAMPLE_START + SignedDuration::from_mins(minute);
            written.push((key, feedback));
        }
    }
    written
}

impl Author<'_> {
    pub(super) fn tour_of_reviews(&mut self) {
        let who = || Who::Reviewer;
        let keys: Vec<_> = written(self.cases)
            .into_iter()
            .map(|(key, _)| key.to_string())
            .collect();
        self.queues();
        for who in [Who::Nobody, Who::Student(0), Who::Guest, Who::Admin] {
            self.get(who.clone(), QUEUE);
            let form = json!({"key": keys[9], "decision": "approve"}).to_string();
            self.add(Step::json(who, "POST", REVIEW, form));
        }
        let mend = |key: &str, text: &str| json!({"key": key, "decision": "mend", "text": text});
        let decide = |key: &str, decision: &str| json!({"key": key, "decision": decision});
        let absent = keys[0].replace("fk1/", "fk1/0");
        let nobodys = keys[0].replace("/1/1/en/", "/1/4/en/");
        for form in [
            decide(&keys[0], "approve"),
            decide(&keys[0], "approve"),
            decide(&keys[1], "withdraw"),
            decide(&keys[1], "withdraw"),
            mend(&keys[2], "  Better words.\n\nOf two: “½”. "),
            mend(&keys[2], "Better words still."),
            decide(&keys[3], "withdraw"),
            decide(&keys[3], "approve"),
            mend(&keys[0], "The last decision counts."),
            decide(&keys[0], "withdraw"),
            mend(&keys[1], "It comes back."),
            mend(&keys[10], "Of a case that is gone."),
            mend(&keys[4], "It is option A, as everybody knows."),
            mend(&keys[4], "It is (B)."),
            mend(&keys[4], " \n "),
            mend(&keys[4], ""),
            mend(&keys[4], "a\u{0}b"),
            mend(&keys[4], "\u{1b}[31m"),
            mend(&keys[4], &"x".repeat(4_001)),
            mend(&keys[4], &"é".repeat(4_000)),
            decide(&keys[5], "mend"),
            decide(&keys[5], "burn"),
            decide(&keys[5], ""),
            json!({"key": keys[5], "decision": "approve", "text": "Words."}),
            json!({"key": keys[5], "decision": "withdraw", "text": ""}),
            json!({"key": keys[5], "decision": "approve", "text": null}),
            json!({"key": keys[5], "decision": 7}),
            json!({"key": keys[5]}),
            json!({"decision": "approve"}),
            json!({"key": keys[5], "decision": "approve", "reviewer": ABSENT}),
            decide("", "approve"),
            decide("fk1", "approve"),
            decide("fk1/0/0/0/en/0/0", "approve"),
            decide(&absent, "approve"),
            decide(&nobodys, "approve"),
            decide(&nobodys, "withdraw"),
            mend(&nobodys, "Nobody wrote it."),
            decide(&keys[0].to_uppercase(), "approve"),
            decide(&format!("{}\u{0}", keys[0]), "approve"),
            decide(&"f".repeat(100_000), "approve"),
            json!([decide(&keys[5], "approve")]),
            json!({}),
            Value::Null,
        ] {
            self.add(Step::json(who(), "POST", REVIEW, form.to_string()));
        }
        for body in ["", "hello", "{\"key\":", "[[[["] {
            self.add(Step::json(who(), "POST", REVIEW, body));
        }
        let untyped = Step::json(
            who(),
            "POST",
            REVIEW,
            decide(&keys[5], "approve").to_string(),
        );
        self.add(Step {
            headers: vec![("content-type", "text/plain".to_owned())],
            ..untyped
        });
        self.queues();
    }

    /// All that was written, by what was said of it.
    fn queues(&mut self) {
        let who = || Who::Reviewer;
        for query in [
            "",
            "?limit=2",
            "?limit=2&cursor={cursor}",
            "?review=approved&cursor={cursor}",
            "?review=unreviewed",
            "?review=approved",
            "?review=withdrawn",
            "?review=",
            "?review=APPROVED",
            "?review=burnt",
            "?limit=0",
            "?limit=101",
            "?cursor=nobody-gave-this",
            "?cursor=%00",
            "?what=ever",
        ] {
            self.get(who(), format!("{QUEUE}{query}"));
        }
        for (review, limit) in [
            ("unreviewed", 1),
            ("unreviewed", 5),
            ("approved", 1),
            ("withdrawn", 2),
        ] {
            let path = format!("{QUEUE}?review={review}&limit={limit}");
            self.add(Step::get(who(), path).seen(See::WalkInOrder));
        }
        // A cursor of another list.
        self.get(who(), "/v1/cases?limit=1");
        self.get(who(), format!("{QUEUE}?cursor={{cursor}}"));
    }
}
