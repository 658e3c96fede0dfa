//! What an import does, told once and shown on both targets: `on_both!` runs each story on SQLite and on a PostgreSQL
//! server that the test process starts for itself. Nothing is skipped when there is none: it fails.

mod faults;
mod files;
mod interposed;
mod properties;
mod rows;
mod server;
mod world;

/// Makes two tests of each story, one per target.
macro_rules! on_both {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story(&crate::csv_import::tests::world::World::sqlite()).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story(&crate::csv_import::tests::world::World::postgres()).await; })*
        }
    };
}
pub(super) use on_both;
