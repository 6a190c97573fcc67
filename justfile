# What CI runs is what a developer runs: `./tests/run` does fmt, lint, test, doc, features and servers.

# Shows the recipes.
default:
    @just --list

# Checks the formatting.
fmt:
    cargo fmt --all --check

# Runs every lint, warnings being errors.
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Runs every test.
test:
    cargo test --workspace --all-features

# Builds the documentation, warnings being errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

# Checks that each crate builds with each of its features alone.
features:
    ./tests/features

# Runs the AI providers against servers written by others.
servers:
    ./tests/ai-servers

# Kills the server 50 times under load and checks every acknowledged answer.
kill:
    MEDCARDS_KILLS=50 cargo test --release -p medcards-tests --test it -- --nocapture kill

# Loses servers with their disks, restores them with the scripts, and shows what that lost and took.
restore:
    cargo test -p medcards-store-pg --test it -- --nocapture backup

# Imports, answers and searches real cases from a folder of JSONL files.
real-data folder:
    ./tests/real-data {{folder}}

# Fills PostgreSQL with millions of answers, and measures what users then wait for.
scale *arguments:
    ./tests/scale {{arguments}}

# Replays the burst of a real examination from a file of its submissions.
autosave-replay log *arguments:
    ./tests/autosave-replay {{log}} {{arguments}}

# Records anew what @upstash/ratelimit decides, which our rate limiters must decide as well.
upstash:
    ./tests/upstash/record

# Compares with the baselines.
bench:
    cargo bench -p medcards-benches

# Feeds random bytes to the parsers for a minute each.
fuzz:
    ./tests/fuzz

# Checks licences, banned crates and sources.
deny:
    cargo deny check bans licenses sources
