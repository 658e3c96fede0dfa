//! Whether a PostgreSQL will keep what it has confirmed, and lets us do our work. Pure: the facts are handed in.
//! Read `ledger/postgres/facts.rs` for how they are asked.

use std::time::Duration;

use jiff::Timestamp;

use super::{Finding, PreflightSettings, in_words};
use crate::ledger::DatabaseFacts;

/// The oldest that our statements were written for.
const OLDEST: i32 = 140_000;
/// A server with fewer connections left refuses the next process.
const FEW: i64 = 10;

/// Everything that there is to say about it.
pub fn judge(facts: &DatabaseFacts, settings: &PreflightSettings, ours: i64) -> Vec<Finding> {
    vec![
        version(facts),
        read_only(facts),
        fsync(facts),
        synchronous_commit(facts),
        full_page_writes(facts),
        schema(facts),
        permissions(facts),
        clock(facts, settings),
        connections(facts, ours),
    ]
}

/// It did not answer at all.
pub fn unreachable(why: &str) -> Finding {
    let change = "check database.url, the server, and what lies between";
    Finding::fail("database.reachable", why, "without the ledger no job is accepted and none runs", change)
}

fn version(facts: &DatabaseFacts) -> Finding {
    let told = format!("PostgreSQL {}.{}", facts.version / 10_000, facts.version % 10_000);
    if facts.version >= OLDEST {
        return Finding::ok("database.version", told);
    }
    let why = "the ledger's statements need PostgreSQL 14 or newer";
    Finding::fail("database.version", told, why, "upgrade the server to PostgreSQL 14 or newer")
}

fn read_only(facts: &DatabaseFacts) -> Finding {
    if !facts.read_only {
        return Finding::ok("database.read_only", "it takes writes");
    }
    let why = "no job can be accepted, claimed or recorded there";
    let change = "connect to the primary (target_session_attrs=read-write in the URL), and leave \
         default_transaction_read_only off for this user and database";
    Finding::fail("database.read_only", "it is a standby, or set to read only", why, change)
}

fn fsync(facts: &DatabaseFacts) -> Finding {
    if facts.fsync {
        return Finding::ok("database.fsync", "fsync is on");
    }
    let why = "a crash of its machine can lose jobs that were accepted, and corrupt the database";
    Finding::fail("database.fsync", "fsync is off", why, "set fsync = on in postgresql.conf and reload it")
}

/// `local` and `remote_write` wait for this server's own disk; only `off` does not wait at all.
fn synchronous_commit(facts: &DatabaseFacts) -> Finding {
    let told = format!("synchronous_commit is {}", facts.synchronous_commit);
    if facts.synchronous_commit != "off" {
        return Finding::ok("database.synchronous_commit", told);
    }
    let why = "a crash of the server loses the last commits: jobs answered with 202 vanish, finished ones run again";
    let change = "set synchronous_commit = on in postgresql.conf, for this database (alter database) and for this user (alter role)";
    Finding::fail("database.synchronous_commit", told, why, change)
}

fn full_page_writes(facts: &DatabaseFacts) -> Finding {
    if facts.full_page_writes {
        return Finding::ok("database.full_page_writes", "full_page_writes is on");
    }
    let why = "a page that a crash has torn cannot be repaired, unless the file system never tears one (ZFS)";
    let change = "set full_page_writes = on in postgresql.conf and reload it";
    Finding::warn("database.full_page_writes", "full_page_writes is off", why, change)
}

fn schema(facts: &DatabaseFacts) -> Finding {
    let known = facts.known_schema;
    match facts.schema {
        Some(present) if present == known => Finding::ok("database.schema", format!("version {present}")),
        Some(present) if present > known => Finding::fail(
            "database.schema",
            format!("version {present}, this program knows {known}"),
            "an old program must not write into a newer schema",
            "run the newer longshore",
        ),
        Some(present) => Finding::fail(
            "database.schema",
            format!("version {present}, this program needs {known}"),
            "its statements name columns that are not there yet",
            "run `longshore migrate`",
        ),
        None => Finding::fail(
            "database.schema",
            "there is none, or it may not be read",
            "the tables that hold the jobs are missing",
            "run `longshore migrate`",
        ),
    }
}

fn permissions(facts: &DatabaseFacts) -> Finding {
    if facts.forbidden.is_empty() {
        return Finding::ok("database.permissions", format!("{} may do all that is needed", facts.user));
    }
    let told = format!("{} may not: {}", facts.user, facts.forbidden.join(", "));
    let why = "a worker that may not write what a job became repeats it for ever";
    let change = format!(
        "as the tables' owner: grant select, insert, update, delete on all tables in schema public to {}",
        facts.user
    );
    Finding::fail("database.permissions", told, why, change)
}

fn clock(facts: &DatabaseFacts, settings: &PreflightSettings) -> Finding {
    let apart = skew(facts.asked, facts.clock);
    let told = format!("the server's clock and this machine's are {} apart", in_words(apart));
    if apart <= settings.max_clock_skew {
        return Finding::ok("database.clock", told);
    }
    let why =
        "leases go by the server's clock and are safe; what people read (ages, schedules, logs) would not fit together";
    Finding::warn("database.clock", told, why, "let chrony or systemd-timesyncd keep the time on both machines")
}

/// How far apart two clocks are for certain: nothing when the answer's time lies between our question and its answer.
pub fn skew((asked, answered): (Timestamp, Timestamp), server: Timestamp) -> Duration {
    let before = Duration::try_from(asked.duration_since(server)).unwrap_or_default();
    let after = Duration::try_from(server.duration_since(answered)).unwrap_or_default();
    before.max(after)
}

fn connections(facts: &DatabaseFacts, ours: i64) -> Finding {
    let left = facts.max_connections - facts.connections;
    let told = format!(
        "{} of {} connections are taken, a process of ours takes up to {ours}",
        facts.connections, facts.max_connections
    );
    if left >= ours.max(FEW) {
        return Finding::ok("database.connections", told);
    }
    let why = "the next process is refused, and whoever waits for a connection answers 503";
    let change = "raise max_connections in postgresql.conf, or lower database.connections here";
    Finding::warn("database.connections", told, why, change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Level;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn well() -> DatabaseFacts {
        DatabaseFacts {
            version: 150_008,
            fsync: true,
            synchronous_commit: "on".into(),
            full_page_writes: true,
            read_only: false,
            user: "longshore".into(),
            forbidden: vec![],
            schema: Some(4),
            known_schema: 4,
            clock: at(100),
            asked: (at(100), at(100)),
            max_connections: 97,
            connections: 5,
        }
    }

    /// The one finding that is not ok.
    fn ill(facts: &DatabaseFacts) -> Finding {
        let mut findings = judge(facts, &PreflightSettings::default(), 10);
        findings.retain(|finding| finding.level != Level::Ok);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let finding = findings.remove(0);
        assert!(finding.why.is_some() && finding.change.is_some(), "{finding:?}");
        finding
    }

    #[test]
    fn a_good_server_has_nothing_to_answer_for() {
        let findings = judge(&well(), &PreflightSettings::default(), 10);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok && finding.change.is_none()), "{findings:?}");
    }

    #[test]
    fn what_loses_commits_or_takes_none_fails() {
        let cases = [
            ("database.version", DatabaseFacts { version: 130_014, ..well() }),
            ("database.read_only", DatabaseFacts { read_only: true, ..well() }),
            ("database.fsync", DatabaseFacts { fsync: false, ..well() }),
            ("database.synchronous_commit", DatabaseFacts { synchronous_commit: "off".into(), ..well() }),
            ("database.schema", DatabaseFacts { schema: None, ..well() }),
            ("database.schema", DatabaseFacts { schema: Some(3), ..well() }),
            ("database.schema", DatabaseFacts { schema: Some(5), ..well() }),
            ("database.permissions", DatabaseFacts { forbidden: vec!["update on jobs".into()], ..well() }),
        ];
        for (check, facts) in cases {
            let finding = ill(&facts);
            assert_eq!((finding.check, finding.level), (check, Level::Fail), "{finding:?}");
        }
        for waits in ["local", "remote_write", "remote_apply"] {
            assert_eq!(
                synchronous_commit(&DatabaseFacts { synchronous_commit: waits.into(), ..well() }).level,
                Level::Ok
            );
        }
    }

    #[test]
    fn what_may_surprise_is_a_warning() {
        let cases = [
            ("database.full_page_writes", DatabaseFacts { full_page_writes: false, ..well() }),
            ("database.connections", DatabaseFacts { connections: 88, ..well() }),
            ("database.clock", DatabaseFacts { clock: at(90), ..well() }),
        ];
        for (check, facts) in cases {
            let finding = ill(&facts);
            assert_eq!((finding.check, finding.level), (check, Level::Warn), "{finding:?}");
        }
    }

    #[test]
    fn a_missing_permission_is_named() {
        let facts = DatabaseFacts { forbidden: vec!["delete on jobs".into(), "insert on files".into()], ..well() };
        assert!(ill(&facts).what.contains("longshore may not: delete on jobs, insert on files"));
    }

    #[test]
    fn clocks_are_apart_only_by_what_the_way_cannot_explain() {
        assert_eq!(skew((at(100), at(104)), at(103)), Duration::ZERO, "it was asked meanwhile");
        assert_eq!(skew((at(100), at(104)), at(110)), Duration::from_secs(6), "it is ahead");
        assert_eq!(skew((at(100), at(104)), at(97)), Duration::from_secs(3), "it is behind");
    }
}
