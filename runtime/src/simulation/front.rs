//! The API processes of the simulation, each with the agents, started again a while after each end. Callers come in by their doors.

use std::sync::Arc;

use super::crew::{AWAY, hands, start_agents};
use super::process::Process;
use super::world::World;
use crate::api::door::Door;
use crate::api::{Api, ApiSettings};
use crate::notify::feed::Feed;
use crate::stop::Stop;

const APIS: usize = 2;

pub(super) fn start(world: &Arc<World>, tasks: &Stop) {
    for place in 0..APIS {
        tasks.spawn("api", keep_api(Arc::clone(world), place));
    }
}

async fn keep_api(world: Arc<World>, place: usize) {
    for life in 0.. {
        let process = Process::start(&world, format!("api-{place}.{life}"));
        start_agents(&process).await;
        let door = process.gate.through(open(&process)).await;
        world.doors.lock().unwrap().insert(place, (process.gate.clone(), door));
        process.dead.cancelled().await;
        world.doors.lock().unwrap().remove(&place);
        tokio::time::sleep(world.dice.up_to(AWAY)).await;
    }
}

async fn open(process: &Arc<Process>) -> Door {
    let (ledger, broker) = hands(process);
    let feed = Feed::start(&process.stop, Arc::clone(&broker));
    let storage = Arc::clone(&process.world.storage);
    let auth = crate::api::AuthSettings { anonymous: crate::api::Anonymous::Always, ..Default::default() };
    Door::of(Api::new(&process.stop, ledger, broker, storage, feed, ApiSettings::default(), (auth, Default::default())))
}
