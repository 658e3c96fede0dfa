//! Uploads in pieces: who may append, what is acknowledged, when one is a file, and when it goes.

use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::ledger::uploads::{Dooming, Hold, NewUpload, Stand, Upload};
use longshore_runtime::ledger::{File, Ledger};
use longshore_runtime::storage::draft::Draft;
use longshore_sdk::JobId;
use longshore_tests::until::until;
use uuid::Uuid;

use super::steps::{LONG, SHORT, SOON, queued};

const ANY: u64 = u64::MAX;

fn new(tenant: &str, lives: Duration) -> NewUpload {
    NewUpload {
        id: Uuid::now_v7(),
        tenant: tenant.parse().unwrap(),
        name: "../ship's log.csv".into(),
        content_type: "text/csv".into(),
        metadata: Some("filename eA==,confidential".into()),
        bytes: 5_000_000_000,
        place: Draft::default(),
        hash: vec![0, 255, 7],
        lives,
    }
}

async fn begun(ledger: &Arc<dyn Ledger>, tenant: &str, lives: Duration) -> NewUpload {
    let upload = new(tenant, lives);
    assert!(ledger.begin_upload(&upload, ANY).await.unwrap());
    upload
}

fn stand(received: u64) -> Stand {
    let place = r#"{"multipart": "m", "part_bytes": 8388608, "parts": ["\"a\"", "b"]}"#;
    Stand { received, place: serde_json::from_str(place).unwrap(), hash: vec![1, 2, 3] }
}

fn file(of: &NewUpload) -> File {
    let NewUpload { id, tenant, name, content_type, bytes, .. } = of.clone();
    File { id, tenant, name, content_type, bytes, sha256: "ab".repeat(32) }
}

fn granted(hold: Hold) -> Option<Upload> {
    match hold {
        Hold::Granted(upload) => Some(upload),
        Hold::Refused(_) | Hold::Unknown => None,
    }
}

pub(super) async fn an_upload_is_found_as_it_was_begun_by_whoever_asks(ledger: Arc<dyn Ledger>) {
    let upload = begun(&ledger, "north", LONG).await;
    assert!(ledger.begin_upload(&upload, 1).await.unwrap(), "a repeat is one");
    let found = ledger.upload(upload.id).await.unwrap().unwrap();
    let beginning = Stand { received: 0, place: upload.place.clone(), hash: upload.hash.clone() };
    assert_eq!(
        (&found.tenant, &found.name, &found.content_type, &found.metadata, found.bytes, found.done),
        (&upload.tenant, &upload.name, &upload.content_type, &upload.metadata, upload.bytes, false)
    );
    assert_eq!(found.stand, beginning);
    assert!(found.expires_at > ledger.now().await.unwrap());
    assert_eq!(ledger.upload(Uuid::now_v7()).await.unwrap(), None);
    assert_eq!(ledger.file(upload.id).await.unwrap(), None);
}

pub(super) async fn a_tenant_has_so_many_unfinished_uploads_and_no_more(ledger: Arc<dyn Ledger>) {
    let first = begun(&ledger, "north", LONG).await;
    begun(&ledger, "north", LONG).await;
    let third = new("north", LONG);
    assert!(!ledger.begin_upload(&third, 2).await.unwrap());
    assert_eq!(ledger.upload(third.id).await.unwrap(), None);
    assert!(ledger.begin_upload(&new("south", LONG), 2).await.unwrap(), "another tenant's are not counted");
    assert!(ledger.finish_upload(&file(&first), LONG).await.unwrap());
    assert!(ledger.begin_upload(&third, 2).await.unwrap(), "nor are those that are files");
}

pub(super) async fn of_two_who_would_append_one_may_and_only_where_the_upload_stands(ledger: Arc<dyn Ledger>) {
    let upload = begun(&ledger, "north", LONG).await;
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    let hold = async |who, at| ledger.hold_upload(upload.id, who, at, LONG).await.unwrap();
    assert!(matches!(hold(one, 1).await, Hold::Refused(upload) if upload.stand.received == 0));
    let both = tokio::join!(hold(one, 0), hold(other, 0));
    let (one, other) = match (granted(both.0), granted(both.1)) {
        (Some(_), None) => (one, other),
        (None, Some(_)) => (other, one),
        both => panic!("{both:?}"),
    };
    let save =
        async |who, received, lease| ledger.save_upload(upload.id, who, &stand(received), lease, LONG).await.unwrap();
    assert!(!save(other, 9, Some(LONG)).await, "who does not hold it acknowledges nothing");
    assert!(save(one, 5, Some(LONG)).await && save(one, 5, Some(LONG)).await, "a repeat is one");
    assert_eq!(ledger.upload(upload.id).await.unwrap().unwrap().stand, stand(5));
    assert!(granted(hold(other, 5).await).is_none());
    assert!(save(one, 7, None).await && !save(one, 8, None).await, "it has let go");
    let next = granted(hold(other, 7).await).unwrap();
    assert_eq!((next.stand, next.bytes), (stand(7), upload.bytes));
    assert_eq!(ledger.hold_upload(Uuid::now_v7(), one, 0, LONG).await.unwrap(), Hold::Unknown);
}

pub(super) async fn a_writer_whose_lease_ran_out_goes_on_until_another_one_took_over(ledger: Arc<dyn Ledger>) {
    let upload = begun(&ledger, "north", LONG).await;
    let (slow, next) = (Uuid::now_v7(), Uuid::now_v7());
    assert!(granted(ledger.hold_upload(upload.id, slow, 0, SHORT).await.unwrap()).is_some());
    assert!(ledger.save_upload(upload.id, slow, &stand(3), Some(SHORT), LONG).await.unwrap());
    let take_over = || async { granted(ledger.hold_upload(upload.id, next, 3, LONG).await.unwrap()) };
    until("the lease to run out", SOON, take_over).await;
    assert!(!ledger.save_upload(upload.id, slow, &stand(4), Some(LONG), LONG).await.unwrap());
    assert_eq!(ledger.upload(upload.id).await.unwrap().unwrap().stand, stand(3));
}

pub(super) async fn a_whole_upload_is_a_file_once_and_shown_for_a_while(ledger: Arc<dyn Ledger>) {
    let upload = begun(&ledger, "north", LONG).await;
    let file = file(&upload);
    assert!(ledger.finish_upload(&file, SHORT).await.unwrap() && ledger.finish_upload(&file, SHORT).await.unwrap());
    assert_eq!(ledger.file(upload.id).await.unwrap().as_ref(), Some(&file));
    assert!(ledger.upload(upload.id).await.unwrap().is_some_and(|upload| upload.done));
    let late = ledger.hold_upload(upload.id, Uuid::now_v7(), 0, LONG).await.unwrap();
    assert!(matches!(late, Hold::Refused(upload) if upload.done));
    ledger.forget_upload(upload.id).await.unwrap();
    let long = until("it to be shown for long enough", SOON, || async {
        assert_eq!(ledger.expired_uploads(9).await.unwrap(), [], "it is a file: no bytes of it are to go");
        ledger.finished_uploads(9).await.unwrap().pop()
    })
    .await;
    assert!(long.id == upload.id && long.done);
    ledger.forget_upload(upload.id).await.unwrap();
    assert_eq!((ledger.upload(upload.id).await.unwrap(), ledger.finished_uploads(9).await.unwrap()), (None, vec![]));
    assert_eq!(ledger.file(upload.id).await.unwrap(), Some(file));
}

pub(super) async fn what_is_doomed_is_shown_to_nobody_and_forgotten_when_its_bytes_are_gone(ledger: Arc<dyn Ledger>) {
    let (open, whole, used) =
        (begun(&ledger, "north", LONG).await, begun(&ledger, "north", LONG).await, begun(&ledger, "north", LONG).await);
    let writer = Uuid::now_v7();
    assert!(granted(ledger.hold_upload(open.id, writer, 0, LONG).await.unwrap()).is_some());
    for done in [&whole, &used] {
        assert!(ledger.finish_upload(&file(done), LONG).await.unwrap());
    }
    ledger.use_files(&used.tenant, JobId::fresh(), &[used.id]).await.unwrap();
    assert_eq!(ledger.doom_upload(used.id).await.unwrap(), Dooming::InUse);
    for gone in [&open, &whole] {
        assert!(matches!(ledger.doom_upload(gone.id).await.unwrap(), Dooming::Doomed(upload) if upload.id == gone.id));
        assert_eq!(ledger.doom_upload(gone.id).await.unwrap(), Dooming::Unknown);
        assert_eq!((ledger.upload(gone.id).await.unwrap(), ledger.file(gone.id).await.unwrap()), (None, None));
        assert!(!ledger.finish_upload(&file(gone), LONG).await.unwrap());
        ledger.forget_upload(gone.id).await.unwrap();
        ledger.forget_file(gone.id).await.unwrap();
    }
    assert!(!ledger.save_upload(open.id, writer, &stand(3), Some(LONG), LONG).await.unwrap());
    assert_eq!(ledger.file(open.id).await.unwrap(), None);
    // What is not doomed is not forgotten.
    ledger.forget_upload(used.id).await.unwrap();
    ledger.forget_file(used.id).await.unwrap();
    assert!(ledger.upload(used.id).await.unwrap().is_some() && ledger.file(used.id).await.unwrap().is_some());
}

pub(super) async fn uploads_that_stand_still_expire_and_those_that_go_on_do_not(ledger: Arc<dyn Ledger>) {
    let (still, going) = (begun(&ledger, "north", SHORT).await, begun(&ledger, "north", SHORT).await);
    let writer = Uuid::now_v7();
    assert!(granted(ledger.hold_upload(going.id, writer, 0, LONG).await.unwrap()).is_some());
    assert!(ledger.save_upload(going.id, writer, &stand(3), None, LONG).await.unwrap());
    let expired = || async { ledger.expired_uploads(9).await.unwrap().into_iter().next() };
    let gone = until("one to expire", SOON, expired).await;
    assert_eq!((gone.id, &gone.tenant), (still.id, &still.tenant));
    assert_eq!(ledger.upload(still.id).await.unwrap(), None);
    // Whoever removes its bytes may die before it is done: the next one hears of it again.
    assert_eq!(ledger.expired_uploads(9).await.unwrap().len(), 1);
    ledger.forget_upload(still.id).await.unwrap();
    assert_eq!(ledger.expired_uploads(9).await.unwrap(), []);
    assert!(ledger.upload(going.id).await.unwrap().is_some());
}

pub(super) async fn a_file_that_no_job_names_expires_and_one_that_is_named_stays(ledger: Arc<dyn Ledger>) {
    let [named, unused, foreign] = ["north", "north", "south"].map(|tenant| file(&new(tenant, LONG)));
    for file in [&named, &unused, &foreign] {
        ledger.add_file(file).await.unwrap();
    }
    assert_eq!(ledger.expired_files(Some(LONG), 9).await.unwrap(), []);
    assert_eq!(ledger.expired_files(None, 9).await.unwrap(), [], "never means never");
    // The second is another tenant's: naming it changes nothing.
    let job = queued(&*ledger).await;
    ledger.use_files(&named.tenant, job, &[named.id, foreign.id]).await.unwrap();
    let both = || async {
        let mut gone = ledger.expired_files(Some(SHORT), 9).await.unwrap();
        gone.sort_by_key(|(tenant, _)| tenant.to_string());
        (gone.len() == 2).then_some(gone)
    };
    let gone = until("two to expire", SOON, both).await;
    assert_eq!(gone, [(unused.tenant.clone(), unused.id), (foreign.tenant.clone(), foreign.id)]);
    assert_eq!(ledger.file(unused.id).await.unwrap(), None);
    ledger.use_files(&unused.tenant, job, &[unused.id]).await.unwrap();
    assert_eq!(ledger.expired_files(None, 9).await.unwrap().len(), 2, "too late to be used");
    for (_, id) in gone {
        ledger.forget_file(id).await.unwrap();
    }
    assert_eq!(ledger.expired_files(Some(Duration::ZERO), 9).await.unwrap(), []);
    assert_eq!(ledger.file(named.id).await.unwrap(), Some(named));
}
