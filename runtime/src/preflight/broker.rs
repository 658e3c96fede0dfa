//! Whether a RabbitMQ will carry our jobs as we mean it. Pure: the facts are handed in. What cannot be asked over AMQP (how
//! long a delivery may stay unacked, what policies do to our queues) is said to be unknown, with how to learn it. Read
//! `broker/rabbitmq/inspect.rs` for the asking.

use std::time::Duration;

use super::{Finding, PreflightSettings, in_words};
use crate::broker::facts::{BrokerFacts, Confirm, Found, QueueFacts};

/// The oldest with quorum queues that dead-letter at least once.
const OLDEST: (u32, u32) = (3, 10);
/// From here on a consumer may ask for its own ack timeout.
const ASKS_FOR_TIMEOUT: (u32, u32) = (3, 12);
/// What RabbitMQ has when its settings say nothing.
const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How long a job of ours may run, and how long our consumers ask to hold one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Longest {
    /// The kind with the longest attempts.
    pub kind: String,
    /// One attempt of it.
    pub timeout: Duration,
    /// What our consumers ask for.
    pub consumer_timeout: Duration,
}

/// Everything that there is to say about it.
pub fn judge(facts: &BrokerFacts, longest: Option<&Longest>, settings: &PreflightSettings) -> Vec<Finding> {
    let version = facts.version.as_deref().and_then(numbers);
    let fixed = [self::version(facts, version), confirms(facts), alarm(facts)];
    let timeout = longest.map(|longest| ack_timeout(version, longest, settings));
    fixed.into_iter().chain(facts.queues.iter().map(queue)).chain(policies(facts)).chain(timeout).collect()
}

/// None of its addresses answered.
pub fn unreachable(why: &str) -> Finding {
    let change = "check broker.urls, the server, and what lies between";
    Finding::fail(
        "broker.reachable",
        why,
        "jobs are accepted and wait in the ledger, but no worker hears of them",
        change,
    )
}

/// Major and minor.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn version(facts: &BrokerFacts, version: Option<(u32, u32)>) -> Finding {
    let Some(version) = version else {
        let why = "advice below is for the oldest RabbitMQ that will do";
        let told = format!("{} does not tell its version before login", facts.place);
        return Finding::warn("broker.version", told, why, "see that it is RabbitMQ 3.10 or newer");
    };
    let told = format!("RabbitMQ {} at {}", facts.version.as_deref().unwrap_or_default(), facts.place);
    if version >= OLDEST {
        return Finding::ok("broker.version", told);
    }
    let why = "older ones cannot move a message to another queue without the risk of losing it";
    Finding::fail("broker.version", told, why, "upgrade to RabbitMQ 3.10 or newer")
}

fn confirms(facts: &BrokerFacts) -> Finding {
    match &facts.confirm {
        Confirm::Confirmed => Finding::ok("broker.confirms", "a publish is confirmed"),
        // An alarm explains the silence, and has a finding of its own.
        Confirm::Blocked(_) => Finding::ok("broker.confirms", "a publish waits for the alarm to end"),
        Confirm::Silent => Finding::fail(
            "broker.confirms",
            "a publish was not confirmed in time",
            "what was published is unknown, so every job is published again and again",
            "look at the server's log: an alarm, a full disk, or a proxy between that speaks no confirms",
        )
        .that_may_pass(),
        Confirm::Refused(words) => Finding::fail(
            "broker.confirms",
            format!("a publish was refused: {words}"),
            "no job reaches a worker through this server",
            "give this user the rights to configure, write and read: rabbitmqctl set_permissions",
        ),
    }
}

fn alarm(facts: &BrokerFacts) -> Finding {
    let Confirm::Blocked(reason) = &facts.confirm else {
        return Finding::ok("broker.alarm", "it takes messages");
    };
    let why = "jobs are accepted and wait in the ledger until it takes messages again";
    let change = "free memory or disk there: `rabbitmqctl status` names the alarm";
    Finding::warn("broker.alarm", format!("it takes no messages: {reason}"), why, change)
}

fn queue(queue: &QueueFacts) -> Finding {
    let name = &queue.name;
    match &queue.found {
        Found::Ours => Finding::ok("broker.queue", format!("{name} has our type and arguments, and answers")),
        Found::Missing => Finding::ok("broker.queue", format!("{name} is not there yet: the first worker makes it")),
        Found::Other(words) => Finding::fail(
            "broker.queue",
            format!("{name} is another queue than ours: {words}"),
            "on a queue of another type, or with a delivery limit or a length of its own, jobs can be dropped or \
             dead-lettered behind the ledger's back; and no worker can consume it",
            format!(
                "stop what uses it, then `rabbitmqadmin delete queue name={name}`: its jobs are published again from \
                 the ledger; or choose another broker.prefix"
            ),
        ),
        Found::Leaderless => Finding::fail(
            "broker.queue",
            format!("{name} does not answer: a quorum queue without a leader"),
            "nothing is published to it or taken from it until most of its nodes are back",
            "bring the other nodes back; if their data is lost, delete the queue: its jobs are published again",
        )
        // An election takes a moment, and the consumers wait for it.
        .that_may_pass(),
        Found::Forbidden(words) => Finding::fail(
            "broker.queue",
            format!("{name} may not be touched: {words}"),
            "no worker can make or consume it",
            "give this user the rights to configure, write and read: rabbitmqctl set_permissions",
        ),
    }
}

/// A queue keeps its arguments when a policy overrules them, so that declaring it once more tells nothing of policies.
fn policies(facts: &BrokerFacts) -> Option<Finding> {
    let ours = facts.queues.iter().filter(|queue| queue.found == Found::Ours).count();
    let told = format!(
        "whether a policy gives our {ours} queues a delivery-limit, max-length, message-ttl or expires cannot be seen over AMQP"
    );
    let why = "by such a policy RabbitMQ drops or dead-letters deliveries behind the ledger's back, and their jobs wait until they are \
         published again";
    let learn = "run `rabbitmqctl list_queues name policy effective_policy_definition` for this virtual host: none of the four should be there";
    (ours > 0).then(|| Finding::unknown("broker.policies", told, why, learn))
}

/// A delivery that is held too long closes its channel, and all the deliveries of that channel return. No job is lost by
/// it, for a running one is recognised; but the kind stands still for a moment, again and again.
fn ack_timeout(version: Option<(u32, u32)>, longest: &Longest, settings: &PreflightSettings) -> Finding {
    let Longest { kind, timeout, consumer_timeout } = longest;
    let job = format!("an attempt of {kind} may take {}", in_words(*timeout));
    let asked = version.is_some_and(|version| version >= ASKS_FOR_TIMEOUT);
    let (limit, source, known) = match settings.ack_timeout {
        told if !told.is_zero() => (told, "as preflight.ack_timeout says", true),
        _ if asked => (*consumer_timeout, "as our consumers ask", true),
        _ => (DEFAULT_ACK_TIMEOUT, "RabbitMQ's default; what it really is cannot be asked over AMQP", false),
    };
    let told = format!("a delivery may stay unacked for {} ({source}); {job}", in_words(limit));
    if *timeout < limit && known {
        return Finding::ok("broker.ack_timeout", told);
    }
    let why = "RabbitMQ closes the channel of a delivery that is held longer: the job goes on under its lease, but all of the \
         channel's deliveries return and its kind pauses";
    if *timeout < limit {
        let learn = "run `rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'`, and tell us a thousandth of it: \
             preflight.ack_timeout";
        return Finding::unknown("broker.ack_timeout", told, why, learn);
    }
    let ms = timeout.as_millis() + 600_000;
    let change =
        format!("set consumer_timeout = {ms} in rabbitmq.conf, and tell us: preflight.ack_timeout = {}", ms / 1000);
    Finding::warn("broker.ack_timeout", told, why, change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Level;

    fn well() -> BrokerFacts {
        BrokerFacts {
            place: "mq:5672".into(),
            version: Some("3.13.7".into()),
            confirm: Confirm::Confirmed,
            queues: vec![found(Found::Ours)],
        }
    }

    fn found(found: Found) -> QueueFacts {
        QueueFacts { kind: "a.b".into(), name: "longshore.jobs.a.b".into(), found }
    }

    fn longest(minutes: u64) -> Longest {
        let timeout = Duration::from_secs(60 * minutes);
        Longest { kind: "a.b".into(), timeout, consumer_timeout: Duration::from_secs(3 * 3600) }
    }

    fn ill(facts: &BrokerFacts) -> Vec<(&'static str, Level)> {
        let findings = judge(facts, Some(&longest(10)), &PreflightSettings::default());
        let ill = findings.into_iter().filter(|finding| finding.level > Level::Unknown);
        ill.map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn a_good_server_has_nothing_to_answer_for() {
        assert_eq!(ill(&well()), []);
        assert_eq!(
            ill(&BrokerFacts { queues: vec![found(Found::Missing)], ..well() }),
            [],
            "the first worker makes it"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_not_called_good_and_says_how_to_learn_it() {
        let unknown = |facts: &BrokerFacts| {
            let findings = judge(facts, Some(&longest(29)), &PreflightSettings::default());
            let unknown = findings.into_iter().filter(|finding| finding.level == Level::Unknown);
            unknown.map(|finding| (finding.check, finding.change.unwrap())).collect::<Vec<_>>()
        };
        let old = BrokerFacts { version: Some("3.10.8".into()), ..well() };
        let [(policies, how), (timeout, how_long)] = &unknown(&old)[..] else { panic!("{:?}", unknown(&old)) };
        assert_eq!((*policies, *timeout), ("broker.policies", "broker.ack_timeout"));
        assert!(
            how.contains("effective_policy_definition") && how_long.contains("rabbitmqctl eval"),
            "{how} {how_long}"
        );
        let [(policies, _)] = &unknown(&well())[..] else { panic!("our consumers ask: {:?}", unknown(&well())) };
        assert_eq!(*policies, "broker.policies");
        let none_yet = BrokerFacts { queues: vec![found(Found::Missing)], ..well() };
        assert_eq!(unknown(&none_yet), [], "no queue, no policy on it");
    }

    #[test]
    fn a_queue_that_is_not_ours_or_has_no_leader_fails() {
        for other in [Found::Other("inequivalent arg".into()), Found::Leaderless, Found::Forbidden("refused".into())] {
            let facts = BrokerFacts { queues: vec![found(other), found(Found::Ours)], ..well() };
            assert_eq!(ill(&facts), [("broker.queue", Level::Fail)]);
        }
    }

    #[test]
    fn an_alarm_is_a_warning_and_a_missing_confirm_a_failure() {
        let with = |confirm| BrokerFacts { confirm, ..well() };
        assert_eq!(ill(&with(Confirm::Blocked("memory".into()))), [("broker.alarm", Level::Warn)]);
        assert_eq!(ill(&with(Confirm::Silent)), [("broker.confirms", Level::Fail)]);
        assert_eq!(ill(&with(Confirm::Refused("403".into()))), [("broker.confirms", Level::Fail)]);
    }

    #[test]
    fn an_old_server_fails_and_one_that_is_silent_about_it_is_told() {
        let with = |version: Option<&str>| BrokerFacts { version: version.map(str::to_owned), ..well() };
        assert_eq!(ill(&with(Some("3.9.29"))), [("broker.version", Level::Fail)]);
        assert_eq!(ill(&with(None)), [("broker.version", Level::Warn)]);
        assert!(ill(&with(Some("3.10.8"))).is_empty() && ill(&with(Some("4.1.0"))).is_empty());
    }

    #[test]
    fn a_job_longer_than_the_ack_timeout_is_told_with_what_to_set() {
        let judged = |version, minutes, told: u64| {
            let settings = PreflightSettings { ack_timeout: Duration::from_secs(told), ..PreflightSettings::default() };
            ack_timeout(version, &longest(minutes), &settings)
        };
        assert_eq!(judged(Some((3, 10)), 29, 0).level, Level::Unknown, "a server set to a minute looks the same");
        assert_eq!(judged(Some((3, 10)), 29, 1_800).level, Level::Ok, "the operator has looked");
        let long = judged(Some((3, 10)), 60, 0);
        assert!(long.level == Level::Warn && long.what.contains("cannot be asked"), "{long:?}");
        assert!(long.change.unwrap().contains("consumer_timeout = 4200000"), "an hour and ten minutes");
        assert_eq!(judged(Some((3, 10)), 60, 4_200).level, Level::Ok, "the operator has set it");
        assert_eq!(judged(Some((3, 12)), 60, 0).level, Level::Ok, "our consumers ask for three hours");
        assert_eq!(judged(Some((3, 12)), 181, 0).level, Level::Warn);
        assert_eq!(judged(None, 60, 0).level, Level::Warn, "nobody knows");
    }
}
