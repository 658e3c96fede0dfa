//! longshore-sdk
