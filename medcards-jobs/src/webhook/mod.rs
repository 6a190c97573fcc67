//! Tells another server of badges and regraded answers, as [Standard Webhooks] says.
//!
//! A [`NoticeForwarder`] makes a job of each notice, and a [`Webhook`] does these jobs. A message may
//! come more than once: its `webhook-id`, which is the id of the job, is the same each time, so that
//! whoever receives it can count it once.
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

mod forward;
mod send;
mod sign;

pub use forward::NoticeForwarder;
pub use send::Webhook;
pub use sign::WebhookSecret;

use medcards_core::job::JobKind;

/// The name of the kind of job that sends one message.
const WEBHOOK: &str = "webhook";

fn job_kind() -> JobKind {
    JobKind::named(WEBHOOK)
}
