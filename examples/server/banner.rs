//! What the server says when it starts: what is on, what is off and why, and what to do next.

use std::fmt::Write as _;
use std::io::Write as _;

use medcards::ai::AiProvider;
use medcards::providers::OUTPUT_TOKENS_MAX;
use medcards_examples::config::{
    Ai, Config, Guests, JWT_SECRET_LEN_MIN, ModelSettings, Role, StoreSettings,
};
use medcards_examples::secret::secret_path;
use secrecy::ExposeSecret;

use crate::wiring::{CACHE_BYTES, Wired};

/// The bytes of a prompt for feedback on a short case.
const PROMPT_BYTES: usize = 4 * 1024;

/// Prints it. Nobody may be reading: that is no reason to stop.
pub(crate) fn print(config: &Config, wired: &Wired) {
    let mut out = std::io::stdout().lock();
    let _ = out
        .write_all(text(config, wired).as_bytes())
        .and_then(|()| out.flush());
}

fn text(config: &Config, wired: &Wired) -> String {
    let mut text = format!("MEDCARDS\nlistening on http://{}/\n\n", wired.address);
    let mut line = |name: &str, what: String| {
        let _ = writeln!(text, "  {name:<13} {what}");
    };
    line("data", data(config));
    line("store", config.store.to_string());
    line("deck", deck(wired));
    line(
        "local",
        format!("on: {} MiB in this process", CACHE_BYTES / 1024 / 1024),
    );
    line("remote", remote(config, wired));
    line(
        "precomputed",
        "on: what models wrote and reviewers approved, kept in the store".to_owned(),
    );
    line("live", live(config, wired));
    line(
        "authored",
        "on: what the authors of the cases wrote, when no other tier has better".to_owned(),
    );
    if let Some(fallback) = &config.fallback {
        let (model, dialect) = (&fallback.model, fallback.dialect);
        line(
            "fallback",
            format!("on: {model} ({dialect}), while the model is away"),
        );
    }
    if let Ai::Model(_) = config.ai {
        line("spend budget", budget(config));
        if let Some(warning) = wired.model.as_ref().and_then(|m| too_little(config, &**m)) {
            line("", warning);
        }
    }
    line("learning", learning(config).to_owned());
    if config.webhook.is_some() {
        line("webhook", webhook(config.role).to_owned());
    }
    line("guests", guests(config.guests).to_owned());
    line("rate limit", rate_limit(config));
    line("tokens", tokens(config));
    text.push('\n');
    text.push_str(&next(config, wired));
    text
}

fn data(config: &Config) -> String {
    match config.uses_folder() {
        true => config.data.display().to_string(),
        false => "not used: the store and the secret are elsewhere".to_owned(),
    }
}

fn deck(wired: &Wired) -> String {
    let counts = wired.deck;
    let updated = match counts.updated {
        0 => String::new(),
        updated => format!(", {updated} in a new version"),
    };
    format!("{} cases, {} new{updated}", counts.cases, counts.created)
}

fn remote(config: &Config, wired: &Wired) -> String {
    match (&config.redis, wired.redis_is_away()) {
        (None, _) => "off: MEDCARDS_REDIS is not set".to_owned(),
        (Some(redis), false) => format!("on: {redis}"),
        (Some(redis), true) => format!("away for now, and tried again: {redis}"),
    }
}

fn live(config: &Config, wired: &Wired) -> String {
    match (&config.ai, &wired.model) {
        (Ai::Model(settings), Some(model)) => {
            let ModelSettings { dialect, .. } = &**settings;
            let price = model.price();
            format!(
                "on: {} ({dialect}), {} read and {} written per million tokens",
                model.model(),
                price.input,
                price.output
            )
        }
        (Ai::Authored { key_is_set: true }, _) => {
            "off: MEDCARDS_AI is authored; MEDCARDS_AI_KEY is set but not used, set MEDCARDS_AI to \
             anthropic or openai to use it"
                .to_owned()
        }
        _ => "off: MEDCARDS_AI is authored".to_owned(),
    }
}

fn budget(config: &Config) -> String {
    let budget = &config.budget;
    let limits = [
        (budget.per_day, "a day"),
        (budget.per_month, "a month"),
        (budget.per_user, "a user and day"),
        (budget.chat_per_day, "a day for chats"),
        (budget.feedback_per_day, "a day for feedback"),
        (budget.precompute_per_day, "a day for what is written ahead"),
    ];
    let limits = limits
        .into_iter()
        .filter_map(|(limit, of)| limit.map(|amount| format!("{amount} {of}")));
    let mut limits: Vec<_> = limits.collect();
    if limits.is_empty() {
        return "off: nothing limits what models may cost".to_owned();
    }
    if budget.premium_percent > 0 {
        limits.push(format!(
            "the last {} % for premium users",
            budget.premium_percent
        ));
    }
    let limits = limits.join(", ");
    format!("{limits} (MEDCARDS_SPEND_BUDGET); then authored feedback")
}

/// Says so if a limit is below what one call must set aside, so that none is ever made.
fn too_little(config: &Config, model: &dyn AiProvider) -> Option<String> {
    let worst = model.price().worst_case(PROMPT_BYTES, OUTPUT_TOKENS_MAX);
    let budget = &config.budget;
    let limits = [
        budget.per_day,
        budget.per_month,
        budget.per_user,
        budget.feedback_per_day,
    ];
    let least = limits.into_iter().flatten().min()?;
    (least < worst).then(|| {
        format!("WARNING: {least} is less than the {worst} that one call may cost: no call is made")
    })
}

fn learning(config: &Config) -> &'static str {
    match config.role {
        Role::All => "on: views and jobs are kept up in this process",
        Role::Serve if matches!(config.store, StoreSettings::Sqlite(_)) => {
            "off: MEDCARDS_ROLE is serve, and no other process can open a SQLite file; set it to all"
        }
        Role::Serve => {
            "on: MEDCARDS_ROLE is serve, so another process must have the role work or all"
        }
        Role::Work => "on: MEDCARDS_ROLE is work, so this process serves nothing else",
    }
}

fn webhook(role: Role) -> &'static str {
    match role {
        Role::All | Role::Work => "on: another server is told of badges and regraded answers",
        Role::Serve => "off: MEDCARDS_ROLE is serve, so set it for the process that works",
    }
}

fn guests(guests: Guests) -> &'static str {
    match guests {
        Guests::OffBeyondLoopback => {
            "off: others than this machine can reach the server, or a proxy may let them; MEDCARDS_GUESTS=on lets them in"
        }
        Guests::SetOff => "off: MEDCARDS_GUESTS is off",
        Guests::SetOn => "on: MEDCARDS_GUESTS is on",
        Guests::OnLoopback => "on: only this machine can reach the server",
    }
}

fn rate_limit(config: &Config) -> String {
    let mut text = match config.rate_limit {
        Some(quota) => format!("{quota} for each user, or address without a token"),
        None => "off: MEDCARDS_RATE_LIMIT is off".to_owned(),
    };
    for (what, quota) in [
        ("logins of an address", config.login_limit),
        ("feedback", config.ai_limit),
        ("chat", config.chat_limit),
    ] {
        if let Some(quota) = quota {
            text.push_str(&format!("; {what} {quota}"));
        }
    }
    text
}

fn tokens(config: &Config) -> String {
    let mut text = match &config.jwt_secret {
        None => {
            let path = secret_path(&config.data);
            let others = match config.store {
                StoreSettings::Postgres(_) => {
                    "; for more servers on this store set MEDCARDS_JWT_SECRET, the same for each"
                }
                StoreSettings::Sqlite(_) => "",
            };
            format!("signed with {}{others}", path.display())
        }
        Some(secret) if secret.expose_secret().len() < JWT_SECRET_LEN_MIN => {
            format!(
                "signed with MEDCARDS_JWT_SECRET, which is weak: {JWT_SECRET_LEN_MIN} bytes or more are not"
            )
        }
        Some(_) => "signed with MEDCARDS_JWT_SECRET".to_owned(),
    };
    if let Some(url) = &config.jwks_url {
        let _ = write!(text, ", or by the issuer of {url}");
    }
    text
}

fn next(config: &Config, wired: &Wired) -> String {
    let program = "cargo run --release --example server --";
    let secret = match &config.jwt_secret {
        Some(_) => "(with the same MEDCARDS_JWT_SECRET)".to_owned(),
        None => format!("--data {}", config.data.display()),
    };
    if !config.role.serves() {
        format!(
            "Next: watch it at http://{}/healthz and /metrics.\n",
            wired.address
        )
    } else if config.guests.are_served() {
        format!(
            "Next: open http://{}/ and answer a case. The HTTP interface is at /docs.\n\
             To import cases or read spending: {program} token --role admin {secret}\n",
            wired.address
        )
    } else {
        format!(
            "Next: make a token with `{program} token --role admin {secret}` and open \
             http://{}/ with it. The HTTP interface is at /docs.\n",
            wired.address
        )
    }
}
