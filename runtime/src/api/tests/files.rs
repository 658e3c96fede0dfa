//! Uploads and downloads.

use longshore_sdk::Source;
use longshore_sdk::api::FileView;
use longshore_sdk::api::problem as types;

use super::*;

const TEXT: &str = "0123456789";

/// A completed job whose output is [`TEXT`], and its address.
async fn download(world: &World) -> String {
    let job = world.accepted().await;
    let path = world.directory.path().join("out");
    std::fs::write(&path, TEXT).unwrap();
    let stored = world.storage.stage_artifact(job, 1, "out.html", &path).await.unwrap();
    let address = format!("/v1/jobs/{job}/artifacts/out.html");
    assert_eq!(world.get(&address).await.status, 404, "staged is not published");
    let (bytes, sha256) = (stored.bytes, stored.sha256);
    let artifact = Artifact { name: "out.html".into(), content_type: "text/html".into(), bytes, sha256 };
    world.complete(job, vec![artifact]).await;
    address
}

#[tokio::test]
async fn an_upload_is_kept_shown_and_an_input() {
    let world = World::new().await;
    let reply = world.post("/v1/files?name=..%2Fa%20b.txt", TEXT).await;
    let file: FileView = reply.json();
    assert_eq!((reply.status, reply.header("location")), (201, format!("/v1/files/{}", file.id).as_str()));
    assert_eq!((file.name.as_str(), file.bytes), ("../a b.txt", 10));
    assert_eq!(world.get(reply.header("location")).await.json::<FileView>(), file);
    let input = world
        .storage
        .fetch_to(&crate::tenant::Tenant::default(), &Source::file(file.id), world.directory.path())
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(input.path).unwrap(), TEXT);
}

#[tokio::test]
async fn an_upload_that_is_empty_or_too_large_leaves_nothing() {
    let world = World::with(|settings| settings.max_upload_bytes = 10).await;
    assert_eq!(world.post("/v1/files", "").await.problem().problem_type, types::MALFORMED_REQUEST);
    assert_eq!(world.post("/v1/files", "0123456789a").await.problem().problem_type, types::TOO_LARGE);
    let untold = Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("012345"), Ok("6789a")]));
    assert_eq!(world.post("/v1/files", untold).await.problem().problem_type, types::TOO_LARGE);
    let kept = std::fs::read_dir(world.directory.path().join("storage/files")).unwrap();
    assert_eq!(kept.count(), 0);
    assert_eq!(world.post("/v1/files", TEXT).await.status, 201);
}

#[tokio::test]
async fn an_upload_that_stops_coming_is_given_up() {
    use futures_util::StreamExt;
    let world = World::with(|settings| settings.body_idle = Duration::from_millis(20)).await;
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>("012345")]);
    let stuck = Body::from_stream(first.chain(futures_util::stream::pending()));
    assert_eq!(world.post("/v1/files", stuck).await.problem().problem_type, types::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_file_that_is_none_is_not_found() {
    let world = World::new().await;
    for id in [Uuid::now_v7().to_string(), "x".into()] {
        assert_eq!(world.get(&format!("/v1/files/{id}")).await.problem().status, 404);
    }
}

#[tokio::test]
async fn an_artifact_is_saved_and_never_shown_by_a_browser() {
    let world = World::new().await;
    let reply = world.get(&download(&world).await).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, TEXT));
    let told = ["content-length", "content-type", "content-disposition", "x-content-type-options", "accept-ranges"];
    let told = told.map(|name| reply.header(name));
    assert_eq!(told, ["10", "text/html", "attachment; filename=\"out.html\"", "nosniff", "bytes"]);
    assert!(reply.header("content-security-policy").starts_with("sandbox"));
}

#[tokio::test]
async fn a_part_of_an_artifact_can_be_had() {
    let world = World::new().await;
    let address = download(&world).await;
    let part = world.get_with(&address, ("range", "bytes=2-4")).await;
    assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (206, "234", "bytes 2-4/10"));
    assert_eq!(part.header("content-length"), "3");
    let past = world.get_with(&address, ("range", "bytes=10-")).await;
    assert_eq!((past.problem().status, past.header("content-range")), (416, "bytes */10"));
}

#[tokio::test]
async fn a_part_of_another_version_is_not_glued_to_the_rest() {
    let world = World::new().await;
    let address = download(&world).await;
    let request = |tag: &str| {
        Request::get(&address).header("range", "bytes=2-4").header("if-range", tag).body(Body::empty()).unwrap()
    };
    let tag = world.get(&address).await.header("etag").to_owned();
    assert_eq!(world.send(request(&tag)).await.status, 206);
    assert_eq!(world.send(request("\"other\"")).await.status, 200);
    assert_eq!(world.get_with(&address, ("if-none-match", &tag)).await.status, 304);
}

#[tokio::test]
async fn a_head_tells_the_size_without_the_bytes() {
    let world = World::new().await;
    let address = download(&world).await;
    let reply = world.send(Request::head(&address).body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status, reply.header("content-length"), reply.body.len()), (200, "10", 0));
}

#[tokio::test]
async fn no_spelling_of_a_name_leads_out_of_the_job() {
    let world = World::new().await;
    let address = download(&world).await;
    let job = address.trim_end_matches("out.html");
    for name in ["other", "..%2Fout.html", "%2e%2e%2f1%2fout.html", "..", "out.html%00", "%ff", ".hidden"] {
        assert_eq!(world.get(&format!("{job}{name}")).await.problem().status, 404, "{name}");
    }
}
