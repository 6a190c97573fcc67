use std::net::SocketAddr;
use std::time::Duration;

use medcards::spend::{MicroDollars, Price, SpendBudget};
use medcards::{Error, ErrorKind, Result};

use super::{SPEND_BUDGET_DEFAULT, wrong};

/// The longest life of a token that is made by hand: a year.
const TTL_MAX: Duration = Duration::from_hours(365 * 24);

/// Whether anyone may have a guest token, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "set or deduced, on or off")]
pub enum Guests {
    /// No, because others than this machine can reach the server.
    OffBeyondLoopback,
    /// No, as it was set.
    SetOff,
    /// Yes, as it was set.
    SetOn,
    /// Yes, because only this machine can reach the server.
    OnLoopback,
}

impl Guests {
    /// Whether they are served.
    #[must_use]
    pub fn are_served(self) -> bool {
        matches!(self, Self::OnLoopback | Self::SetOn)
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one of two, or both")]
pub enum Role {
    /// It serves, and works beside.
    All,
    /// It serves the API; others work.
    Serve,
    /// It keeps views and does jobs; others serve.
    Work,
}

impl Role {
    /// Whether it serves the API.
    #[must_use]
    pub fn serves(self) -> bool {
        self != Self::Work
    }

    /// Whether it keeps views and does jobs.
    #[must_use]
    pub fn works(self) -> bool {
        self != Self::Serve
    }
}

pub(super) fn role(text: Option<&str>) -> Result<Role> {
    match text {
        None | Some("all") => Ok(Role::All),
        Some("serve") => Ok(Role::Serve),
        Some("work") => Ok(Role::Work),
        Some(other) => Err(wrong(
            "MEDCARDS_ROLE",
            format!("is `{other}`: it must be all, serve or work"),
        )),
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "for people or for programs")]
pub enum LogFormat {
    /// For people.
    Fmt,
    /// For programs, a JSON object a line.
    Json,
}

/// Behind a proxy anyone may come in, whatever address the server itself listens on.
pub(super) fn guests(text: Option<&str>, listen: SocketAddr, has_proxies: bool) -> Result<Guests> {
    match text {
        None | Some("auto") if listen.ip().is_loopback() && !has_proxies => Ok(Guests::OnLoopback),
        None | Some("auto") => Ok(Guests::OffBeyondLoopback),
        Some("on") => Ok(Guests::SetOn),
        Some("off") => Ok(Guests::SetOff),
        Some(other) => Err(wrong(
            "MEDCARDS_GUESTS",
            format!("is `{other}`: it must be auto, on or off"),
        )),
    }
}

/// Reads `fmt`, `json`, a filter, or a format and a filter with a comma between.
///
/// A filter is a list of levels and `target=level`: a word that is neither would silence the log.
pub(super) fn log(text: Option<&str>) -> Result<(LogFormat, String)> {
    let text = text.unwrap_or("fmt");
    let (format, filter) = match text.split_once(',').unwrap_or((text, "")) {
        ("fmt", filter) => (LogFormat::Fmt, filter),
        ("json", filter) => (LogFormat::Json, filter),
        _ => (LogFormat::Fmt, text),
    };
    let is_known = |part: &str| {
        let level = part.rsplit('=').next().unwrap_or_default().trim();
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        levels.iter().any(|known| level.eq_ignore_ascii_case(known))
    };
    if let Some(part) = filter
        .split(',')
        .find(|part| !filter.is_empty() && !is_known(part))
    {
        return Err(wrong(
            "MEDCARDS_LOG",
            format!(
                "has `{part}`: it must be fmt or json, then levels such as info or medcards_core=debug"
            ),
        ));
    }
    let filter = if filter.is_empty() { "info" } else { filter };
    Ok((format, filter.to_owned()))
}

pub(super) fn list(text: Option<&str>) -> Vec<String> {
    let entries = text.unwrap_or_default().split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Reads limits with commas between, such as `$5/day,$100/month,premium=20%`, each at most once.
pub(super) fn budget(text: &str) -> Result<SpendBudget> {
    let mut budget = SpendBudget::default();
    let mut seen = Vec::new();
    for part in text.split(',').map(str::trim) {
        let refused = |why: &str| {
            let what = format!(
                "has `{part}`: {why}. It is a list such as $5/day,$100/month,$0.20/user,$1/chat,\
                 $2/feedback,$1/precompute,premium=20%; or off"
            );
            wrong("MEDCARDS_SPEND_BUDGET", what)
        };
        let name = if let Some(percent) = part.strip_prefix("premium=") {
            let percent = percent.strip_suffix('%').and_then(|text| text.parse().ok());
            let percent = percent.filter(|percent| *percent <= 100);
            budget.premium_percent =
                percent.ok_or_else(|| refused("it must be a percentage up to premium=100%"))?;
            "premium"
        } else {
            // Without a name it is that of a day.
            let (amount, name) = part.split_once('/').unwrap_or((part, "day"));
            let limit = match name {
                "day" => &mut budget.per_day,
                "month" => &mut budget.per_month,
                "user" => &mut budget.per_user,
                "chat" => &mut budget.chat_per_day,
                "feedback" => &mut budget.feedback_per_day,
                "precompute" => &mut budget.precompute_per_day,
                _ => {
                    let why =
                        "behind the slash stands day, month, user, chat, feedback or precompute";
                    return Err(refused(why));
                }
            };
            let why = "before the slash stand dollars such as $5 or 0.50";
            *limit = Some(dollars(amount).ok_or_else(|| refused(why))?);
            name
        };
        if seen.contains(&name) {
            return Err(refused("it is said twice"));
        }
        seen.push(name);
    }
    // Who limits a part has not said that the whole may cost anything.
    if budget.per_day.is_none() && budget.per_month.is_none() {
        budget.per_day = Some(SPEND_BUDGET_DEFAULT);
    }
    Ok(budget)
}

/// Reads `1.00/5.00`: dollars per million tokens read and written; or `free`.
pub(super) fn price(name: &str, text: &str) -> Result<Price> {
    if text == "free" {
        return Ok(Price::default());
    }
    let read = || {
        let (input, output) = text.split_once('/')?;
        let (input, output) = (dollars(input)?, dollars(output)?);
        // Tokens that the server keeps: dearer than they are as a rule, not cheaper.
        Some(Price {
            input,
            cache_read: input,
            cache_write: MicroDollars::new(input.get().saturating_mul(5) / 4),
            output,
        })
    };
    read().ok_or_else(|| {
        let what = format!(
            "is `{text}`: it must be the dollars for a million tokens read and written, such as \
             1.00/5.00; or free"
        );
        wrong(name, what)
    })
}

/// Reads `5`, `$5` or `$0.50`, to the millionth, without rounding.
fn dollars(text: &str) -> Option<MicroDollars> {
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return None;
    }
    let micros = format!("{part:0<6}").parse::<u64>().ok()?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?;
    Some(MicroDollars::new(whole.checked_add(micros)?))
}

/// Reads a short time, such as `10ms` or `1s`.
pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    let at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (count, unit) = text.split_at(at);
    let count = count.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        _ => None,
    }
}

/// Reads how long a token lives, such as `90s`, `30m`, `12h` or `7d`.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is not between one second and a year.
pub fn read_ttl(text: &str) -> Result<Duration> {
    let read = || {
        let at = text.find(|letter: char| !letter.is_ascii_digit())?;
        let (count, unit) = text.split_at(at);
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let ttl = Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?);
        (Duration::from_secs(1)..=TTL_MAX)
            .contains(&ttl)
            .then_some(ttl)
    };
    read().ok_or_else(|| {
        let context = "it must be a time of 1s to 365d, such as 30m, 12h or 7d";
        Error::new(ErrorKind::Invalid, "read ttl", context)
    })
}
