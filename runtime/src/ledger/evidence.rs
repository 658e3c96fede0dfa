//! What is known of an attempt that went with its worker: nobody was there to tell, so it is what its heartbeats and its progress told
//! before. Pure words, the same from every ledger.

/// The history's line of a lost attempt, before what is known of its worker.
pub(super) const LOST: &str = "the worker lost its lease while it ran this attempt";
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
    fn what_is_not_known_is_not_told() {
        assert_eq!(of_worker("quay-1", None, None), "; it ran on quay-1");
        let told = of_worker("quay-1", Some(600 << 20), Some("was killed by SIGSEGV"));
        assert_eq!(told, "; it ran on quay-1 and had used up to 600 MiB of memory; its process was killed by SIGSEGV");
        assert_eq!(of_progress(None), "");
        assert_eq!(of_progress(Some(0.429)), "; the attempt had shown 42 %");
    }
}
