//! Calls a Longshore over HTTP and turns a job into something to await.
