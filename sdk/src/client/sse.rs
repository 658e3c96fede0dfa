//! Server-Sent Events as a client reads them: frames out of bytes, and the id to come back with. It knows no event and never
//! comes back by itself. Read [`super::events`] and [`super::promise`] for who does.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::time::Instant;

use super::ClientError;
use super::transport::{Transport, unreachable};

const EVENT_STREAM: &str = "text/event-stream";
/// A line on which nothing comes for so long is dead: Longshore sends a heartbeat every quarter of it.
const SILENCE: Duration = Duration::from_secs(60);
/// Longshore says something as soon as a stream is open. A proxy that keeps it to itself is no road for events.
const FIRST_WORD: Duration = Duration::from_secs(5);

/// What came of asking for a stream.
pub(super) enum Opened {
    Frames(Box<Frames>),
    /// The stream has an end, and the reader knows everything before it.
    Over,
    /// Something answers there that has no such stream.
    Unspoken,
}

/// A frame that says something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) word: String,
    pub(super) data: String,
}

/// An open stream.
pub(super) struct Frames {
    answer: Response,
    parser: Parser,
    heard: Option<Instant>,
}

/// Bytes into frames.
#[derive(Debug, Default)]
struct Parser {
    bytes: Vec<u8>,
    /// How many of the bytes were looked through in vain.
    seen: usize,
    frame: Option<Frame>,
    last_id: Option<String>,
    limit_bytes: usize,
}

impl Transport {
    /// Asks for the stream at `url`, after the frame with this id.
    pub(super) async fn open_stream(&self, url: Url, after: Option<&str>) -> Result<Opened, ClientError> {
        let request = self.request(Method::GET, url).header(ACCEPT, EVENT_STREAM);
        let request = after.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        let limits = self.limits();
        let late = || ClientError::Unreachable(format!("no answer in {:?}", limits.call_timeout));
        let sent = tokio::time::timeout(limits.call_timeout, self.send(request)).await;
        let answer = sent.unwrap_or_else(|_| Err(late()))?;
        let media = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(match (answer.status(), media.starts_with(EVENT_STREAM)) {
            (StatusCode::NO_CONTENT, _) => Opened::Over,
            (_, false) => Opened::Unspoken,
            (_, true) => {
                let parser = Parser { limit_bytes: limits.max_answer_bytes, ..Parser::default() };
                Opened::Frames(Box::new(Frames { answer, parser, heard: None }))
            }
        })
    }
}

impl Frames {
    /// The next frame that says something; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            if let Some(frame) = self.parser.next()? {
                return Ok(Some(frame));
            }
            let silence = if self.heard.is_some() { SILENCE } else { FIRST_WORD };
            let dead = |_| ClientError::Unreachable(format!("the stream was silent for {silence:?}"));
            let chunk = tokio::time::timeout(silence, self.answer.chunk()).await.map_err(dead)?;
            let Some(chunk) = chunk.map_err(|error| unreachable(&error))? else { return Ok(None) };
            self.heard = Some(Instant::now());
            self.parser.bytes.extend_from_slice(&chunk);
        }
    }

    /// The id to come back with.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.parser.last_id.as_deref()
    }

    /// When something came last, a heartbeat also.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }
}

impl Parser {
    fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(frame) = self.frame.take().filter(|frame| !frame.data.is_empty()) {
                    return Ok(Some(frame));
                }
            } else {
                self.field(&line);
            }
        }
        Ok(None)
    }

    /// A whole line, without its end.
    fn line(&mut self) -> Result<Option<String>, ClientError> {
        let Some(end) = self.bytes[self.seen..].iter().position(|byte| *byte == b'\n') else {
            self.seen = self.bytes.len();
            let pending = self.seen + self.frame.as_ref().map_or(0, |frame| frame.data.len());
            return if pending <= self.limit_bytes { Ok(None) } else { Err(self.too_large()) };
        };
        let rest = self.bytes.split_off(self.seen + end + 1);
        let line = std::mem::replace(&mut self.bytes, rest);
        self.seen = 0;
        let line = String::from_utf8(line).map_err(|_| ClientError::Protocol("the stream is no UTF-8".into()))?;
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        let frame = self.frame.get_or_insert_with(|| Frame { word: String::new(), data: String::new() });
        match name {
            "id" => self.last_id = Some(value.to_owned()),
            "event" => value.clone_into(&mut frame.word),
            "data" if frame.data.is_empty() => value.clone_into(&mut frame.data),
            "data" => frame.data.extend(["\n", value]),
            // A comment, or the wait that a browser would keep.
            _ => {}
        }
    }

    fn too_large(&self) -> ClientError {
        ClientError::Protocol(format!("a frame of the stream has more than {} bytes", self.limit_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parser(limit_bytes: usize) -> Parser {
        Parser { limit_bytes, ..Parser::default() }
    }

    fn frame(word: &str, data: &str) -> Frame {
        Frame { word: word.into(), data: data.into() }
    }

    #[test]
    fn frames_are_read_wherever_the_bytes_are_cut() {
        let text =
            "retry: 2000\n\n: heartbeat\nid: 7\n\nid: 8\nevent: started\ndata: {\"é\":1}\n\ndata: a\r\ndata: b\r\n\r\n";
        let expected = [frame("started", "{\"é\":1}"), frame("", "a\nb")];
        for size in [1, 2, 3, 7, text.len()] {
            let (mut parser, mut frames) = (parser(100), vec![]);
            for few in text.as_bytes().chunks(size) {
                parser.bytes.extend_from_slice(few);
                while let Some(frame) = parser.next().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, expected, "cut every {size} bytes");
            assert_eq!(parser.last_id.as_deref(), Some("8"));
        }
    }

    #[test]
    fn a_place_without_an_event_is_remembered() {
        let mut parser = parser(100);
        parser.bytes.extend_from_slice(b": heartbeat\nid: 9\n\n");
        assert_eq!(parser.next().unwrap(), None);
        assert_eq!(parser.last_id.as_deref(), Some("9"));
    }

    #[test]
    fn a_frame_without_end_is_given_up() {
        let mut parser = parser(10);
        parser.bytes.extend_from_slice(b"data: 12345678901");
        assert!(matches!(parser.next(), Err(ClientError::Protocol(_))));
    }
}
