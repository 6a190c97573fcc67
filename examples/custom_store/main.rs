//! A backend of your own: a spend ledger that is a journal, beside the store in memory.
//!
//! `cargo run --example custom_store` shows it at work, and
//! `cargo test --example custom_store` runs the conformance suite on it.
//!
//! 1. Implement the narrow trait of what you want to keep elsewhere: here [`SpendLedger`], in
//!    `journal.rs`. Its docs are promises.
//! 2. Hand everything else on to a store that exists: `others.rs`.
//! 3. Let the suite check every promise with one line: `store_conformance!`, at the end of this
//!    file.

#![expect(clippy::print_stdout, reason = "it talks to who runs it")]

mod journal;
mod others;

use std::fmt;
use std::sync::Arc;

use medcards::Result;
use medcards::UserId;
use medcards::app::{AnswerForm, Medcards};
use medcards::case::CaseFilter;
use medcards::memory::MemoryStore;
use medcards::spend::{SpendLedger, SpendQuery};
use medcards::store::Consistency;
use medcards::user::UserKind;
use medcards_examples::deck::load_deck;

use crate::journal::Journal;

/// A store whose money is kept in a journal, and everything else in memory.
#[derive(Clone, Debug, Default)]
struct JournaledStore {
    journal: Journal,
    others: MemoryStore,
}

impl fmt::Display for JournaledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournaledStore")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = JournaledStore::default();
    let medcards = Medcards::builder(Arc::new(store.clone())).build().await?;
    let deck = load_deck(&store, medcards.now()).await?;
    println!("{medcards} has {} cases", deck.cases);

    let student = medcards
        .ensure_user(UserId::new(medcards.now()), UserKind::Guest)
        .await?;
    // Every read is at least as fresh as the last answer, on whichever copy of the data.
    let mut fresh = Consistency::Strong;
    for _ in 0..3 {
        let any = CaseFilter::default();
        let Some((shown, _)) = medcards.next_case(student.id, &any, &fresh).await? else {
            break;
        };
        let first = shown
            .options()
            .take(1)
            .map(|option| option.key.as_str().to_owned());
        let form = AnswerForm {
            options: first.collect(),
            ..AnswerForm::default()
        };
        let submitted = medcards
            .submit_answer(student.id, shown.case.id, form)
            .await?;
        fresh = Consistency::after(submitted.token);
        let feedback = medcards
            .feedback(student.id, submitted.answer.id, &fresh)
            .await?;
        let first_line = feedback.text().lines().next().unwrap_or_default();
        println!(
            "  {} -> {first_line} ({})",
            shown.case.content.external_id(),
            feedback.tier()
        );
    }

    // What was served is booked now and then; this waits for it.
    medcards.resolver().flush().await?;
    let today = medcards
        .now()
        .to_zoned(medcards::jiff::tz::TimeZone::UTC)
        .date();
    let query = SpendQuery {
        from: today,
        to: today,
        by_case: false,
    };
    println!(
        "the journal has {} entries, which add up to",
        store.journal.len()
    );
    for row in store.totals(&query).await? {
        println!(
            "  {} {}: {} served, {} spent",
            row.day, row.tier, row.resolutions, row.cost
        );
    }
    println!("now run the conformance suite on it: cargo test --example custom_store");
    Ok(())
}

#[cfg(test)]
mod conformance {
    use super::JournaledStore;

    /// A fresh, empty store, and a guard: nothing needs cleaning up.
    async fn make() -> (JournaledStore, ()) {
        (JournaledStore::default(), ())
    }

    medcards::store_conformance!(make);
}
