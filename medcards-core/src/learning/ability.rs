//! How able students are, and how hard cases: kept answer by answer.
