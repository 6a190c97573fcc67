//! How each version of a case is answered.
