use std::io::Write;

use clap::Parser;
use medcards::spend::{MicroDollars, SpendBudget};
use medcards_examples::config::{
    Ai, Config, Guests, LogFormat, Role, Settings, StoreSettings, read_ttl,
};
use secrecy::ExposeSecret;

/// The variables of the environment that clap reads must not decide a test.
fn no_variable_is_set() -> bool {
    std::env::vars().all(|(name, _)| !name.starts_with("MEDCARDS_"))
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    settings: Settings,
}

fn read(flags: &[&str]) -> medcards::Result<Config> {
    assert!(no_variable_is_set(), "unset MEDCARDS_* to run these tests");
    let program = Program::try_parse_from([&["server"], flags].concat()).expect("flags that exist");
    Config::read(program.settings)
}

/// Flags that are refused, with words that the message must have and one that it must not.
#[track_caller]
fn check_refused(flags: &[&str], words: &[&str], secret: &str) {
    let message = read(flags).expect_err("it must be refused").to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
    assert!(
        secret.is_empty() || !message.contains(secret),
        "{message:?}"
    );
    assert!(!message.contains('\n'), "{message:?} has several lines");
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("a temporary file");
    file
}

#[test]
fn nothing_set_is_a_server_for_this_machine_without_a_model() {
    let config = read(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    let StoreSettings::Sqlite(file) = &config.store else {
        panic!("{config:?}")
    };
    assert_eq!(file.to_str(), Some("./medcards-data/medcards.sqlite"));
    assert!(config.uses_folder());
    assert!(matches!(config.ai, Ai::Authored { key_is_set: false }));
    assert_eq!(limits(&config), ["100/1m", "100/1m", "60/1m", "20/1m"]);
    assert_eq!(
        (config.guests, config.log_format),
        (Guests::OnLoopback, LogFormat::Fmt)
    );
}

#[test]
fn a_flag_counts_before_the_file_and_the_file_before_the_default() {
    let file =
        file("listen = \"127.0.0.1:9\"\nrate_limit = \"5/1s\"\njwt_secret = \"of the file\"");
    let path = file.path().to_str().unwrap();
    let config = read(&["--config", path, "--rate-limit", "off"]).unwrap();
    assert_eq!((config.listen.port(), config.rate_limit), (9, None));
    assert_eq!(config.jwt_secret.unwrap().expose_secret(), "of the file");
}

/// The quotas of the client, of logins, of feedback and of chat.
fn limits(config: &Config) -> [String; 4] {
    [
        config.rate_limit,
        config.login_limit,
        config.ai_limit,
        config.chat_limit,
    ]
    .map(|quota| quota.map_or("off".to_owned(), |quota| quota.to_string()))
}

#[test]
fn each_limit_is_set_for_itself() {
    let config = read(&["--login-limit", "5/1h", "--ai-limit", "off"]).unwrap();
    assert_eq!(limits(&config), ["100/1m", "5/1h", "off", "20/1m"]);
    let config = read(&["--rate-limit", "off"]).unwrap();
    assert_eq!(limits(&config), ["off"; 4]);
    let config = read(&["--rate-limit", "off", "--chat-limit", "3/10s"]).unwrap();
    assert_eq!(limits(&config), ["off", "off", "off", "3/10s"]);
    let file = file("chat_limit = \"1/1s\"\nlogin_limit = \"\"\nai_limit = \"2/1s\"");
    let path = file.path().to_str().unwrap();
    let config = read(&["--config", path, "--ai-limit", "3/1s"]).unwrap();
    assert_eq!(limits(&config), ["100/1m", "100/1m", "3/1s", "1/1s"]);
}

#[test]
fn redis_is_read_with_its_namespace_and_shown_without_its_password() {
    assert!(read(&[]).unwrap().redis.is_none());
    let url = "redis+sentinel://user:pw@h1:1,h2:2/service";
    let arguments = [
        "--redis",
        url,
        "--redis-namespace",
        "beta-2",
        "--redis-patience",
        "25ms",
    ];
    let redis = read(&arguments).unwrap().redis.unwrap();
    for shown in [redis.to_string(), format!("{redis:?}")] {
        assert!(shown.contains("h1:1") && !shown.contains("pw"), "{shown}");
    }
    let shown = format!("{redis:?}");
    assert!(
        shown.contains("beta-2") && shown.contains("25ms"),
        "{shown}"
    );
}

#[test]
fn what_is_set_to_nothing_is_not_set() {
    let file = file("rate_limit = \"5/1s\"\nai = \"\"");
    let path = file.path().to_str().unwrap();
    let config = read(&["--config", path, "--rate-limit", "", "--redis", ""]).unwrap();
    assert_eq!(config.rate_limit.unwrap().to_string(), "5/1s");
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    check_refused(
        &["--listen", "8080"],
        &["MEDCARDS_LISTEN", "127.0.0.1:8080"],
        "",
    );
    check_refused(
        &["--redis", "http://:pw@h"],
        &["MEDCARDS_REDIS", "redis://", "redis+cluster://"],
        "pw",
    );
    check_refused(
        &["--redis-namespace", "beta"],
        &["MEDCARDS_REDIS_NAMESPACE", "MEDCARDS_REDIS is not"],
        "",
    );
    check_refused(
        &["--redis-patience", "20ms"],
        &["MEDCARDS_REDIS_PATIENCE", "MEDCARDS_REDIS is not"],
        "",
    );
    for patience in ["20", "6s", "0ms", "ms", "1m"] {
        check_refused(
            &["--redis", "redis://:pw@h", "--redis-patience", patience],
            &["MEDCARDS_REDIS_PATIENCE", "1 ms to 5 s"],
            "pw",
        );
    }
    check_refused(
        &["--redis", "redis://:pw@h", "--redis-namespace", "a{b}"],
        &["MEDCARDS_REDIS_NAMESPACE", "letters"],
        "pw",
    );
    check_refused(&["--ai", "claude"], &["authored, anthropic or openai"], "");
    check_refused(
        &["--ai", "anthropic"],
        &["MEDCARDS_AI_KEY", "MEDCARDS_AI_URL"],
        "",
    );
    check_refused(
        &["--ai", "openai", "--ai-key", "sk-1"],
        &["MEDCARDS_AI_MODEL"],
        "sk-1",
    );
    check_refused(
        &[
            "--ai",
            "openai",
            "--ai-url",
            "u",
            "--ai-model",
            "m",
            "--ai-price",
            "5",
        ],
        &["1.00/5.00"],
        "",
    );
    check_refused(&["--spend-budget", "5/week"], &["$5/day", "off"], "");
    for (flag, name) in [
        ("--rate-limit", "MEDCARDS_RATE_LIMIT"),
        ("--login-limit", "MEDCARDS_LOGIN_LIMIT"),
        ("--ai-limit", "MEDCARDS_AI_LIMIT"),
        ("--chat-limit", "MEDCARDS_CHAT_LIMIT"),
    ] {
        check_refused(&[flag, "100"], &[name, "100/1m", "off"], "");
    }
    check_refused(&["--guests", "yes"], &["auto, on or off"], "");
    check_refused(
        &["--listen", "0.0.0.0:1", "--jwt-secret", "short"],
        &["openssl rand"],
        "short",
    );
    check_refused(
        &["--config", "/no/such/file"],
        &["/no/such/file", "cannot be read"],
        "",
    );
}

#[test]
fn a_file_with_a_wrong_line_is_refused_without_showing_its_secrets() {
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    let unknown = file("listen = \"127.0.0.1:1\"\nai_kye = \"sk-secret\"");
    check_refused(
        &["--config", &path(&unknown)],
        &["line 2", "ai_kye"],
        "sk-secret",
    );
    let broken = file("ai_key = \"sk-secret");
    check_refused(&["--config", &path(&broken)], &["line 1"], "sk-secret");
    let other = file(&"x".repeat(70_000));
    check_refused(&["--config", &path(&other)], &["too long"], "xxx");
}

#[test]
fn guests_are_let_in_by_themselves_on_loopback_only() {
    for (flags, expected) in [
        (
            ["--listen", "127.0.0.2:1", "--guests", "auto"],
            Guests::OnLoopback,
        ),
        (
            ["--listen", "[::1]:1", "--guests", "auto"],
            Guests::OnLoopback,
        ),
        (
            ["--listen", "0.0.0.0:1", "--guests", "auto"],
            Guests::OffBeyondLoopback,
        ),
        (["--listen", "0.0.0.0:1", "--guests", "on"], Guests::SetOn),
        (
            ["--listen", "127.0.0.1:1", "--guests", "off"],
            Guests::SetOff,
        ),
    ] {
        assert_eq!(read(&flags).unwrap().guests, expected, "{flags:?}");
    }
}

#[test]
fn money_is_read_to_the_micro_dollar() {
    for (text, micros) in [
        ("$5/day", Some(5_000_000)),
        ("0.5/day", Some(500_000)),
        ("$0.000001/day", Some(1)),
        ("$0/day", Some(0)),
        ("5", Some(5_000_000)),
        ("$1/month", None),
        // Who limits a part has not said that the whole may cost anything.
        ("1/user", Some(5_000_000)),
        ("premium=20%", Some(5_000_000)),
        ("off", None),
    ] {
        let budget = read(&["--spend-budget", text]).unwrap().budget;
        assert_eq!(budget.per_day, micros.map(MicroDollars::new), "{text}");
    }
    for text in [
        "$0.0000001/day",
        "$-1/day",
        "$/day",
        "1e3/day",
        "$.5/day",
        "5/hour",
        "∞/day",
        "5/day,",
        "5/day,6/day",
        "5,6/day",
        "5/day,premium=20",
        "5/day,premium=101%",
        "5/day,premium=-1%",
        "5/day,premium=1%,premium=1%",
        "5/day/month",
        "day=5",
    ] {
        check_refused(&["--spend-budget", text], &["MEDCARDS_SPEND_BUDGET"], "");
    }
}

#[test]
fn a_budget_is_a_list_of_limits() {
    let text = "$5/day, 100/month,0.20/user,1/chat,2/feedback,3/precompute,premium=20%";
    let dollars = |micros| Some(MicroDollars::new(micros));
    let expected = SpendBudget {
        per_day: dollars(5_000_000),
        per_month: dollars(100_000_000),
        per_user: dollars(200_000),
        chat_per_day: dollars(1_000_000),
        feedback_per_day: dollars(2_000_000),
        precompute_per_day: dollars(3_000_000),
        premium_percent: 20,
    };
    assert_eq!(read(&["--spend-budget", text]).unwrap().budget, expected);
    let refused = ["--spend-budget", "5/day,1/cat"];
    check_refused(&refused, &["MEDCARDS_SPEND_BUDGET", "1/cat", "chat"], "");
}

#[test]
fn a_key_without_a_model_stays_unused() {
    let config = read(&["--ai-key", "sk-1"]).unwrap();
    assert!(matches!(config.ai, Ai::Authored { key_is_set: true }));
    assert!(!format!("{config:?}").contains("sk-1"));
}

#[test]
fn a_model_is_described_whole() {
    let flags = [
        "--ai",
        "openai",
        "--ai-url",
        "http://h/v1",
        "--ai-model",
        "m",
        "--ai-price",
        "1/2.5",
    ];
    let Ai::Model(model) = read(&flags).unwrap().ai else {
        panic!("no model")
    };
    let price = model.price.unwrap();
    assert_eq!(
        (price.input, price.output),
        (MicroDollars::new(1_000_000), MicroDollars::new(2_500_000))
    );
    assert!(model.key.is_none(), "a server of one's own may need no key");
}

#[test]
fn a_second_model_takes_server_and_key_of_the_first_if_both_are_the_same() {
    let first = [
        "--ai",
        "anthropic",
        "--ai-url",
        "http://one",
        "--ai-key",
        "k1",
    ];
    let second = |flags: &[&str]| {
        let config = read(&[&first[..], flags].concat()).unwrap();
        config.fallback.map(|model| {
            let key = model.key.map(|key| key.expose_secret().to_owned());
            (model.model, model.url, key)
        })
    };
    assert_eq!(second(&[]), None);
    let same = [
        "--fallback",
        "anthropic",
        "--fallback-model",
        "claude-sonnet-4-6",
    ];
    let expected = ("claude-sonnet-4-6", Some("http://one"), Some("k1"));
    let found = second(&same).unwrap();
    assert_eq!(
        (found.0.as_str(), found.1.as_deref(), found.2.as_deref()),
        expected
    );
    let other = [
        "--fallback",
        "openai",
        "--fallback-model",
        "m",
        "--fallback-url",
        "http://two",
    ];
    let found = second(&other).unwrap();
    assert_eq!((found.1.as_deref(), found.2), (Some("http://two"), None));

    check_refused(&["--fallback", "openai"], &["MEDCARDS_AI is authored"], "");
    let refused = |flags: &[&str], words: &[&str]| {
        check_refused(&[&first[..], flags].concat(), words, "k1");
    };
    refused(
        &["--fallback-key", "k2"],
        &["MEDCARDS_FALLBACK_KEY", "MEDCARDS_FALLBACK is not"],
    );
    refused(
        &["--fallback", "authored"],
        &["MEDCARDS_FALLBACK is", "anthropic or openai"],
    );
    refused(
        &["--fallback", "openai"],
        &["MEDCARDS_FALLBACK_KEY", "MEDCARDS_FALLBACK_URL"],
    );
    refused(
        &["--fallback", "anthropic"],
        &["MEDCARDS_FALLBACK_MODEL is the first model"],
    );
    let price = ["--fallback-price", "cheap"];
    refused(
        &[&same[..], &price].concat(),
        &["MEDCARDS_FALLBACK_PRICE is `cheap`"],
    );
}

#[test]
fn answers_are_reused_only_where_somebody_says_so() {
    assert!(!read(&[]).unwrap().semantic_reuse);
    assert!(read(&["--semantic-reuse", "on"]).unwrap().semantic_reuse);
    check_refused(
        &["--semantic-reuse", "yes"],
        &["MEDCARDS_SEMANTIC_REUSE", "on or off"],
        "",
    );
}

#[test]
fn a_process_serves_and_works_unless_told_otherwise() {
    for (flags, role) in [
        (&[][..], Role::All),
        (&["--role", "all"], Role::All),
        (&["--role", "serve"], Role::Serve),
        (&["--role", "work"], Role::Work),
    ] {
        assert_eq!(read(flags).unwrap().role, role);
    }
    check_refused(&["--role", "play"], &["MEDCARDS_ROLE is `play`"], "");
}

#[test]
fn badges_are_awarded_by_the_rules_of_a_file() {
    assert!(read(&[]).unwrap().badges.len() > 1);
    let rule = |name: &str, of: &str, at_least: u32| {
        let file = file(&format!(
            "[[badge]]\nname = \"{name}\"\ntitle = \"T\"\nof = \"{of}\"\nat_least = {at_least}"
        ));
        let path = file.path().to_str().unwrap().to_owned();
        (file, path)
    };
    let (_file, path) = rule("ten", "answers", 10);
    let badges = read(&["--badges", &path]).unwrap().badges;
    assert_eq!((badges.len(), badges[0].at_least), (1, 10));
    for (name, of, at_least, word) in [
        ("ten", "luck", 10, "`luck`"),
        ("ten", "answers", 0, "MEDCARDS_BADGES"),
        ("Ten!", "answers", 10, "MEDCARDS_BADGES"),
    ] {
        let (_file, path) = rule(name, of, at_least);
        check_refused(&["--badges", &path], &[word], "");
    }
    check_refused(&["--badges", "/nowhere.toml"], &["/nowhere.toml"], "");
}

#[test]
fn a_webhook_has_a_url_and_a_secret_that_are_not_shown() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const URL: &str = "https://example.com/hook?token=hush";
    assert!(read(&[]).unwrap().webhook.is_none());
    let flags = ["--webhook-url", URL, "--webhook-secret", SECRET];
    let webhook = read(&flags).unwrap().webhook.unwrap();
    let shown = format!("{webhook:?}");
    assert!(!shown.contains("hush") && !shown.contains("Mf"), "{shown}");
    webhook.webhook().unwrap();
    for (url, secret, words) in [
        (URL, "", "MEDCARDS_WEBHOOK_SECRET is not"),
        ("", SECRET, "MEDCARDS_WEBHOOK_URL is not"),
        ("ftp://hush/", SECRET, "MEDCARDS_WEBHOOK_URL cannot be used"),
        ("hush", SECRET, "MEDCARDS_WEBHOOK_URL cannot be used"),
        (URL, "hush", "whsec_ and 24 to 64 bytes"),
    ] {
        let flags = ["--webhook-url", url, "--webhook-secret", secret];
        check_refused(&flags, &[words], "hush");
    }
}

#[test]
fn logs_take_a_format_a_filter_or_both() {
    for (text, format, filter) in [
        ("json", LogFormat::Json, "info"),
        ("fmt,debug", LogFormat::Fmt, "debug"),
        (
            "json,warn,medcards_http=debug",
            LogFormat::Json,
            "warn,medcards_http=debug",
        ),
        (
            "warn,medcards_http=debug",
            LogFormat::Fmt,
            "warn,medcards_http=debug",
        ),
    ] {
        let config = read(&["--log", text]).unwrap();
        assert_eq!(
            (config.log_format, config.log_filter.as_str()),
            (format, filter),
            "{text}"
        );
    }
}

#[test]
fn lives_of_tokens_have_a_unit_and_an_end() {
    for (text, seconds) in [
        ("90s", 90),
        ("30m", 1_800),
        ("12h", 43_200),
        ("365d", 31_536_000),
    ] {
        assert_eq!(read_ttl(text).unwrap().as_secs(), seconds, "{text}");
    }
    for text in [
        "",
        "1",
        "h",
        "0s",
        "366d",
        "-1h",
        "99999999999999999999d",
        "1 h",
        "1w",
    ] {
        assert!(read_ttl(text).is_err(), "{text}");
    }
}

/// A word that is no level would silence the log, warnings included.
#[test]
fn a_log_filter_that_would_silence_everything_is_refused() {
    for (text, is_taken) in [
        ("fmt", true),
        ("json", true),
        ("debug", true),
        ("json,warn,medcards_core=trace", true),
        ("xml", false),
        ("fmt json", false),
        ("JSON", false),
    ] {
        let settings = Settings {
            log: Some(text.to_owned()),
            ..Settings::default()
        };
        assert_eq!(Config::read(settings).is_ok(), is_taken, "{text}");
    }
}

const DATABASE: &str = "postgres://ada:pw@db/medcards";

/// Settings of a database, with how it is then described and what its configuration then says.
#[track_caller]
fn check_database(flags: &[&str], description: &str, words: &[&str]) {
    let store = read(flags).expect("settings that can be").store;
    assert_eq!(store.to_string(), description);
    let whole = format!("{store:?}");
    for word in words {
        assert!(whole.contains(word), "{whole:?} does not say {word:?}");
    }
    assert!(!whole.contains("pw"), "{whole}");
}

#[test]
fn an_address_is_a_database_and_all_else_a_file() {
    check_database(
        &["--store", DATABASE],
        "PostgreSQL db:5432/medcards",
        &["pooling: None", "connections_max: 10", "retention: Forever"],
    );
    check_database(
        &[
            "--store",
            "postgresql://ada:p%40pw@db1,db2:5433/m?sslmode=verify-full",
        ],
        "PostgreSQL db1:5432,db2:5433/m",
        &[],
    );
    for name in ["exam.sqlite", "postgres.sqlite", "a folder/b"] {
        let description = format!("SQLite file ./medcards-data/{name}");
        assert_eq!(
            read(&["--store", name]).unwrap().store.to_string(),
            description
        );
    }
}

#[test]
fn what_a_database_is_told_is_read_from_flags_and_file_alike() {
    let file = file(
        "store = \"postgres://ada:pw@db/m\"\nreplicas = \"\"\"\npostgres://ada:pw@r1,r2/m\n\
         postgres://ada:pw@r3/m\"\"\"\npooler = \"transaction\"\nconnections = 20\n\
         retention = \"24 months\"",
    );
    let path = file.path().to_str().unwrap();
    let description = "PostgreSQL db:5432/m (3 replicas, behind a pooler)";
    check_database(
        &["--config", path],
        description,
        &[
            "pooling: Transaction",
            "connections_max: 20",
            "retention: Detach(24)",
        ],
    );
    check_database(
        &[
            "--config",
            path,
            "--connections",
            "4",
            "--retention",
            "12months,drop",
        ],
        description,
        &["connections_max: 4", "retention: Drop(12)"],
    );
    check_database(
        &[
            "--store",
            DATABASE,
            "--replicas",
            "postgres://ada:pw@r1/m",
            "--pooler",
            "none",
        ],
        "PostgreSQL db:5432/medcards (1 replica)",
        &["r1:5432/m"],
    );
}

#[test]
fn a_database_that_cannot_be_is_refused_without_its_password() {
    for address in [
        "postgres://ada:pw@db:port/m",
        "postgres://ada:pw/x@db/m",
        "postgres://ada:pw@db,,/m",
        "postgres://ada:pw@db/m?sslmode=perhaps",
        "postgres:/ada:pw@db/m",
        "postgresql:",
    ] {
        check_refused(
            &["--store", address],
            &[
                "MEDCARDS_STORE",
                "postgres://user:password@host:5432/database",
            ],
            "pw",
        );
        check_refused(
            &[
                "--store",
                DATABASE,
                "--replicas",
                &format!("{DATABASE} {address}"),
            ],
            &["MEDCARDS_REPLICAS"],
            "pw",
        );
    }
    check_refused(
        &["--store", "mysql://ada:pw@db/m"],
        &["mysql://", "SQLite", "postgres://"],
        "pw",
    );
    for separator in [",", ";"] {
        let replicas = [DATABASE, DATABASE].join(separator);
        check_refused(
            &["--store", DATABASE, "--replicas", &replicas],
            &["MEDCARDS_REPLICAS", "spaces between"],
            "pw",
        );
    }
    for (flag, value, words) in [
        (
            "--pooler",
            "session",
            &["MEDCARDS_POOLER", "`session`", "none"][..],
        ),
        ("--pooler", "pgbouncer", &["transaction"]),
        ("--connections", "0", &["MEDCARDS_CONNECTIONS", "1 to 500"]),
        ("--connections", "501", &["1 to 500"]),
        ("--connections", "many", &["`many`"]),
        (
            "--retention",
            "3 months",
            &["MEDCARDS_RETENTION", "4 months"],
        ),
        ("--retention", "24", &["24 months, drop"]),
        ("--retention", "2 years", &["forever"]),
        ("--retention", "24 months, delete", &["24 months, drop"]),
        ("--retention", "forever, drop", &["forever"]),
    ] {
        check_refused(&["--store", DATABASE, flag, value], words, "pw");
    }
}

#[test]
fn a_file_takes_no_setting_of_a_database() {
    for (flag, value) in [
        ("--replicas", DATABASE),
        ("--pooler", "none"),
        ("--connections", "10"),
        ("--retention", "forever"),
    ] {
        let name = flag.trim_start_matches('-').to_uppercase();
        for flags in [&[flag, value][..], &["--store", "a.sqlite", flag, value]] {
            check_refused(
                flags,
                &[&format!("MEDCARDS_{name}"), "SQLite", "unset"],
                "pw",
            );
        }
        read(&[flag, ""]).expect("what is set to nothing is not set");
    }
}

#[test]
fn settings_that_are_shown_for_debugging_hide_the_passwords_in_addresses() {
    let flags = ["server", "--store", DATABASE, "--replicas", DATABASE];
    let settings = Program::try_parse_from(flags).unwrap().settings;
    assert!(!format!("{settings:?}").contains("pw"), "{settings:?}");
}

/// Only then may the folder be missing, as on a machine whose disk cannot be written.
#[test]
fn the_folder_is_not_used_where_store_and_secret_are_elsewhere() {
    let secret = "a secret of at least thirty-two bytes";
    for (flags, is_used) in [
        (&["--store", DATABASE, "--jwt-secret", secret][..], false),
        (&["--store", DATABASE], true),
        (&["--jwt-secret", secret], true),
    ] {
        assert_eq!(read(flags).unwrap().uses_folder(), is_used, "{flags:?}");
    }
}
