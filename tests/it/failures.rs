//! What happens when servers are killed, wires cut and memories full.
//!
//! Each story harms what it has started itself. What holds in quiet weather is told in `contract`.

mod broker;
mod chaos;
mod cluster;
mod guard;
mod leases;
mod refusals;
