//! Runs projections of the answer log, and jobs with outside effects.
