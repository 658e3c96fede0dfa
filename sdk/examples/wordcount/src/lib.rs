//! An executor and its tests as the README shows them, word for word: `tests/it/docs/code.rs` compares the two.
//!
//! It is for copying, and shows no more than a first executor needs. Read `main.rs` beside it for the binary around it.

use longshore_sdk::prelude::*;

/// What a caller sends.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct CountWords {
    /// A text file.
    pub text: Source,
}

impl Payload for CountWords {
    const KIND: &'static str = "text.count_words";
    type Output = usize;
}

/// Runs `text.count_words`.
pub struct WordCounter;

impl Executor for WordCounter {
    type Payload = CountWords;

    async fn run(&self, job: CountWords, context: &Context) -> Result<usize> {
        let input = context.fetch(&job.text).await?; // `?`: try again later
        let text = String::from_utf8(tokio::fs::read(&input.path).await?).or_fatal("not_text")?; // final
        context.progress(0.5); // shown live
        let words: Vec<&str> = text.split_whitespace().collect();
        context.publish_bytes("words.txt", "text/plain", words.join("\n").as_bytes()).await?;
        Ok(words.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_sdk::testkit::{TestRun, kill_at_every_step};

    #[tokio::test]
    async fn words_are_counted_and_listed_wherever_an_attempt_is_killed() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, "to be or not to be").unwrap();
        let job = CountWords { text: Source::file("hamlet") };
        let run = || TestRun::of(WordCounter).payload(&job).file("hamlet", path.to_path_buf());
        kill_at_every_step(run, async |_, next| {
            assert_eq!(next.output::<usize>(), 6);
            assert_eq!(next.artifact("words.txt").text(), "to\nbe\nor\nnot\nto\nbe");
        })
        .await;
    }
}
