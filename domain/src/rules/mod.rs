//! Threshold rules: pure evaluation.
