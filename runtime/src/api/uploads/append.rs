//! The bytes of one PATCH, from the body to the storage, and what of them is acknowledged. One request at a time appends to an upload: it
//! holds a lease in the ledger, renews it while bytes come, and stops by its own clock when it cannot. What was promised by a
//! checksum is acknowledged whole or not at all; anything else up to where the line broke.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use super::tus::{self, Chunk, Summing};
use crate::api::Api;
use crate::api::body::{BodyError, stream};
use crate::api::problem::{Answer, Fault, Refusal};
use crate::ledger::uploads::{Hold, Stand, Upload};
use crate::storage::draft::{Draft, Which, Writer};
use crate::storage::hex;

/// How long the upload of a process that died is closed to others.
const LEASE: Duration = Duration::from_secs(10);
const RENEWED_EVERY: Duration = Duration::from_secs(3);

/// The SHA-256 of all that has come so far, in a form that another process can go on with.
#[derive(Clone, Default)]
pub(super) struct Sum(Sha256);

impl Sum {
    pub(super) fn of(state: &[u8]) -> Answer<Self> {
        let unreadable = || Refusal::internal("the checksum of an upload has another form than this program's");
        let state = state.try_into().map_err(|_| unreadable())?;
        Sha256::deserialize(&state).map(Self).map_err(|_| unreadable())
    }

    pub(super) fn state(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    pub(super) fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// One PATCH at work.
struct Appending<'a> {
    api: &'a Api,
    upload: Upload,
    id: Uuid,
    writer: Writer,
    sum: Sum,
    /// What the bytes of this request must sum to.
    promised: Option<Summing>,
    received: u64,
    /// What is durable and may be acknowledged.
    durable: Stand,
    /// Until then nobody else appends.
    held_until: Instant,
}

/// Takes the bytes of a chunk; the upload as it stands then.
pub(super) async fn append(api: &Api, upload: Upload, chunk: Chunk, body: Body) -> Answer<Upload> {
    let (id, asked) = (Uuid::now_v7(), Instant::now());
    let held = match api.ask(api.ledger.hold_upload(upload.id, id, chunk.at, LEASE)).await? {
        Hold::Granted(upload) => upload,
        Hold::Refused(upload) if upload.stand.received != chunk.at => {
            return Err(tus::elsewhere(chunk.at, upload.stand.received));
        }
        // A whole one has nothing to lock.
        Hold::Refused(upload) if upload.done => return Ok(upload),
        Hold::Refused(_) => return Err(Refusal::locked()),
        Hold::Unknown => return Err(gone()),
    };
    let opened = open(api, &held, id, &chunk, asked + LEASE).await;
    match opened {
        Ok(appending) => appending.run(body).await,
        Err(refusal) => {
            let let_go = api.ledger.save_upload(held.id, id, &held.stand, None, api.storage.patience().0);
            // Its lease runs out soon by itself.
            let _ = api.ask(let_go).await;
            Err(refusal)
        }
    }
}

async fn open<'a>(api: &'a Api, held: &Upload, id: Uuid, chunk: &Chunk, until: Instant) -> Answer<Appending<'a>> {
    let which = Which { tenant: &held.tenant, id: held.id, bytes: held.bytes };
    let sum = Sum::of(&held.stand.hash)?;
    Ok(Appending {
        api,
        writer: api.storage.open_draft(which, &held.stand.place, chunk.at).await?,
        upload: held.clone(),
        id,
        sum,
        promised: chunk.checksum.as_ref().map(Summing::towards),
        received: chunk.at,
        durable: held.stand.clone(),
        held_until: until,
    })
}

impl Appending<'_> {
    async fn run(mut self, body: Body) -> Answer<Upload> {
        let ended = self.pour(body).await;
        let (settled, refused) = match ended {
            Ok(()) => (self.end().await, None),
            // The sender hears nothing of it any more, and goes on behind what is kept.
            Err(refusal) if self.keeps_what_came(&refusal) => (self.settle().await, Some(refusal)),
            Err(refusal) => (self.take_back().await, Some(refusal)),
        };
        let saved = match settled {
            Ok(()) => self.save(None).await,
            Err(refusal) => self.save(None).await.and(Err(refusal)),
        };
        match (saved, refused) {
            (Ok(()), None) => Ok(Upload { stand: self.durable, ..self.upload }),
            (_, Some(refusal)) | (Err(refusal), None) => Err(refusal),
        }
    }

    /// Bytes that came before the line broke or became too slow are as good as any, unless a checksum was promised for all.
    fn keeps_what_came(&self, refusal: &Refusal) -> bool {
        self.promised.is_none() && matches!(refusal.fault(), Fault::Malformed | Fault::TooSlow)
    }

    async fn pour(&mut self, body: Body) -> Answer<()> {
        let mut body = std::pin::pin!(stream(body, self.api.settings.body_flow()));
        let mut renewal = interval_at(Instant::now() + RENEWED_EVERY, RENEWED_EVERY);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = renewal.tick() => self.renew().await?,
                chunk = body.next() => match chunk {
                    Some(chunk) => self.take(chunk).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn take(&mut self, chunk: Result<Bytes, BodyError>) -> Answer<()> {
        let mut chunk = chunk?;
        if self.received + chunk.len() as u64 > self.upload.bytes {
            return Err(tus::too_many(self.upload.bytes));
        }
        while !chunk.is_empty() {
            // Whoever stood still for so long may find that another one has gone on.
            if Instant::now() >= self.held_until {
                return Err(Refusal::locked());
            }
            let piece = chunk.split_to(chunk.len().min(self.writer.room()));
            self.count(&piece);
            if let Some(place) = self.writer.write(piece).await? {
                self.note(place);
                self.save(Some(LEASE)).await?;
            }
        }
        Ok(())
    }

    fn count(&mut self, piece: &[u8]) {
        self.sum.0.update(piece);
        if let Some(promised) = &mut self.promised {
            promised.update(piece);
        }
        self.received += piece.len() as u64;
    }

    /// All that came is durable. With a checksum it counts at the end only.
    fn note(&mut self, place: Draft) {
        if self.promised.is_none() {
            self.durable = Stand { received: self.received, place, hash: self.sum.state() };
        }
    }

    async fn renew(&mut self) -> Answer<()> {
        if self.promised.is_none()
            && let Some(place) = self.writer.settle_cheaply().await?
        {
            self.note(place);
        }
        self.save(Some(LEASE)).await
    }

    /// The body has come to its end.
    async fn end(&mut self) -> Answer<()> {
        if self.promised.take().is_some_and(|promised| !promised.holds()) {
            self.take_back().await?;
            let detail = "the bytes are others than Upload-Checksum says; none of them was kept, send them again";
            return Err(Refusal::new(Fault::ChecksumMismatch, detail));
        }
        self.settle().await
    }

    async fn settle(&mut self) -> Answer<()> {
        let last = self.received == self.upload.bytes;
        let place = self.writer.settle(last).await?;
        self.note(place);
        Ok(())
    }

    async fn take_back(&mut self) -> Answer<()> {
        self.writer.take_back(self.durable.received).await;
        Ok(())
    }

    /// Acknowledges what is durable; the lease goes on for so long, or ends.
    async fn save(&mut self, lease: Option<Duration>) -> Answer<()> {
        let asked = Instant::now();
        let (lives, _) = self.api.storage.patience();
        let saved = self.api.ledger.save_upload(self.upload.id, self.id, &self.durable, lease, lives);
        if !self.api.ask(saved).await? {
            self.writer.take_back(self.durable.received).await;
            return Err(self.lost().await?);
        }
        self.held_until = asked + LEASE;
        self.writer.tidy(&self.durable.place).await;
        Ok(())
    }

    /// Why it holds the upload no longer.
    async fn lost(&self) -> Answer<Refusal> {
        let there = self.api.ask(self.api.ledger.upload(self.upload.id)).await?;
        Ok(if there.is_some() { Refusal::locked() } else { gone() })
    }
}

fn gone() -> Refusal {
    Refusal::new(Fault::NotFound, "the upload was removed")
}
