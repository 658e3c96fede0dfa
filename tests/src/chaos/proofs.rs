//! Whether the storm was one: a fault that never showed proves nothing, and neither do kills of idle workers, too few cut connections, or
//! recoveries that were too slow where nothing else was in their way. What must hold in a storm is `truth.rs`'s.

use super::fault::Fault;
use super::plan::Plan;
use super::tally::Entry;
use super::world::World;

/// One recovery in so many may miss its target where nothing else goes wrong.
const MISSES: usize = 10;

/// Everything that is missing, in words.
pub fn missing(world: &World) -> Vec<String> {
    let planned = world.plan.faults.iter();
    planned.flat_map(|(fault, planned)| of_fault(&world.plan, *fault, *planned, &world.tally.of(*fault))).collect()
}

fn of_fault(plan: &Plan, fault: Fault, planned: usize, entry: &Entry) -> Vec<String> {
    let wrong =
        [too_few(planned, entry), idle(fault, entry), too_small(plan, fault, entry), too_slow(plan, fault, entry)];
    wrong.into_iter().flatten().map(|wrong| format!("{}: {wrong}", fault.word())).collect()
}

fn too_few(planned: usize, entry: &Entry) -> Option<String> {
    let Entry { count, vain, .. } = entry;
    (*count < planned).then(|| format!("{planned} planned, {count} seen to work, {vain} without any effect"))
}

/// Half of the kills at least took a running attempt with them.
fn idle(fault: Fault, entry: &Entry) -> Option<String> {
    let Entry { count, struck, amount, .. } = entry;
    let idle = fault == Fault::WorkerKill && (*amount == 0 || struck * 2 < *count);
    idle.then(|| format!("only {struck} of {count} struck a running attempt"))
}

fn too_small(plan: &Plan, fault: Fault, entry: &Entry) -> Option<String> {
    let least = if fault == Fault::Cut { plan.connections } else { 0 };
    (entry.amount < least).then(|| format!("{} connections, {least} are the least", entry.amount))
}

/// Where faults come one by one, a recovery has nothing else to wait for.
fn too_slow(plan: &Plan, fault: Fault, entry: &Entry) -> Option<String> {
    let target = fault.target(plan.lease).filter(|_| plan.one_by_one)?;
    let alone = entry.took(true);
    let late = alone.iter().filter(|took| **took > target).count();
    let wrong = alone.is_empty() || late * MISSES > alone.len();
    wrong.then(|| format!("{late} of {} recoveries took longer than {target:.1?}", alone.len()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tally::Recovery;
    use super::*;

    fn wrong(plan: &Plan, fault: Fault, planned: usize, entry: &Entry) -> String {
        of_fault(plan, fault, planned, entry).join("; ")
    }

    #[test]
    fn a_fault_that_did_not_show_fails_the_run() {
        let entry = Entry { count: 2, vain: 4, ..Entry::default() };
        let plan = Plan::short(1);
        assert!(wrong(&plan, Fault::ApiKill, 3, &entry).contains("3 planned, 2 seen to work, 4 without"));
        assert_eq!(wrong(&plan, Fault::ApiKill, 2, &entry), "");
    }

    #[test]
    fn kills_of_idle_workers_fail_the_run() {
        let struck = |struck| Entry { count: 10, struck, amount: struck * 3, ..Entry::default() };
        let wrong = |entry| wrong(&Plan::short(1), Fault::WorkerKill, 10, &entry);
        assert!(wrong(struck(4)).contains("only 4 of 10") && wrong(struck(0)).contains("only 0 of 10"));
        assert_eq!(wrong(struck(5)), "");
    }

    #[test]
    fn too_few_cut_connections_fail_the_full_run() {
        let cut = |amount| Entry { count: 100, amount, ..Entry::default() };
        let wrong = |amount| wrong(&Plan::single(1), Fault::Cut, 45, &cut(amount));
        assert!(wrong(349).contains("349 connections, 350 are the least"));
        assert_eq!(wrong(350), "");
    }

    #[test]
    fn slow_recoveries_fail_a_run_in_which_nothing_else_goes_wrong() {
        let of = |late: usize| {
            let took = |number| Duration::from_secs(if number < late { 3 } else { 1 });
            let recoveries = (0..10).map(|number| Recovery { took: took(number), alone: true }).collect();
            Entry { count: 10, recoveries, ..Entry::default() }
        };
        let wrong = |plan: Plan, entry| wrong(&plan, Fault::BrokerKill, 10, &entry);
        assert!(wrong(Plan::calm(1), of(2)).contains("2 of 10 recoveries took longer than 2.0s"));
        assert!(wrong(Plan::calm(1), Entry { count: 10, ..Entry::default() }).contains("0 of 0"));
        assert_eq!(wrong(Plan::calm(1), of(1)), "");
        assert_eq!(wrong(Plan::single(1), of(9)), "");
    }
}
