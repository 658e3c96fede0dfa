//! Resumable uploads by their protocol, over a directory. What headers mean has its own tests; here is what becomes of the bytes.

use longshore_sdk::Source;
use longshore_sdk::api::problem as types;
use longshore_sdk::api::{FileView, UploadView};

use super::*;

const TEXT: &str = "0123456789";
const SHA1_OF_0123: &str = "sha1 xLXIa9V32j2T/qfInLphx4tI5Yk=";
const TEXT_SHA256: &str = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";

fn tus(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("tus-resumable", "1.0.0");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(body.into()).unwrap()
}

fn patch(path: &str, offset: &str, more: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let headers = [("content-type", "application/offset+octet-stream"), ("upload-offset", offset)];
    tus("PATCH", path, &[&headers, more].concat(), body)
}

impl World {
    /// An upload of so many bytes; its address.
    async fn begin(&self, bytes: usize) -> String {
        let notes = ("upload-metadata", "filename YSBiLmNzdg==,filetype dGV4dC9jc3Y=");
        let length = bytes.to_string();
        let begun = self.send(tus("POST", "/v1/uploads", &[("upload-length", &length), notes], "")).await;
        assert_eq!((begun.status, begun.header("tus-resumable")), (201, "1.0.0"), "{}", begun.text());
        assert_eq!(begun.json::<UploadView>().received, 0);
        begun.header("location").to_owned()
    }

    async fn head(&self, path: &str) -> Reply {
        self.send(tus("HEAD", path, &[], "")).await
    }

    async fn offset(&self, path: &str) -> String {
        self.head(path).await.header("upload-offset").to_owned()
    }

    fn files_in(&self, room: &str) -> usize {
        std::fs::read_dir(self.directory.path().join("storage").join(room)).unwrap().count()
    }
}

fn file_of(upload: &str) -> String {
    upload.replace("/v1/uploads/", "/v1/files/")
}

#[tokio::test]
async fn an_upload_in_pieces_becomes_a_file_as_any_other() {
    let world = World::new().await;
    let path = world.begin(TEXT.len()).await;
    let first = world.send(patch(&path, "0", &[], &TEXT[..4])).await;
    assert_eq!((first.status, first.header("upload-offset"), first.body.len()), (204, "4", 0));
    assert!(first.header("upload-expires").ends_with(" GMT"), "{}", first.header("upload-expires"));
    let stands = world.head(&path).await;
    let told = ["upload-offset", "upload-length", "cache-control", "upload-metadata"].map(|name| stands.header(name));
    assert_eq!(told, ["4", "10", "no-store", "filename YSBiLmNzdg==,filetype dGV4dC9jc3Y="]);
    assert_eq!(world.get(&file_of(&path)).await.status, 404, "it is not whole");
    let last = world.send(patch(&path, "4", &[], &TEXT[4..])).await;
    assert_eq!((last.status, last.header("upload-offset"), last.header("upload-expires")), (204, "10", ""));
    let file: FileView = world.get(&file_of(&path)).await.json();
    assert_eq!(
        (file.name.as_str(), file.content_type.as_str(), file.bytes, file.sha256.as_str()),
        ("a b.csv", "text/csv", 10, TEXT_SHA256)
    );
    let source = Source::file(file.id);
    let input = world.storage.fetch_to(&crate::tenant::Tenant::default(), &source, world.directory.path()).await;
    assert_eq!(std::fs::read_to_string(input.unwrap().path).unwrap(), TEXT);
    let view: UploadView = world.get(&path).await.json();
    assert!(view.complete && view.received == 10);
    // Its sender never heard the last answer, and asks or sends again.
    assert_eq!(world.offset(&path).await, "10");
    assert_eq!(world.send(patch(&path, "10", &[], "")).await.status, 204);
    assert_eq!((world.files_in("files"), world.files_in("uploads")), (1, 0));
}

#[tokio::test]
async fn a_request_that_does_not_fit_changes_nothing() {
    let world = World::new().await;
    let path = world.begin(TEXT.len()).await;
    world.send(patch(&path, "0", &[], &TEXT[..4])).await;
    let typed = |kind| tus("PATCH", &path, &[("content-type", kind), ("upload-offset", "4")], "456789");
    let untold = Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("4567"), Ok("89a")]));
    let plain = Request::patch(&path).header("content-type", "application/offset+octet-stream");
    let plain = plain.header("upload-offset", "4").body(Body::from("456789")).unwrap();
    let cases = [
        (plain, 412, types::UNKNOWN_TUS_VERSION),
        (typed("application/octet-stream"), 415, types::UNSUPPORTED_MEDIA_TYPE),
        (patch(&path, "3", &[], "3456789"), 409, types::UPLOAD_OFFSET_MISMATCH),
        (patch(&path, "4", &[("content-length", "7")], "456789a"), 413, types::TOO_LARGE),
        (patch(&path, "4", &[], untold), 413, types::TOO_LARGE),
        (patch(&path, "4", &[("content-encoding", "gzip")], "456789"), 415, types::UNSUPPORTED_MEDIA_TYPE),
        (patch(&path, "4", &[("upload-checksum", "md5 AAAA")], "456789"), 400, types::MALFORMED_REQUEST),
        (patch("/v1/uploads/x", "4", &[], "456789"), 404, types::NOT_FOUND),
        (tus("POST", &path, &[], "456789"), 400, types::MALFORMED_REQUEST),
    ];
    for (request, status, wanted) in cases {
        let reply = world.send(request).await;
        assert_eq!(reply.header("tus-resumable"), "1.0.0", "{wanted}");
        assert_eq!((reply.status, reply.problem().problem_type.as_str()), (status, wanted));
    }
    assert_eq!(world.offset(&path).await, "4");
    assert_eq!(world.send(patch(&path, "4", &[], &TEXT[4..])).await.status, 204);
    assert_eq!(world.get(&file_of(&path)).await.json::<FileView>().sha256, TEXT_SHA256);
}

#[tokio::test]
async fn of_bytes_that_are_not_what_their_checksum_says_none_is_kept() {
    let world = World::new().await;
    let path = world.begin(TEXT.len()).await;
    let whole = "sha256 hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=";
    let wrong = world.send(patch(&path, "0", &[("upload-checksum", whole)], "012345678x")).await;
    assert_eq!((wrong.status, wrong.problem().problem_type.as_str()), (460, types::CHECKSUM_MISMATCH));
    assert_eq!(world.offset(&path).await, "0");
    let right = world.send(patch(&path, "0", &[("upload-checksum", whole)], TEXT)).await;
    assert_eq!((right.status, right.header("upload-offset")), (204, "10"));
    assert_eq!(world.get(&file_of(&path)).await.json::<FileView>().sha256, TEXT_SHA256);
    let other = world.begin(TEXT.len()).await;
    let part = patch(&other, "0", &[("upload-checksum", SHA1_OF_0123)], &TEXT[..4]);
    assert_eq!(world.send(part).await.status, 204);
}

#[tokio::test]
async fn what_came_before_the_line_broke_is_kept_unless_a_checksum_was_promised() {
    use futures_util::StreamExt;
    let world = World::with(|settings| settings.body_idle = Duration::from_millis(50)).await;
    let path = world.begin(TEXT.len()).await;
    let broken = || {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("0123")]);
        Body::from_stream(first.chain(futures_util::stream::iter([Err(std::io::Error::other("gone"))])))
    };
    let promised = [("upload-checksum", "sha256 hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=")];
    assert_eq!(world.send(patch(&path, "0", &promised, broken())).await.status, 400);
    assert_eq!(world.offset(&path).await, "0");
    assert_eq!(world.send(patch(&path, "0", &[], broken())).await.status, 400);
    assert_eq!(world.offset(&path).await, "4");
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>("456")]);
    let stuck = Body::from_stream(first.chain(futures_util::stream::pending()));
    assert_eq!(world.send(patch(&path, "4", &[], stuck)).await.problem().problem_type, types::REQUEST_TIMEOUT);
    assert_eq!(world.offset(&path).await, "7");
    assert_eq!(world.send(patch(&path, "7", &[], &TEXT[7..])).await.status, 204);
    assert_eq!(world.get(&file_of(&path)).await.json::<FileView>().sha256, TEXT_SHA256);
}

#[tokio::test]
async fn of_two_requests_at_once_one_is_told_to_wait_and_none_of_its_bytes_is_kept() {
    let world = World::new().await;
    let path = world.begin(TEXT.len()).await;
    let (sender, body) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
    let body = futures_util::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    let request = patch(&path, "0", &[], Body::from_stream(body));
    let meanwhile = async {
        // When the second is taken, the first is being read: it holds the upload.
        sender.send(Ok("0123")).await.unwrap();
        sender.send(Ok("45")).await.unwrap();
        let second = world.send(patch(&path, "0", &[], "abcdefghij")).await;
        assert_eq!((second.status, second.problem().problem_type.as_str()), (423, types::UPLOAD_LOCKED));
        assert_eq!(second.header("retry-after"), "2");
        sender.send(Ok("6789")).await.unwrap();
        drop(sender);
    };
    let (first, ()) = tokio::join!(world.send(request), meanwhile);
    assert_eq!(first.status, 204);
    assert_eq!(world.get(&file_of(&path)).await.json::<FileView>().sha256, TEXT_SHA256);
}

#[tokio::test]
async fn a_whole_upload_that_is_no_file_yet_becomes_one_when_somebody_looks() {
    let world = World::new().await;
    let path = world.begin(TEXT.len()).await;
    world.send(patch(&path, "0", &[], &TEXT[..9])).await;
    // As if the process had died between its last acknowledgement and the file: first before, then after the bytes got their place.
    let id: Uuid = path.rsplit('/').next().unwrap().parse().unwrap();
    let upload = world.ledger.upload(id).await.unwrap().unwrap();
    let which = crate::storage::draft::Which { tenant: &upload.tenant, id, bytes: upload.bytes };
    let mut writer = world.storage.open_draft(which, &upload.stand.place, 9).await.unwrap();
    writer.write(bytes::Bytes::from_static(b"9")).await.unwrap();
    let place = writer.settle(true).await.unwrap();
    drop(writer);
    let other = World::new().await;
    let whole = other.begin(TEXT.len()).await;
    other.send(patch(&whole, "0", &[], TEXT)).await;
    let twin: Uuid = whole.rsplit('/').next().unwrap().parse().unwrap();
    let hash = other.ledger.upload(twin).await.unwrap().unwrap().stand.hash;
    let (who, stand) = (Uuid::now_v7(), crate::ledger::uploads::Stand { received: 10, place, hash });
    world.ledger.hold_upload(id, who, 9, LEASE).await.unwrap();
    assert!(world.ledger.save_upload(id, who, &stand, Some(LEASE), LEASE).await.unwrap());
    world.storage.finish_draft(which, &stand.place).await.unwrap();
    assert_eq!(world.get(&file_of(&path)).await.status, 404);
    assert_eq!(world.offset(&path).await, "10");
    assert_eq!(world.get(&file_of(&path)).await.json::<FileView>().sha256, TEXT_SHA256);
}

#[tokio::test]
async fn an_upload_that_is_removed_is_gone_with_its_bytes_and_a_file_in_use_is_not() {
    let world = World::new().await;
    let (open, whole) = (world.begin(TEXT.len()).await, world.begin(TEXT.len()).await);
    world.send(patch(&open, "0", &[], &TEXT[..4])).await;
    world.send(patch(&whole, "0", &[], TEXT)).await;
    let remove = async |path: &str| world.send(tus("DELETE", path, &[], "")).await;
    assert_eq!(remove(&open).await.status, 204);
    for method in ["HEAD", "DELETE"] {
        assert_eq!(world.send(tus(method, &open, &[], "")).await.status, 404, "{method}");
    }
    assert_eq!(world.send(patch(&open, "4", &[], "456789")).await.status, 404);
    assert_eq!(world.files_in("uploads"), 0);
    let file = whole.rsplit('/').next().unwrap();
    let used = world.submit(json!({"payload": {"n": 1, "input": {"file": file}}})).await;
    assert_eq!(used.status, 202, "{}", used.text());
    assert_eq!(remove(&whole).await.problem().problem_type, types::FILE_IN_USE);
    let unused = world.begin(TEXT.len()).await;
    world.send(patch(&unused, "0", &[], TEXT)).await;
    let stand_in = tus("POST", &unused, &[("x-http-method-override", "DELETE")], "");
    assert_eq!(world.send(stand_in).await.status, 204);
    assert_eq!(world.get(&file_of(&unused)).await.status, 404);
    assert_eq!((world.files_in("files"), world.get(&file_of(&whole)).await.status), (1, 200));
}

#[tokio::test]
async fn what_is_spoken_is_told_and_what_is_too_much_is_refused() {
    let limits = LimitSettings { max_unfinished_uploads: 2, ..LimitSettings::default() };
    let world = World::limited(|settings| settings.max_upload_bytes = 10, limits).await;
    let told = world.send(Request::options("/v1/uploads").body(Body::empty()).unwrap()).await;
    let names = ["tus-version", "tus-extension", "tus-max-size", "tus-checksum-algorithm"];
    let wanted = ["1.0.0", "creation,checksum,termination,expiration", "10", "sha1,sha256"];
    assert_eq!((told.status, names.map(|name| told.header(name))), (200, wanted));
    let create = async |length| world.send(tus("POST", "/v1/uploads", &[("upload-length", length)], "")).await;
    assert_eq!(create("11").await.problem().problem_type, types::TOO_LARGE);
    assert_eq!(create("0").await.problem().problem_type, types::MALFORMED_REQUEST);
    for _ in 0..2 {
        assert_eq!(create("10").await.status, 201);
    }
    assert_eq!(create("10").await.problem().problem_type, types::QUOTA_EXCEEDED);
    assert_eq!(world.files_in("uploads"), 2, "the place of the refused one stays");
    let old = Request::post("/v1/uploads").header("tus-resumable", "0.2.2").body(Body::empty()).unwrap();
    let old = world.send(old).await;
    assert_eq!((old.status, old.header("tus-version")), (412, "1.0.0"));
}
