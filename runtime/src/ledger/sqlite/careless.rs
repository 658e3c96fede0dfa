//! A claim in two transactions, as nobody must make it: what is decided in the first may be wrong in the second. For the simulation,
//! which has to notice.

use uuid::Uuid;

use super::{Sqlite, round};
use crate::ledger::{Answer, Claim, Claimed};

impl Sqlite {
    /// The last attempt of those that are free.
    pub(crate) async fn free(&self, worker: Uuid, claims: &[Claim]) -> Answer<Vec<Option<u32>>> {
        let claims = claims.to_vec();
        self.write(move |db, now| round::free(db, now, worker, &claims)).await
    }

    /// Takes those that were free, whoever has them by now.
    pub(crate) async fn take(&self, worker: Uuid, claims: &[Claim], free: &[Option<u32>]) -> Answer<Vec<Claimed>> {
        let (claims, free) = (claims.to_vec(), free.to_vec());
        self.write(move |db, now| round::take(db, now, worker, &claims, &free)).await
    }
}
