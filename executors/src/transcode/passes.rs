//! Weighs the passes over a source, so that one fraction tells how far the whole job is.
//! The weights are rough shares of the work at 720p, where x264 outweighs all sound; nothing but the progress shown depends
//! on them. Read [`super::ffmpeg`] for where the numbers come from.

use std::sync::Mutex;

use longshore_sdk::{Context, Progress};

use super::payload::Transcode;

/// One run of ffmpeg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Thumbnail,
    Measure,
    Audio,
    Check,
    Video,
}

impl Step {
    fn weight(self) -> f64 {
        match self {
            Self::Thumbnail | Self::Check => 1.0,
            Self::Measure => 2.0,
            Self::Audio => 4.0,
            Self::Video => 100.0,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Thumbnail => "taking the thumbnail",
            Self::Measure => "measuring the loudness",
            Self::Audio => "encoding the audio",
            Self::Check => "measuring the result",
            Self::Video => "encoding the video",
        }
    }
}

/// The passes that a job asks for, in their order.
pub(super) struct Passes<'a> {
    context: &'a Context,
    plan: Vec<Step>,
    /// What was shown last: a resumed job takes its passes in another order, and never seems to go back.
    shown: Mutex<f64>,
}

impl<'a> Passes<'a> {
    /// `reached` is what an earlier attempt has shown.
    pub(super) fn of(ask: &Transcode, context: &'a Context, reached: f64) -> Self {
        Self { context, plan: plan(ask), shown: Mutex::new(reached) }
    }

    pub(super) fn start(&self, step: Step) -> Pass<'_> {
        let (from, to) = span(&self.plan, step);
        let pass = Pass { context: self.context, shown: &self.shown, from, to, words: step.words() };
        pass.show(0.0);
        pass
    }
}

/// One pass and its share of the whole.
pub(super) struct Pass<'a> {
    context: &'a Context,
    shown: &'a Mutex<f64>,
    from: f64,
    to: f64,
    words: &'static str,
}

impl Pass<'_> {
    /// A source that does not say how long it is leaves the fraction at the pass's start.
    pub(super) fn reached(&self, seconds: f64, duration: Option<f64>) {
        self.show(duration.map_or(0.0, |duration| (seconds / duration).min(1.0)));
    }

    pub(super) fn done(&self) {
        self.show(1.0);
    }

    /// The fraction that was shown last.
    pub(super) fn shown(&self) -> f64 {
        *self.shown.lock().expect("no panic while held")
    }

    fn show(&self, share: f64) {
        let fraction = {
            let mut shown = self.shown.lock().expect("no panic while held");
            *shown = shown.max(self.from + (self.to - self.from) * share);
            *shown
        };
        self.context.progress(Progress { fraction: Some(fraction), message: Some(self.words.to_owned()) });
    }
}

/// The cheap passes come first: what they find wrong is found early.
fn plan(ask: &Transcode) -> Vec<Step> {
    let mut plan = Vec::new();
    plan.extend(ask.thumbnail.is_some().then_some(Step::Thumbnail));
    if let Some(audio) = &ask.audio {
        plan.extend(audio.loudness.map(|_| Step::Measure));
        plan.push(Step::Audio);
        plan.extend(audio.loudness.map(|_| Step::Check));
    }
    plan.extend(ask.video.is_some().then_some(Step::Video));
    plan
}

fn span(plan: &[Step], step: Step) -> (f64, f64) {
    let weigh = |steps: &[Step]| steps.iter().map(|step| step.weight()).sum::<f64>();
    let before = plan.iter().position(|planned| *planned == step).unwrap_or(plan.len());
    let (done, total) = (weigh(&plan[..before]), weigh(plan));
    (done / total, (done + step.weight()).min(total) / total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcode::payload::{Audio, AudioFormat, Preset, Thumbnail, Video};

    fn everything() -> Transcode {
        Transcode {
            source: longshore_sdk::Source::path("x"),
            video: Some(Video { preset: Preset::H264P720, crf: None }),
            audio: Some(Audio { format: AudioFormat::M4a, loudness: Some(-16.0) }),
            thumbnail: Some(Thumbnail { at_seconds: None, width: 320 }),
        }
    }

    #[test]
    fn the_spans_of_all_passes_join_from_0_to_1() {
        let plan = plan(&everything());
        let mut reached = 0.0;
        for &step in &plan {
            let (from, to) = span(&plan, step);
            assert!((from - reached).abs() < 1e-9 && to > from);
            reached = to;
        }
        assert!((reached - 1.0).abs() < 1e-9);
    }

    #[test]
    fn only_what_is_asked_for_is_planned() {
        let audio = Some(Audio { format: AudioFormat::Wav, loudness: None });
        let ask = Transcode { video: None, audio, thumbnail: None, ..everything() };
        assert_eq!(plan(&ask), [Step::Audio]);
        assert_eq!(span(&plan(&ask), Step::Audio), (0.0, 1.0));
    }
}
