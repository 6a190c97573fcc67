use std::fmt;

use async_trait::async_trait;
use medcards_core::chat::{SHARED_ANSWERS_PER_CASE_MAX, SharedAnswer, SharedAnswers};
use medcards_core::memory::MemoryStore;
use medcards_core::user::Locale;
use medcards_core::{CaseId, ErrorKind, Result, SharedAnswerId};

use super::Crowd;

/// A store of shared answers that breaks the promise it is given.
#[derive(Debug)]
pub(super) struct SharedAnswerSaboteur {
    inner: MemoryStore,
    promise: &'static str,
    crowd: Crowd,
}

impl SharedAnswerSaboteur {
    pub(super) fn new(inner: MemoryStore, promise: &'static str) -> Self {
        Self {
            inner,
            promise,
            crowd: Crowd::default(),
        }
    }
}

impl fmt::Display for SharedAnswerSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedAnswerSaboteur({})", self.promise)
    }
}

#[async_trait]
impl SharedAnswers for SharedAnswerSaboteur {
    async fn put_shared_answer(&self, answer: &SharedAnswer) -> Result<()> {
        let mut answer = answer.clone();
        let before = self.inner.list_shared_answers(answer.case_id).await?;
        let known = before.iter().find(|known| known.id == answer.id);
        match self.promise {
            "a_shared_answer_is_found_as_it_was_given" => answer.locale = Locale::ENGLISH,
            "a_shared_answer_takes_the_place_of_the_one_before" => {
                if let Some(known) = known {
                    // Who said so first is remembered.
                    answer.reviewer = known.reviewer;
                }
            }
            "an_id_names_an_answer_about_one_case" if known.is_none() => {
                self.inner.remove_shared_answer(answer.id).await?;
            }
            "a_case_has_no_more_shared_answers_than_allowed" => {
                let put = self.inner.put_shared_answer(&answer).await;
                return put.or_else(|error| match error.kind() {
                    ErrorKind::Full => Ok(()),
                    _ => Err(error),
                });
            }
            "shared_answers_put_at_once_are_no_more_than_allowed" if known.is_none() => {
                self.crowd.wait_for_another().await;
                let put = self.inner.put_shared_answer(&answer).await;
                return match put {
                    Err(error)
                        if error.kind() == ErrorKind::Full
                            && before.len() < SHARED_ANSWERS_PER_CASE_MAX =>
                    {
                        Ok(())
                    }
                    put => put,
                };
            }
            "words_of_any_script_are_kept_whole" => {
                answer.answer = answer.answer.trim_end().to_owned();
            }
            "words_that_do_not_fit_are_refused" => {
                answer.question = answer.question.replace('\0', "");
            }
            _ => {}
        }
        self.inner.put_shared_answer(&answer).await
    }

    async fn list_shared_answers(&self, case_id: CaseId) -> Result<Vec<SharedAnswer>> {
        let mut answers = self.inner.list_shared_answers(case_id).await?;
        if self.promise == "shared_answers_are_listed_in_order_of_id" {
            answers.sort_by_key(|answer| answer.case_version);
        }
        Ok(answers)
    }

    async fn remove_shared_answer(&self, id: SharedAnswerId) -> Result<bool> {
        let was_there = self.inner.remove_shared_answer(id).await?;
        Ok(was_there || self.promise == "a_removed_shared_answer_is_gone")
    }
}
