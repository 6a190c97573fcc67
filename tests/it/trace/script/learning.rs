//! What is asked about what is learnt. Nobody builds views while the trace is played, because what they
//! say depends on the moment: so every server says the same, that nothing is known yet.

use serde_json::json;

use super::super::step::{Step, Who};
use super::{ABSENT, Author};

/// Good and bad queries of what a student reads.
const QUERIES: &str = "
/v1/me/dashboard /v1/me/dashboard?days=1 /v1/me/streak /v1/me/streak?x=1 /v1/me/badges
/v1/me/badges?limit=1 /v1/me/reviews /v1/me/reviews?limit=100 /v1/me/reviews?limit=0
/v1/me/reviews?limit=101 /v1/me/notices /v1/me/notices?limit=1
/v1/me/notices?after=AAAAAAAAAAAAAAAAAAAAAA /v1/me/notices?after=1 /v1/me/notices?limit=0
/v1/me/notices?cursor=x /v1/me/notices/stream?after=1 /v1/me/notices/stream?limit=1 /v1/me/live
/v1/me/live?after=1 /v1/cases/nope/figures
";

/// The same of what admins read.
const ADMIN_QUERIES: &str = "
/v1/admin/views /v1/admin/views?limit=1 /v1/admin/jobs /v1/admin/jobs?kind=x /v1/admin/jobs/dead
/v1/admin/jobs/dead?limit=1 /v1/admin/jobs/dead?limit=101 /v1/admin/jobs/dead?after=x
/v1/admin/cases/alarms /v1/admin/cases/alarms?limit=1
";

impl Author<'_> {
    pub(super) fn tour_of_learning(&mut self) {
        for path in QUERIES.split_whitespace() {
            self.get(Who::Student(0), path);
            self.get(Who::Nobody, path);
        }
        for path in ADMIN_QUERIES.split_whitespace() {
            for who in [Who::Admin, Who::Student(0), Who::Reviewer, Who::Nobody] {
                self.get(who, path);
            }
        }
        let case = self.cases["surgery-001"].clone();
        for query in ["", "?version=1", "?version=0", "?version=99", "?answer=x"] {
            let path = format!("/v1/cases/{case}/figures{query}");
            self.get(Who::Student(1), &path);
        }
        self.get(
            Who::Student(1),
            format!("/v1/cases/{case}/figures?answer={ABSENT}"),
        );
        self.get(Who::Admin, format!("/v1/cases/{ABSENT}/figures"));
        self.upkeep(&case);
    }

    fn upkeep(&mut self, case: &str) {
        let corrections = |case: &str| format!("/v1/admin/cases/{case}/corrections");
        let correction = |version: u32, key: &str| json!({"case_version": version, "right": [key], "reason": "x"});
        let outage = |from: &str, to: &str| json!({"began_at": from, "ended_at": to});
        let ids = |id: &str| json!({"ids": [id]});
        let (day, next) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        for (path, form) in [
            ("/v1/admin/views/nobody/rebuild".to_owned(), json!({})),
            ("/v1/admin/views/BOARDS/rebuild".to_owned(), json!({})),
            ("/v1/admin/jobs/requeue".to_owned(), ids(ABSENT)),
            ("/v1/admin/jobs/requeue".to_owned(), ids("x")),
            ("/v1/admin/jobs/discard".to_owned(), ids(ABSENT)),
            ("/v1/admin/jobs/discard".to_owned(), json!({"ids": []})),
            ("/v1/admin/outages".to_owned(), outage(day, next)),
            ("/v1/admin/outages".to_owned(), outage(next, day)),
            (
                "/v1/admin/outages".to_owned(),
                outage(day, "2999-01-01T00:00:00Z"),
            ),
            (
                "/v1/admin/outages".to_owned(),
                outage("2025-11-01T00:00:00Z", next),
            ),
            (corrections(case), correction(99, "A")),
            (corrections(case), correction(0, "A")),
            (corrections(case), correction(1, "no such key")),
            (corrections(ABSENT), correction(1, "A")),
            (corrections("nope"), correction(1, "A")),
        ] {
            for who in [Who::Admin, Who::Student(0)] {
                self.add(Step::json(who, "POST", &path, form.to_string()));
            }
        }
    }
}
