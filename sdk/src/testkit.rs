//! Runs an executor with no broker, no ledger and no worker, so that its author can test it in a line.
