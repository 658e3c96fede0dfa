//! What the operator decides: where ffmpeg is and how much one transcode may take.
//! The caller of a job can widen none of it. Read [`crate::child::Limits`] for what the kernel enforces.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::child::{Limits, limits};

/// The settings of `media.transcode`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TranscodeSettings {
    /// The program, version 4.4 or later; a name is looked up in `PATH`. Default `ffmpeg`.
    pub ffmpeg: PathBuf,
    /// Its companion. Default `ffprobe`.
    pub ffprobe: PathBuf,
    /// Threads of one ffmpeg. Default 2, as many slots as the policy's `cost` takes.
    pub threads: u32,
    /// Added to the niceness of ffmpeg, so that the worker's heartbeat comes first. Default 5.
    pub nice: i32,
    /// A long video is encoded in segments of so many seconds, so that another worker can go on from the last one; each starts
    /// with a key frame. Default 4; 0: in one piece.
    pub segment_seconds: u32,
    /// How much one job may ask of this machine.
    pub limits: TranscodeLimits,
}

/// How much one job may ask of this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TranscodeLimits {
    /// Longer sources are refused. Default 6 hours.
    pub max_duration_seconds: u64,
    /// Larger sources are refused. Default 16 GiB.
    pub max_input_bytes: u64,
    /// No output may become larger. Default 16 GiB.
    pub max_output_bytes: u64,
    /// Sources with more pixels a picture are refused. Default 36 million: 8K is 33 million.
    pub max_pixels: u64,
    /// Address space of one ffmpeg, `null` for no limit. Default 4 GiB; 8K needs more, as do many threads.
    pub max_memory_bytes: Option<u64>,
}

const GIB: u64 = 1 << 30;

impl Default for TranscodeSettings {
    fn default() -> Self {
        Self {
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            threads: 2,
            nice: 5,
            segment_seconds: 4,
            limits: TranscodeLimits::default(),
        }
    }
}

impl Default for TranscodeLimits {
    fn default() -> Self {
        Self {
            max_duration_seconds: 6 * 3600,
            max_input_bytes: 16 * GIB,
            max_output_bytes: 16 * GIB,
            max_pixels: 36_000_000,
            max_memory_bytes: Some(4 * GIB),
        }
    }
}

impl TranscodeSettings {
    /// What the kernel is told for one child of an attempt that may take `timeout`.
    pub(super) fn child_limits(&self, timeout: Duration) -> Limits {
        Limits {
            memory_bytes: self.limits.max_memory_bytes,
            cpu_seconds: Some(limits::cpu_seconds(timeout, self.threads)),
            file_bytes: Some(self.limits.max_output_bytes),
            nice: self.nice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_left_out_has_its_default_and_a_misspelt_one_is_refused() {
        let some: TranscodeSettings = serde_json::from_str(r#"{"threads": 8, "limits": {"max_pixels": 9}}"#).unwrap();
        let expected = TranscodeSettings {
            threads: 8,
            limits: TranscodeLimits { max_pixels: 9, ..TranscodeLimits::default() },
            ..TranscodeSettings::default()
        };
        assert_eq!(some, expected);
        assert!(serde_json::from_str::<TranscodeSettings>(r#"{"thread": 8}"#).is_err());
    }

    #[test]
    fn every_limit_reaches_the_kernel() {
        let limits = TranscodeSettings::default().child_limits(Duration::from_secs(60));
        let expected =
            Limits { memory_bytes: Some(4 * GIB), cpu_seconds: Some(183), file_bytes: Some(16 * GIB), nice: 5 };
        assert_eq!(limits, expected);
    }
}
