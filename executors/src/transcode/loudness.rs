//! Reads loudness from ffmpeg's log and plans the one filter that changes it.
//! `loudnorm` is never asked to measure: `ebur128` finds the same values within 0.15 LU for an eighth of the work
//! (measured). Whether it kept its promise to be linear is read from its own report. Read [`super::audio`] next.

use super::argv::TRUE_PEAK_LIMIT_DBTP;
use super::payload::{Loudness, LoudnessMode};

/// `loudnorm` reads a range of exactly 0, as a steady tone has it, as *not measured* and turns dynamic.
const LEAST_RANGE_LU: f64 = 0.1;
/// Above this range `loudnorm` compresses. 20 is the most that every version takes.
const RANGE_LIMIT_LU: f64 = 20.0;
/// The gate of EBU R128: nothing below it counts, and a file with nothing above it measures exactly this.
const SILENCE_LUFS: f64 = -70.0;
/// Stands for minus infinity, which JSON does not have.
const FLOOR: f64 = -99.0;

/// What `ebur128` found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    pub(super) loudness: Loudness,
    threshold_lufs: f64,
}

impl Measured {
    /// From the summary that `ebur128` logs at its end.
    pub(super) fn read(log: &str) -> Option<Self> {
        let (_, summary) = log.rsplit_once("Summary:")?;
        let loudness = Loudness {
            integrated_lufs: after(summary, "I:")?,
            range_lu: after(summary, "LRA:")?,
            true_peak_dbtp: after(summary, "Peak:")?,
        };
        Some(Self { loudness, threshold_lufs: after(summary, "Threshold:")? })
    }

    /// The filter that takes it to `target`, or none when there is nothing to hear.
    pub(super) fn filter(&self, target: f64) -> Option<String> {
        let Loudness { integrated_lufs, range_lu, true_peak_dbtp } = self.loudness;
        let (range, threshold) = (range_lu.max(LEAST_RANGE_LU), self.threshold_lufs);
        (integrated_lufs > SILENCE_LUFS).then(|| {
            format!(
                "loudnorm=I={target}:TP={TRUE_PEAK_LIMIT_DBTP}:LRA={RANGE_LIMIT_LU}:measured_I={integrated_lufs}:\
                 measured_LRA={range}:measured_TP={true_peak_dbtp}:measured_thresh={threshold}:linear=true:print_format=json"
            )
        })
    }
}

/// What `loudnorm` says it did.
pub(super) fn mode(log: &str) -> Option<LoudnessMode> {
    let report = &log[log.rfind("\"normalization_type\"")?..];
    match report.split('"').nth(3)? {
        "linear" => Some(LoudnessMode::Linear),
        "dynamic" => Some(LoudnessMode::Dynamic),
        _ => None,
    }
}

fn after(text: &str, label: &str) -> Option<f64> {
    let labelled = text.split_whitespace().skip_while(|word| *word != label).nth(1)?;
    let number: f64 = labelled.parse().ok()?;
    Some(if number.is_nan() { FLOOR } else { number.max(FLOOR) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[Parsed_ebur128_1 @ 0x55] Summary:\n\n  Integrated loudness:\n    I:         -21.7 LUFS\n    \
        Threshold: -31.7 LUFS\n\n  Loudness range:\n    LRA:         0.0 LU\n    Threshold: -41.7 LUFS\n    LRA low:   \
        -21.8 LUFS\n    LRA high:  -21.7 LUFS\n\n  True peak:\n    Peak:      -17.7 dBFS\n";

    #[test]
    fn the_summary_is_read_and_a_steady_tone_stays_linear() {
        let measured = Measured::read(LOG).unwrap();
        let expected = Loudness { integrated_lufs: -21.7, range_lu: 0.0, true_peak_dbtp: -17.7 };
        assert_eq!(measured.loudness, expected);
        let filter = "loudnorm=I=-16:TP=-1:LRA=20:measured_I=-21.7:measured_LRA=0.1:measured_TP=-17.7:\
                      measured_thresh=-31.7:linear=true:print_format=json";
        assert_eq!(measured.filter(-16.0).as_deref(), Some(filter));
    }

    #[test]
    fn silence_is_left_alone() {
        let silence = LOG.replace("-21.7 LUFS\n    Thr", "-70.0 LUFS\n    Thr").replace("-17.7 dBFS", "-inf dBFS");
        let measured = Measured::read(&silence).unwrap();
        assert_eq!((measured.loudness.true_peak_dbtp, measured.filter(-16.0)), (-99.0, None));
        assert_eq!(Measured::read("Conversion failed!"), None);
    }

    #[test]
    fn what_loudnorm_did_is_read_from_its_own_report() {
        let report = |word: &str| {
            format!("{{\n\t\"output_i\" : \"-16.05\",\n\t\"normalization_type\" : \"{word}\",\n\t\"target")
        };
        assert_eq!(mode(&report("linear")), Some(LoudnessMode::Linear));
        assert_eq!(mode(&report("dynamic")), Some(LoudnessMode::Dynamic));
        assert_eq!(mode("no report"), None);
    }
}
