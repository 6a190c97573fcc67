use std::path::PathBuf;

use clap::Parser;

/// Says how well the next answer of a student is foretold, beside baselines on the same users.
///
/// Fails if a published or measured baseline has the greater area under the curve.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The folder with logs/ and reference/.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Only this log: assist09, credential or memphis.
    #[arg(long)]
    pub(crate) log: Option<String>,
    /// Leaves the other users alone, and scores the last part of those that constants are tuned on.
    #[arg(long)]
    pub(crate) tuning: bool,
}
