//! longshore-executors
