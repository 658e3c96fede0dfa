//! What goes wrong, how often, and in which order: a plan made of counts, dealt into lanes that run at the same time, each shuffled
//! by the seed. It injects nothing. Read `faults.rs` for how each is done.

use std::time::Duration;

use super::chance::Chance;
use super::fault::Fault;
use super::mistake::Mistake;

/// One storm.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is called.
    pub name: &'static str,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// At least so many jobs.
    pub jobs: usize,
    /// Nodes of the broker.
    pub nodes: usize,
    /// Worker processes, each with so many slots.
    pub workers: usize,
    /// Slots of each.
    pub slots: usize,
    /// API server processes.
    pub apis: usize,
    /// All faults one after the other, each with the sea calm again: what a recovery takes by itself.
    pub one_by_one: bool,
    /// What the suite itself does wrong, to see that it is noticed.
    pub mistake: Option<Mistake>,
    /// At least so many connections are cut, whatever the cuts.
    pub connections: usize,
    /// How often each fault comes.
    pub faults: Vec<(Fault, usize)>,
    /// The longest pause between two faults of a lane.
    pub gap: Duration,
    /// How long the lease lasts.
    pub lease: Duration,
    /// How long PostgreSQL's outage lasts.
    pub outage: Duration,
    /// How long the faults are expected to take: the planned jobs are spread over it.
    pub span: Duration,
    /// No fault begins later than this.
    pub deadline: Duration,
    /// How long the rest may take once the faults are over.
    pub patience: Duration,
}

impl Plan {
    /// The plans of a name: one storm after the other.
    pub fn named(name: &str, seed: u64) -> Option<Vec<Plan>> {
        match name {
            "short" => Some(vec![Plan::short(seed)]),
            "short-cluster" => Some(vec![Plan::short_cluster(seed)]),
            "mistakes" => Some(Mistake::ALL.map(|mistake| Plan::wrong(seed, mistake)).into()),
            "calm" => Some(vec![Plan::calm(seed)]),
            "medium" => Some(vec![Plan::medium(seed), Plan::medium_cluster(seed)]),
            "single" => Some(vec![Plan::single(seed)]),
            "cluster" => Some(vec![Plan::cluster(seed)]),
            "full" => Some(vec![Plan::single(seed), Plan::cluster(seed)]),
            _ => None,
        }
    }

    /// A short storm over a single broker, for every `make test`.
    pub fn short(seed: u64) -> Plan {
        use Fault::*;
        let faults = vec![
            (WorkerKill, 5),
            (WorkerPause, 2),
            (WorkerRoll, 2),
            (ApiKill, 2),
            (ApiRoll, 1),
            (BrokerKill, 1),
            (BrokerWipe, 1),
            (MemoryAlarm, 1),
            (AckTimeout, 1),
            (DatabaseKill, 2),
            (Cut, 4),
            (HalfOpen, 1),
            (Silence, 1),
            (Delay, 1),
            (Throttle, 1),
            (Duplicates, 2),
        ];
        let second = Duration::from_secs(1);
        Plan { name: "short", jobs: 1_000, faults, span: 60 * second, deadline: 100 * second, ..Plan::base(seed) }
    }

    /// A short storm in which the suite makes a mistake.
    pub fn wrong(seed: u64, mistake: Mistake) -> Plan {
        Plan { name: mistake.word(), mistake: Some(mistake), ..Plan::short(seed) }
    }

    /// No storm: one fault after the other, to see how long each recovery takes by itself.
    pub fn calm(seed: u64) -> Plan {
        use Fault::*;
        let faults = vec![
            (WorkerKill, 10),
            (WorkerPause, 3),
            (WorkerRoll, 2),
            (ApiKill, 2),
            (BrokerKill, 5),
            (BrokerWipe, 2),
            (AckTimeout, 2),
            (DiskFull, 2),
            (DatabaseKill, 6),
            (DatabaseRestart, 2),
            (Cut, 4),
        ];
        let (span, gap) = (Duration::from_secs(240), Duration::from_secs(5));
        Plan {
            name: "calm, one fault after the other",
            jobs: 2_000,
            one_by_one: true,
            faults,
            gap,
            ..Plan { span, ..Plan::full(seed) }
        }
    }

    /// A tenth of the full run and a little more.
    pub fn medium(seed: u64) -> Plan {
        use Fault::*;
        let faults = vec![
            (WorkerKill, 30),
            (WorkerPause, 8),
            (WorkerRoll, 6),
            (ApiKill, 4),
            (ApiRoll, 2),
            (BrokerKill, 6),
            (BrokerWipe, 2),
            (MemoryAlarm, 1),
            (AckTimeout, 2),
            (DiskFull, 2),
            (DatabaseKill, 6),
            (DatabaseRestart, 1),
            (DatabaseOutage, 1),
            (Cut, 12),
            (HalfOpen, 1),
            (Silence, 1),
            (Delay, 1),
            (Throttle, 1),
            (Duplicates, 4),
        ];
        let minute = Duration::from_secs(60);
        Plan { name: "medium, single broker", jobs: 6_000, faults, span: 3 * minute, ..Plan::full(seed) }
    }

    /// The same over a cluster.
    pub fn medium_cluster(seed: u64) -> Plan {
        use Fault::*;
        let faults =
            vec![(WorkerKill, 10), (WorkerPause, 3), (LeaderKill, 6), (DatabaseKill, 2), (Cut, 5), (Duplicates, 2)];
        let span = Duration::from_secs(120);
        Plan { name: "medium, three-node cluster", jobs: 4_000, nodes: 3, faults, span, ..Plan::full(seed) }
    }

    /// The single broker's part of the full run.
    pub fn single(seed: u64) -> Plan {
        use Fault::*;
        let faults = vec![
            (WorkerKill, 130),
            (WorkerPause, 34),
            (WorkerRoll, 30),
            (ApiKill, 15),
            (ApiRoll, 8),
            (BrokerKill, 30),
            (BrokerWipe, 10),
            (MemoryAlarm, 3),
            (AckTimeout, 6),
            (DiskFull, 5),
            (DatabaseKill, 20),
            (DatabaseRestart, 3),
            (DatabaseOutage, 1),
            (Cut, 45),
            (HalfOpen, 6),
            (Silence, 3),
            (Delay, 6),
            (Throttle, 5),
            (Duplicates, 20),
        ];
        Plan { name: "single broker", jobs: 65_000, connections: 350, faults, ..Plan::full(seed) }
    }

    /// The part of a cluster of three nodes: their quorum outlives any one of them.
    pub fn cluster(seed: u64) -> Plan {
        use Fault::*;
        let faults = vec![
            (WorkerKill, 70),
            (WorkerPause, 16),
            (WorkerRoll, 15),
            (ApiKill, 8),
            (ApiRoll, 4),
            (LeaderKill, 20),
            (AckTimeout, 2),
            (DiskFull, 2),
            (DatabaseKill, 10),
            (Cut, 25),
            (HalfOpen, 2),
            (Silence, 1),
            (Delay, 2),
            (Throttle, 2),
            (Duplicates, 10),
        ];
        let span = Duration::from_secs(10 * 60);
        Plan { name: "three-node cluster", jobs: 35_000, connections: 150, nodes: 3, faults, span, ..Plan::full(seed) }
    }

    /// A short storm over a cluster, to look at it without waiting long.
    pub fn short_cluster(seed: u64) -> Plan {
        use Fault::*;
        let faults =
            vec![(WorkerKill, 4), (WorkerPause, 1), (LeaderKill, 4), (DatabaseKill, 1), (Cut, 2), (Duplicates, 1)];
        Plan { name: "short three-node cluster", nodes: 3, faults, ..Plan::short(seed) }
    }

    fn full(seed: u64) -> Plan {
        let minute = Duration::from_secs(60);
        let (span, deadline, patience) = (15 * minute, 40 * minute, 6 * minute);
        Plan { slots: 16, span, deadline, patience, outage: minute / 2, ..Plan::base(seed) }
    }

    fn base(seed: u64) -> Plan {
        Plan {
            name: "",
            seed,
            jobs: 0,
            nodes: 1,
            workers: 4,
            slots: 6,
            apis: 2,
            one_by_one: false,
            mistake: None,
            connections: 0,
            faults: vec![],
            gap: Duration::from_millis(1500),
            lease: Duration::from_secs(3),
            outage: Duration::from_secs(8),
            span: Duration::ZERO,
            deadline: Duration::ZERO,
            patience: Duration::from_secs(90),
        }
    }

    /// The faults of each lane, in the order of this seed.
    pub fn lanes(&self) -> Vec<Vec<Fault>> {
        let mut chance = Chance::of(self.seed);
        let mut lanes = vec![vec![]; Fault::LANES];
        for (fault, count) in &self.faults {
            lanes[if self.one_by_one { 0 } else { fault.lane() }].extend(std::iter::repeat_n(*fault, *count));
        }
        for lane in &mut lanes {
            chance.shuffle(lane);
        }
        lanes
    }

    /// How often a fault is planned.
    pub fn planned(&self, fault: Fault) -> usize {
        self.faults.iter().find(|(planned, _)| *planned == fault).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_order_and_another_seed_another() {
        let order = |seed| Plan::single(seed).lanes();
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }

    #[test]
    fn every_mistake_has_a_storm_of_its_own() {
        let storms = Plan::named("mistakes", 1).unwrap();
        let made: Vec<_> = storms.iter().filter_map(|plan| plan.mistake).collect();
        assert_eq!(made, Mistake::ALL);
        let known = ["short", "short-cluster", "calm", "medium", "single", "cluster", "full"];
        assert!(known.iter().flat_map(|name| Plan::named(name, 1).unwrap()).all(|plan| plan.mistake.is_none()));
    }

    #[test]
    fn one_by_one_means_in_one_lane() {
        let busy = Plan::calm(1).lanes().iter().filter(|lane| !lane.is_empty()).count();
        assert_eq!(busy, 1);
    }

    #[test]
    fn the_full_run_is_what_was_promised() {
        let (single, cluster) = (Plan::single(1), Plan::cluster(1));
        let both = |fault| single.planned(fault) + cluster.planned(fault);
        use Fault::*;
        assert!(single.jobs + cluster.jobs >= 100_000);
        assert!(single.connections + cluster.connections >= 500);
        let counts = [WorkerKill, WorkerPause, BrokerKill, BrokerWipe, LeaderKill, DatabaseKill].map(both);
        assert_eq!(counts, [200, 50, 30, 10, 20, 30]);
    }

    #[test]
    fn every_planned_fault_is_dealt_once_for_each_time() {
        let plan = Plan::single(1);
        let dealt: Vec<Fault> = plan.lanes().concat();
        for fault in Fault::ALL {
            assert_eq!(dealt.iter().filter(|one| **one == fault).count(), plan.planned(fault), "{fault:?}");
        }
    }
}
