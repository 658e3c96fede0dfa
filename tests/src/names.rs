//! A name server for the stories: answers for IPv4 addresses as a story tells it to, each time anew and to be kept for no time at all,
//! and counts who asks. It knows no other sort of record, no zone and no cache.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::net::UdpSocket;

/// A running name server; it stops with its runtime.
pub struct Names {
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

const HEAD: usize = 12;
const IPV4: u16 = 1;

impl Names {
    /// One at this address: `script` says where a name leads when it is asked for the nth time, from 0.
    pub async fn serve(
        address: SocketAddr,
        script: impl Fn(&str, usize) -> Vec<Ipv4Addr> + Send + Sync + 'static,
    ) -> Result<Self> {
        let socket = UdpSocket::bind(address).await.with_context(|| format!("no names at {address}"))?;
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let Some((name, sort, end)) = read(&question[..length]) else { continue };
                let found = match sort {
                    IPV4 => script(&name, next(&counted, &name)),
                    _ => vec![],
                };
                // Who asked may be gone.
                let _ = socket.send_to(&answer(&question[..end], &found), from).await;
            }
        });
        Ok(Self { asked })
    }

    /// How often somebody asked for this name.
    pub fn asked(&self, name: &str) -> usize {
        self.asked.lock().expect("no code panics while it holds the map").get(name).copied().unwrap_or_default()
    }
}

/// How often it was asked for before.
fn next(asked: &Mutex<BTreeMap<String, usize>>, name: &str) -> usize {
    let mut asked = asked.lock().expect("no code panics while it holds the map");
    let times = asked.entry(name.to_owned()).or_default();
    *times += 1;
    *times - 1
}

/// The name, the sort of record that is asked for, and where the question ends.
fn read(packet: &[u8]) -> Option<(String, u16, usize)> {
    let (mut place, mut labels) = (HEAD, vec![]);
    loop {
        let length = usize::from(*packet.get(place)?);
        let label = packet.get(place + 1..place + 1 + length)?;
        place += 1 + length;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
    let sort = packet.get(place..place + 2)?;
    Some((labels.join("."), u16::from_be_bytes([sort[0], sort[1]]), place + 4)).filter(|(.., end)| *end <= packet.len())
}

/// The question with its answers; of the head's four counts, one question and so many answers.
fn answer(question: &[u8], found: &[Ipv4Addr]) -> Vec<u8> {
    let count = u8::try_from(found.len()).unwrap_or(u8::MAX);
    let mut packet = question[..2].to_vec();
    packet.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    packet.extend(&question[HEAD..]);
    for address in found {
        // The name of the question, an IPv4 address of the internet, for 0 seconds, four bytes.
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        packet.extend(address.octets());
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x04Flap\x07example\0\0\x01\0\x01";

    #[test]
    fn a_question_is_read_and_answered_with_itself() {
        assert_eq!(read(QUESTION), Some(("flap.example".to_owned(), IPV4, QUESTION.len())));
        let packet = answer(QUESTION, &[Ipv4Addr::new(10, 1, 2, 3)]);
        assert_eq!(packet[..8], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1]);
        assert!(packet.ends_with(&[0, 4, 10, 1, 2, 3]));
        for end in 0..QUESTION.len() {
            assert_eq!(read(&QUESTION[..end]), None, "{end} bytes are no question");
        }
    }
}
