//! The first words of an AMQP server, where it tells its product and version: the client library reads them and keeps them to
//! itself. It opens a connection of its own, reads one frame, and hangs up. Behind TLS it does not ask.

use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// "AMQP", then 0-9-1.
const HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// Of type, channel and size: what comes before a frame's payload.
const FRAME_HEAD: usize = 7;
/// A greeting is about 500 bytes; more is none.
const MAX_GREETING: usize = 64 * 1024;
/// Class and method of `connection.start`, and the protocol's version.
const START: [u8; 6] = [0, 10, 0, 10, 0, 9];

/// The server's version, if it tells one within this time.
pub(super) async fn version(uri: &AMQPUri, within: Duration) -> Option<String> {
    if uri.scheme == AMQPScheme::AMQPS {
        return None;
    }
    timeout(within, greet(&uri.authority.host, uri.authority.port)).await.ok()?.ok().flatten()
}

async fn greet(host: &str, port: u16) -> std::io::Result<Option<String>> {
    let mut server = TcpStream::connect((host, port)).await?;
    server.write_all(&HEADER).await?;
    let mut head = [0; FRAME_HEAD];
    server.read_exact(&mut head).await?;
    let [.., a, b, c, d] = head;
    let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if size > MAX_GREETING {
        return Ok(None);
    }
    let mut greeting = vec![0; size];
    server.read_exact(&mut greeting).await?;
    Ok(version_in(&greeting))
}

/// The text at `version` in the server's properties.
fn version_in(greeting: &[u8]) -> Option<String> {
    let mut table = Reader(greeting.strip_prefix(&START)?);
    // The minor version, then the length of the table.
    table.take(1)?;
    let size = table.number()?;
    let mut properties = Reader(table.take(size)?);
    while let Some(name) = properties.short_text() {
        let value = properties.value()?;
        if name == b"version" {
            return String::from_utf8(value?.to_vec()).ok();
        }
    }
    None
}

/// Reads a field table from its front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes: [u8; 4] = self.take(4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    }

    fn short_text(&mut self) -> Option<&'a [u8]> {
        let size = *self.take(1)?.first()?;
        self.take(usize::from(size))
    }

    /// The value that comes next: a text, or something else that is passed by. `None` when it cannot be read.
    fn value(&mut self) -> Option<Option<&'a [u8]>> {
        let sort = *self.take(1)?.first()?;
        let fixed = match sort {
            b'S' => {
                let size = self.number()?;
                return self.take(size).map(Some);
            }
            b'F' | b'A' | b'x' => self.number()?,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'l' | b'L' | b'd' | b'T' => 8,
            b'D' => 5,
            b'V' => 0,
            _ => return None,
        };
        self.take(fixed).map(|_| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, sort: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(name.len()).unwrap()];
        bytes.extend(name.as_bytes());
        bytes.push(sort);
        if sort == b'S' || sort == b'F' {
            bytes.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        }
        bytes.extend(value);
        bytes
    }

    fn greeting(properties: &[u8]) -> Vec<u8> {
        let size = u32::try_from(properties.len()).unwrap().to_be_bytes();
        [&START[..], &[1], &size, properties].concat()
    }

    #[test]
    fn the_version_is_found_behind_other_properties() {
        let capabilities = entry("publisher_confirms", b't', &[1]);
        let all = [
            entry("capabilities", b'F', &capabilities),
            entry("cluster_name", b'S', b"rabbit@quay"),
            entry("version", b'S', b"3.10.8"),
        ];
        assert_eq!(version_in(&greeting(&all.concat())).as_deref(), Some("3.10.8"));
    }

    #[test]
    fn what_is_no_greeting_tells_no_version_and_does_no_harm() {
        let whole = greeting(&entry("version", b'S', b"3.10.8"));
        for end in 0..whole.len() {
            assert_eq!(version_in(&whole[..end]), None, "cut at {end}");
        }
        assert_eq!(version_in(&greeting(&entry("version", b'I', &[0; 4]))), None);
        assert_eq!(version_in(&greeting(&entry("product", b'?', b"x"))), None);
        assert_eq!(version_in(b"HTTP/1.1 400 Bad Request"), None);
    }
}
