//! Kinds, health, files, addresses and limits, against a server that answers from a script.
//! The promise is not tested here; read [`super`] for that.

use super::*;

#[tokio::test]
async fn kinds_are_listed_and_health_says_why_not() {
    let kinds = r#"{"kinds":[{"kind":"demo.greet","payload_schema":{},"output_schema":{},"policy":{},"workers":2}]}"#;
    let sick = Step::Answer(503, "text/plain", "the ledger does not answer".into());
    let well = Step::Answer(200, "text/plain", "ok".into());
    let server = Server::with(vec![Step::Answer(200, JSON, kinds.into()), well, sick]).await;
    let client = client(&server);
    let kinds = client.kinds().await.unwrap();
    assert_eq!((kinds[0].kind.as_str(), kinds[0].workers), ("demo.greet", 2));
    client.health().await.unwrap();
    assert!(client.health().await.unwrap_err().to_string().contains("the ledger does not answer"));
}

#[tokio::test]
async fn queues_and_workers_are_listed_also_while_the_broker_is_away() {
    let queues = r#"{"queues":[{"kind":"demo.greet","waiting":3,"running":1,"dead_letters":2}]}"#;
    let workers = r#"{"workers":[{"id":"w1","host":"h","kinds":["demo.greet"],"slots":4,"busy":1,"draining":true,
        "started_at":"2026-01-02T03:04:05Z","lease_age_seconds":60.5,"lease_left_seconds":9}]}"#;
    let answers = [queues, workers].map(|body| Step::Answer(200, JSON, body.into()));
    let server = Server::with(answers.into()).await;
    let queue = client(&server).queues().await.unwrap().remove(0);
    assert_eq!((queue.ready, queue.consumers, queue.waiting, queue.dead_letters), (None, None, 3, 2));
    let worker = client(&server).workers().await.unwrap().remove(0);
    assert_eq!((worker.busy, worker.draining, worker.lease_age_seconds), (1, true, 60.5));
    assert_eq!(server.lines(), ["GET /v1/queues", "GET /v1/workers"]);
}

#[tokio::test]
async fn a_redirect_is_not_followed_but_named() {
    let moved = Step::Raw("HTTP/1.1 301 Moved\r\nlocation: https://elsewhere.example\r\ncontent-length: 0\r\n\r\n");
    let server = Server::with(vec![moved]).await;
    let error = client(&server).job(id()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol(text) if text.contains("https://elsewhere.example")), "{error:?}");
}

#[tokio::test]
async fn an_answer_past_its_limits_is_not_read() {
    let server = Server::with(vec![view("running", ""), view("running", ""), Step::Silence]).await;
    let strict = client(&server).with_max_answer_bytes(100);
    let error = strict.job(id()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol(text) if text.contains("more than 100 bytes")), "{error:?}");
    strict.with_max_answer_bytes(1000).job(id()).await.unwrap();
    let hasty = client(&server).with_call_timeout(Duration::from_millis(50));
    let error = hasty.job(id()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
}

#[test]
fn an_address_or_key_that_cannot_work_is_refused_at_once() {
    for address in ["jobs.example.org", "ftp://jobs.example.org", "", "mailto:a@b"] {
        assert!(matches!(Client::new(address), Err(ClientError::Protocol(_))), "{address}");
    }
    assert!(Client::new("https://jobs.example.org").unwrap().with_api_key("two\nlines").is_err());
}

#[tokio::test]
async fn https_speaks_tls_from_the_first_byte() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let hears = async {
        let mut first = [0; 1];
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
        first[0]
    };
    let (answer, first) = tokio::join!(client.job(id()), hears);
    assert_eq!(first, 0x16, "no TLS handshake record");
    assert!(matches!(answer, Err(ClientError::Unreachable(_))), "{answer:?}");
}

#[tokio::test]
async fn a_server_may_live_below_a_path() {
    let server = Server::with(vec![view("running", ""), view("running", "")]).await;
    for base in ["/longshore", "/longshore/"] {
        Client::new(&(server.url() + base)).unwrap().job(id()).await.unwrap();
    }
    let line = format!("GET /longshore/v1/jobs/{ID}");
    assert_eq!(server.lines(), [line.clone(), line]);
}

#[tokio::test]
async fn a_file_is_uploaded_with_its_name_and_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my photo&.jpg");
    std::fs::write(&path, "0123456789").unwrap();
    let stored = r#"{"id":"f1","name":"my photo&.jpg","bytes":10,"sha256":"00","content_type":"image/jpeg"}"#;
    let server = Server::with(vec![Step::Answer(201, JSON, stored.into())]).await;
    assert_eq!(client(&server).upload(&path).await.unwrap().id, "f1");
    let request = server.seen().remove(0);
    assert_eq!((request.line.as_str(), request.body.as_str()), ("POST /v1/files?name=my+photo%26.jpg", "0123456789"));
    assert!(request.head.contains("content-type: application/octet-stream"), "{}", request.head);
    assert!(!request.head.contains("transfer-encoding"), "{}", request.head);
    let none = client(&server).upload(directory.path().join("none")).await.unwrap_err();
    assert!(matches!(&none, ClientError::File { path, .. } if path.ends_with("none")), "{none:?}");
}

#[tokio::test]
async fn a_download_is_there_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("card.txt");
    let cut = Step::Raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012");
    let missing = refusal(404, problem::NOT_FOUND, "");
    let server = Server::with(vec![cut, missing, Step::Answer(200, "text/plain", "hello".into())]).await;
    let client = client(&server);
    let error = client.download(id(), "card.txt", &to).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
    assert!(matches!(client.download(id(), "card.txt", &to).await, Err(ClientError::Problem(_))));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(client.download(id(), "card.txt", &to).await.unwrap(), 5);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "hello");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(server.lines()[2], format!("GET /v1/jobs/{ID}/artifacts/card.txt"));
}
