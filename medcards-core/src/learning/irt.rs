//! The two-parameter logistic model of item response theory.
