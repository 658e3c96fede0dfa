//! A reader of Server-Sent Events: tells events, comments and the end apart, and remembers the last id as a browser does.
//! It never comes back by itself, for a story wants to see where a stream broke off.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::Value;

use crate::http::Http;

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    /// How it was answered.
    pub status: u16,
    /// The id of the last event; of the stream of all jobs, the reader's place.
    pub last_id: Option<String>,
    response: reqwest::Response,
    text: String,
    of_all: bool,
}

impl Stream {
    /// Opens the stream at this path, after that event.
    pub async fn open(http: &Http, path: &str, after: Option<&str>) -> Result<Stream> {
        let request = http.request(Method::GET, path);
        let request = after.iter().fold(request, |request, id| request.header("last-event-id", *id));
        let (client, request) = request.build_split();
        let response = client.execute(request?).await.with_context(|| path.to_owned())?;
        let last_id = after.map(str::to_owned);
        let of_all = path.starts_with("/v1/events");
        Ok(Stream { status: response.status().as_u16(), last_id, response, text: String::new(), of_all })
    }

    /// The next event; `None` after a clean end, an error where the line broke.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            while let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = self.read(&frame)? {
                    return Ok(Some(event));
                }
            }
            let Some(chunk) = self.response.chunk().await? else {
                ensure!(self.text.is_empty(), "the stream ended within a frame: {:?}", self.text);
                return Ok(None);
            };
            self.text.push_str(std::str::from_utf8(&chunk)?);
        }
    }

    /// All that come until the stream ends.
    pub async fn rest(&mut self) -> Result<Vec<Value>> {
        let mut events = vec![];
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }

    fn read(&mut self, frame: &str) -> Result<Option<Value>> {
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
        let Some(data) = field("data: ") else { return Ok(None) };
        let event: Value = serde_json::from_str(data)?;
        if let Some(id) = field("id: ") {
            ensure!(self.of_all || event["id"] == id, "the id of the frame is the event's: {frame}");
            self.last_id = Some(id.to_owned());
        }
        Ok(Some(event))
    }
}

/// What happened, in words; progress is left out, for of it only the newest is sure to be told.
pub fn transitions(events: &[Value]) -> Vec<&str> {
    let words = events.iter().filter_map(|event| event["data"]["event"].as_str());
    words.filter(|word| *word != "progressed").collect()
}
