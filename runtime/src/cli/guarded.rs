//! The guarded half of `worker` and `all`: the process that a person starts is the guard, and it starts the one that works. It knows
//! neither executors nor queues; read `guard.rs` for what it is good for.

use super::serve::provide_tls;
use super::{Done, Ending};
use crate::config::Config;
use crate::guard::Guard;
use crate::{app, guard};

/// What becomes of this process: the worker, with the guard it has, or a guard, which is done when this returns.
pub(super) fn stand_or_work(config: &Config, guarded: bool, work: impl FnOnce(Guard) -> Done) -> Done {
    if guarded {
        return work(Guard::take()?);
    }
    if config.worker.guard { stand(config) } else { work(Guard::default()) }
}

fn stand(config: &Config) -> Done {
    provide_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(async { anyhow::Ok(guard::watch(&app::postgres(config, 1)?).await?) })?;
    if code == 0 { Ok(()) } else { Err(Ending::Code(code)) }
}
