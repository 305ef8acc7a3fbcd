//! Keys that the target lacks.
