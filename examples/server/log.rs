//! Logs, on standard error: standard output has the banner.

use medcards::{Error, ErrorKind, Result};
use medcards_examples::config::{Config, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts to write logs as configured.
pub(crate) fn start(config: &Config) -> Result<()> {
    let invalid = |source| {
        Error::new(
            ErrorKind::Invalid,
            "read settings",
            "MEDCARDS_LOG has a filter that cannot be: it must look like info,medcards_http=debug",
        )
        .with_source(source)
    };
    let filter = EnvFilter::try_new(&config.log_filter).map_err(invalid)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Fmt => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
