//! The JSON of the HTTP API, shared by the server and by [`crate::client`]. Shapes only; no behaviour.
