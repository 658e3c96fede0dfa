//! What is known of an attempt that went with its worker: nobody was there to tell, so it is what its heartbeats and its progress told
//! before. Pure words, the same from every ledger.

use super::Ended;

/// How an attempt ended that went with its worker: its guard saw the process end, or nobody saw anything.
pub(super) fn ended(ending: Option<&str>) -> Ended {
    ending.map_or(Ended::Lost, |_| Ended::Crashed)
}

/// The history's line of such an attempt, before what is known of its worker: a code and a sentence.
pub(super) fn of_attempt(ended: Ended) -> (&'static str, &'static str) {
    match ended {
        Ended::Crashed => ("worker_crashed", "the worker's process ended while it ran this attempt"),
        _ => ("worker_lost", "the worker lost its lease while it ran this attempt"),
    }
}

/// Why a job is a dead letter that failed no attempt.
pub(super) const POISON: &str =
    "every worker that ran this job alone was lost; mend its executor or its input, then replay it";

/// What its heartbeats told of the worker, and its guard of its end.
pub(super) fn of_worker(host: &str, peak_memory: Option<i64>, ending: Option<&str>) -> String {
    let memory = peak_memory.map(|bytes| format!(" and had used up to {} MiB of memory", bytes / (1024 * 1024)));
    let ending = ending.map(|ending| format!("; its process {ending}"));
    format!("; it ran on {host}{}{}", memory.unwrap_or_default(), ending.unwrap_or_default())
}

/// How far the attempt had said that it was, from 0 to 1.
pub(super) fn of_progress(fraction: Option<f64>) -> String {
    fraction.map(|fraction| format!("; the attempt had shown {:.0} %", (100.0 * fraction).floor())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_end_was_seen_has_crashed_and_of_others_nobody_knows() {
        assert_eq!((ended(Some("was killed by SIGSEGV")), ended(None)), (Ended::Crashed, Ended::Lost));
        assert_ne!(of_attempt(Ended::Crashed), of_attempt(Ended::Lost));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        assert_eq!(of_worker("quay-1", None, None), "; it ran on quay-1");
        let told = of_worker("quay-1", Some(600 << 20), Some("was killed by SIGSEGV"));
        assert_eq!(told, "; it ran on quay-1 and had used up to 600 MiB of memory; its process was killed by SIGSEGV");
        assert_eq!(of_progress(None), "");
        assert_eq!(of_progress(Some(0.429)), "; the attempt had shown 42 %");
    }
}
