use std::collections::HashSet;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::precomputer::Precomputer;
use super::store::{KEYS_PER_LOOK_MAX, KeyStanding};
use super::{CallCost, Candidate, Forecast, KeyStatus};
use crate::Result;
use crate::case::{Case, CaseQuery};
use crate::feedback::{FeedbackKey, KeyPosition, ReviewState};
use crate::store::{PageCursor, PageLimit};

/// The fewest requests that make a choice worth looking at: one in a thousand horizons. It keeps
/// the options that nobody takes of cases that nobody opens out of memory.
const EXPECTED_MIN: f64 = 0.001;

/// How many keys one read of the store asks for: about 1 MB.
const KEYS_PER_READ: usize = 10_000;

/// How often a rejected key is bought: once, and once more.
const REJECTIONS_MAX: u32 = 2;

impl Precomputer {
    /// All feedback that might be asked for within a horizon, with what it costs, if it is not there,
    /// and what is known of it: what [`plan`](super::plan) picks from. In no order.
    ///
    /// `case_read` hears how many cases were looked at.
    ///
    /// # Errors
    /// Those of the stores; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the provider has no
    /// batches.
    pub async fn candidates(
        &self,
        forecast: &Forecast,
        horizon: Duration,
        mut case_read: impl FnMut(u64) + Send,
    ) -> Result<Vec<Candidate>> {
        let there = self.keys_there().await?;
        let withdrawn = self.keys_withdrawn().await?;
        let now = self.clock.now();
        let editions = self.editions();
        let (mut candidates, mut cases) = (Vec::new(), 0);
        let mut query = CaseQuery {
            limit: PageLimit::MAX,
            ..CaseQuery::default()
        };
        loop {
            let page = self.cases.list_cases(&query).await?;
            for case in &page.items {
                cases += 1;
                for choice in forecast.demand(case, now, horizon) {
                    let is_of_today = editions.contains(&choice.edition);
                    if choice.demand.expected < EXPECTED_MIN || !is_of_today {
                        continue;
                    }
                    let key = self.key(case, &choice);
                    let digest = digest(&key);
                    let status = match (withdrawn.contains(&digest), there.contains(&digest)) {
                        (true, _) => KeyStatus::Withdrawn,
                        (false, true) => KeyStatus::Kept,
                        (false, false) => KeyStatus::Missing,
                    };
                    let cost = match status {
                        // What is not bought has no price; making prompts is most of the work.
                        KeyStatus::Kept | KeyStatus::Withdrawn => CallCost::default(),
                        _ => self.cost(case, &key)?,
                    };
                    candidates.push(Candidate {
                        cost,
                        demand: choice.demand,
                        key,
                        status,
                    });
                }
            }
            case_read(cases);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        self.look_at_batches(&mut candidates).await?;
        Ok(candidates)
    }

    fn key(&self, case: &Case, choice: &super::ChoiceDemand) -> FeedbackKey {
        FeedbackKey {
            case_id: case.id,
            case_version: case.version,
            chosen: choice.chosen,
            locale: choice.locale,
            prompt_version: choice.edition,
            model: self.provider.model().clone(),
        }
    }

    /// Digests of all keys of the store: two keys of one digest leave one to the live tier.
    async fn keys_there(&self) -> Result<HashSet<u64>> {
        let mut there = HashSet::new();
        let mut position = KeyPosition::default();
        loop {
            let page = self.precomputed.list_keys(position, KEYS_PER_READ).await?;
            there.extend(page.keys.iter().map(digest));
            position = page.position;
            if page.keys.len() < KEYS_PER_READ {
                return Ok(there);
            }
        }
    }

    async fn keys_withdrawn(&self) -> Result<HashSet<u64>> {
        let mut withdrawn = HashSet::new();
        let mut after: Option<PageCursor> = None;
        loop {
            let page = self
                .precomputed
                .list_feedback(ReviewState::Withdrawn, after.as_ref(), PageLimit::MAX)
                .await?;
            withdrawn.extend(page.items.iter().map(|(key, _)| digest(key)));
            after = page.next;
            if after.is_none() {
                return Ok(withdrawn);
            }
        }
    }

    /// Marks those that are in a batch, and those that are given up.
    async fn look_at_batches(&self, candidates: &mut [Candidate]) -> Result<()> {
        for part in candidates.chunks_mut(KEYS_PER_LOOK_MAX) {
            let mut missing: Vec<_> = part
                .iter_mut()
                .filter(|candidate| candidate.status == KeyStatus::Missing)
                .collect();
            let keys: Vec<_> = missing
                .iter()
                .map(|candidate| candidate.key.clone())
                .collect();
            let standings = self.batches.key_standings(&keys).await?;
            for (candidate, standing) in missing.iter_mut().zip(standings) {
                candidate.status = match standing {
                    KeyStanding { is_open: true, .. } => KeyStatus::InBatch,
                    KeyStanding { rejections, .. } if rejections >= REJECTIONS_MAX => {
                        KeyStatus::GivenUp
                    }
                    KeyStanding { .. } => KeyStatus::Missing,
                };
            }
        }
        Ok(())
    }
}

fn digest(key: &FeedbackKey) -> u64 {
    xxh3_64(key.to_string().as_bytes())
}
