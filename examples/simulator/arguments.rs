use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use medcards::{Error, ErrorKind, Result};
use medcards_examples::simulator::{Behaviour, Script};

const EXAMPLES: &str = "\
Without flags it answers like a small fast model: the first token after 400ms in the median, then 80
tokens a second. Both dialects are on one port.

Examples:
  simulator
      and the example server on it, in another terminal:
      MEDCARDS_AI=anthropic MEDCARDS_AI_URL=http://127.0.0.1:8090 MEDCARDS_AI_KEY=any server
      or in the dialect of OpenAI, at a price of your own:
      MEDCARDS_AI=openai MEDCARDS_AI_URL=http://127.0.0.1:8090 MEDCARDS_AI_MODEL=gpt-simulated \\
        MEDCARDS_AI_PRICE=1.00/5.00 server
  simulator --first-token 0ms --tokens-per-second 0
      answers at once, to see what everything else can do
  simulator --share overloaded=0.02 --share cut=0.01 --share stall=0.01
      a bad day of a provider
  simulator --next overloaded,overloaded,good --seed 7
      the next two calls fail and the third goes well
  simulator --requests-per-minute 60 --output-tokens-per-minute 20000
      rate limits, told in headers, and 429 with retry-after beyond them
  simulator --batch-duration 10m --batch-errored 0.01 --batch-expired 0.01
      batches that take ten minutes and lose some items
  curl http://127.0.0.1:8090/simulator/script > script.json; simulator --script script.json
      all settings as JSON; also while it runs, with PUT to the same address
  curl -d '[\"rate-limited\", \"good\"]' http://127.0.0.1:8090/simulator/next
      adds to the next calls while it runs; PUT replaces what is left of them, DELETE empties it
  curl http://127.0.0.1:8090/simulator/counts
      what it was asked, how that ended, and the tokens";

/// Stands in for the server of a model: Anthropic's messages and batches and OpenAI's chat
/// completions and batches, with plausible feedback, and faults on request.
#[derive(Debug, Parser)]
#[command(name = "simulator", after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes a free one and prints it
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// A file with a script in JSON, in place of what is usual without flags; flags change it
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Another seed treats the n-th call in another way
    #[arg(long)]
    seed: Option<u64>,

    /// The key that calls must bring [default: any call is let in]
    #[arg(long, env = "SIMULATOR_KEY", hide_env_values = true)]
    key: Option<String>,

    /// The wait for the first token, or its median and 95th percentile [default: 400ms/1200ms]
    #[arg(long, value_name = "TIME[/TIME]", value_parser = first_token)]
    first_token: Option<FirstToken>,

    /// How fast replies are written; 0 is at once [default: 80]
    #[arg(long, value_name = "TOKENS")]
    tokens_per_second: Option<u32>,

    /// How many words replies have [default: the 120 to 180 that our prompt asks for]
    #[arg(long, value_name = "WORDS")]
    reply_words: Option<u32>,

    /// What share of the calls is treated in which way, 0 to 1; may be given many times
    #[arg(long, value_name = "WAY=SHARE", value_parser = share, long_help = ways())]
    share: Vec<(Behaviour, f64)>,

    /// How the next calls are treated, parted by commas
    #[arg(
        long,
        value_name = "WAYS",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    next: Vec<Behaviour>,

    /// The retry-after of rate-limited, in whole seconds [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    retry_after: Option<Duration>,

    /// How long slow-first-byte waits [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    slow_first_byte: Option<Duration>,

    /// How long stall waits [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    stall: Option<Duration>,

    /// A rate limit of calls [default: none]
    #[arg(long, value_name = "CALLS")]
    requests_per_minute: Option<u64>,

    /// A rate limit of tokens of prompts [default: none]
    #[arg(long, value_name = "TOKENS")]
    input_tokens_per_minute: Option<u64>,

    /// A rate limit of tokens of replies [default: none]
    #[arg(long, value_name = "TOKENS")]
    output_tokens_per_minute: Option<u64>,

    /// How long batches take [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    batch_duration: Option<Duration>,

    /// After what time batches expire [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    batch_window: Option<Duration>,

    /// What share of the items of batches fails, 0 to 1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    batch_errored: Option<f64>,

    /// What share of the items of batches expires, 0 to 1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    batch_expired: Option<f64>,

    /// The longest body of a request, in MiB; a batch or a file may have eight times as much
    #[arg(long, default_value_t = 32, value_name = "MIB")]
    pub(crate) body_max_mib: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct FirstToken {
    p50_ms: u64,
    p95_ms: Option<u64>,
}

impl Arguments {
    /// The script of the file, or the usual one, with what flags change in it.
    ///
    /// # Errors
    /// For a file that cannot be read or is no script.
    pub(crate) fn script(&self) -> Result<Script> {
        let mut script = match &self.script {
            Some(file) => read(file)?,
            None => usual(),
        };
        if let Some(first_token) = self.first_token {
            script.first_token_p50_ms = first_token.p50_ms;
            script.first_token_p95_ms = first_token.p95_ms;
        }
        let Script {
            shares,
            next,
            limits,
            batch,
            slow_first_byte_ms,
            stall_ms,
            ..
        } = &mut script;
        shares.extend(self.share.iter().copied());
        next.extend(&self.next);
        batch.errored = self.batch_errored.unwrap_or(batch.errored);
        batch.expired = self.batch_expired.unwrap_or(batch.expired);
        for (place, wait) in [
            (&mut batch.duration_ms, self.batch_duration),
            (&mut batch.window_ms, self.batch_window),
            (slow_first_byte_ms, self.slow_first_byte),
            (stall_ms, self.stall),
        ] {
            *place = wait.map_or(*place, millis);
        }
        for (place, limit) in [
            (&mut limits.requests_per_minute, self.requests_per_minute),
            (
                &mut limits.input_tokens_per_minute,
                self.input_tokens_per_minute,
            ),
            (
                &mut limits.output_tokens_per_minute,
                self.output_tokens_per_minute,
            ),
        ] {
            *place = limit.or(*place);
        }
        if let Some(wait) = self.retry_after {
            script.retry_after_seconds = wait.as_secs();
        }
        script.seed = self.seed.unwrap_or(script.seed);
        script.key = self.key.clone().or(script.key);
        script.reply_words = self.reply_words.or(script.reply_words);
        script.tokens_per_second = self.tokens_per_second.unwrap_or(script.tokens_per_second);
        Ok(script)
    }
}

/// What a small fast model does on a good day.
fn usual() -> Script {
    let mut script = Script {
        first_token_p50_ms: 400,
        first_token_p95_ms: Some(1_200),
        tokens_per_second: 80,
        ..Script::default()
    };
    script.batch.duration_ms = 5_000;
    script
}

fn read(file: &PathBuf) -> Result<Script> {
    let text = std::fs::read_to_string(file).map_err(|source| {
        let context = format!("{} cannot be read", file.display());
        Error::new(ErrorKind::Invalid, "read the script", context).with_source(source)
    })?;
    serde_json::from_str(&text).map_err(|source| {
        let context = format!("{} is not the JSON of a script", file.display());
        Error::new(ErrorKind::Invalid, "read the script", context).with_source(source)
    })
}

fn ways() -> String {
    let mut text =
        "What share of the calls is treated in which way, 0 to 1; may be given many times. \
                    The ways, for --next as well:"
            .to_owned();
    for way in Behaviour::value_variants() {
        let Some(way) = way.to_possible_value() else {
            continue;
        };
        let help = way.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("\n  {:22}{help}", way.get_name()));
    }
    text
}

fn share(text: &str) -> Result<(Behaviour, f64), String> {
    let (way, share) = text
        .split_once('=')
        .ok_or("write a way and a share, such as cut=0.01")?;
    let way =
        Behaviour::from_str(way, true).map_err(|what| format!("{what}; --help has all ways"))?;
    let share = share
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or("the share must be from 0 to 1")?;
    Ok((way, share))
}

fn first_token(text: &str) -> Result<FirstToken, String> {
    let (p50, p95) = match text.split_once('/') {
        Some((p50, p95)) => (p50, Some(p95)),
        None => (text, None),
    };
    Ok(FirstToken {
        p50_ms: millis(duration(p50)?),
        p95_ms: p95.map(duration).transpose()?.map(millis),
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let parsed = units.into_iter().find_map(|(unit, millis)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(millis).map(Duration::from_millis)
    });
    parsed.ok_or_else(|| "write a whole number and ms, s, m, h or d, such as 400ms".to_owned())
}

/// A time that a header can say.
fn seconds(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    match wait.subsec_nanos() {
        0 => Ok(wait),
        _ => Err("it must be whole seconds, such as 2s".to_owned()),
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(flags: &[&str]) -> Result<Script> {
        Arguments::parse_from([&["simulator"], flags].concat()).script()
    }

    #[test]
    fn flags_change_what_is_usual() {
        assert_eq!(script(&[]).unwrap(), usual());
        let flags = [
            "--first-token=50ms/2s",
            "--share=cut=0.25",
            "--share=unfit-letter=0.5",
            "--next=good,slow-first-byte",
            "--retry-after=3s",
            "--requests-per-minute=7",
            "--batch-duration=2h",
        ];
        let script = script(&flags).unwrap();
        assert_eq!(script.first_token_p50_ms, 50);
        assert_eq!(script.first_token_p95_ms, Some(2_000));
        assert_eq!(script.shares[&Behaviour::Cut], 0.25);
        assert_eq!(script.shares[&Behaviour::UnfitLetter], 0.5);
        assert_eq!(script.next, [Behaviour::Good, Behaviour::SlowFirstByte]);
        assert_eq!(script.retry_after_seconds, 3);
        assert_eq!(script.limits.requests_per_minute, Some(7));
        assert_eq!(script.batch.duration_ms, 7_200_000);
        assert_eq!(script.tokens_per_second, usual().tokens_per_second);
    }

    #[test]
    fn the_help_names_every_way_and_the_routes_that_take_it() {
        let help = <Arguments as clap::CommandFactory>::command()
            .render_long_help()
            .to_string();
        for way in Behaviour::value_variants() {
            let way = way.to_possible_value().unwrap();
            assert!(help.contains(way.get_name()), "{way:?}");
        }
        assert!(help.contains("/simulator/next"), "{help}");
    }

    #[test]
    fn flags_that_mean_nothing_are_refused() {
        for flag in [
            "--share=cut=2",
            "--share=explode=0.1",
            "--share=cut",
            "--next=explode",
            "--first-token=fast",
            "--first-token=1s/",
            "--retry-after=500ms",
        ] {
            assert!(
                Arguments::try_parse_from(["simulator", flag]).is_err(),
                "{flag}"
            );
        }
    }
}
