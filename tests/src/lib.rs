//! longshore-tests
