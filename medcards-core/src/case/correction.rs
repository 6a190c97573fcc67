use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CaseContent, CaseVersion, OptionSet};
use crate::id::CaseId;
use crate::job::NewJob;

/// The most corrections that one read returns.
pub const CORRECTIONS_PER_READ_MAX: usize = 1_000;

/// The key of a version was wrong: what counts as right in it from now on.
///
/// The answers keep what was seen and how it was scored then; whatever is derived from them follows
/// the correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "kept by every store")]
pub struct KeyCorrection {
    /// Which correction of the store this is, from 1. Of two for one version the later counts.
    pub number: u64,
    /// The case.
    pub case_id: CaseId,
    /// The version whose key was wrong.
    pub version: CaseVersion,
    /// What is right in it, by authored position.
    pub right: OptionSet,
    /// The version that was published with the correction.
    pub corrected_in: CaseVersion,
    /// When.
    pub corrected_at: Timestamp,
}

/// A new version of a case, and what is right in earlier ones.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "written by every store")]
pub struct CaseCorrection {
    /// The case.
    pub case_id: CaseId,
    /// Its current version, as far as whoever corrects it knows.
    pub current: CaseVersion,
    /// What is published: of the same source and external id, and other than the current version.
    pub content: CaseContent,
    /// The versions whose keys were wrong, each once, with what is right in them.
    pub versions: Vec<(CaseVersion, OptionSet)>,
    /// What is to be done about it.
    pub jobs: Vec<NewJob>,
    /// When.
    pub corrected_at: Timestamp,
}
