//! How news of a job reaches those who asked for it. Nothing here decides about a job or is needed for one to finish:
//! what is missed is found in the ledger. [`feed`] wakes long-polls.

pub mod feed;
