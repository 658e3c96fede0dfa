//! What the stories take for granted about the wire.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::proxy::Proxy;
use longshore_tests::until::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::SOON;

/// A server that says everything back, and the proxy before it.
async fn echo() -> Result<Proxy> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("echo://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Proxy::before(&url).await
}

async fn call(proxy: &Proxy) -> std::io::Result<TcpStream> {
    TcpStream::connect(proxy.url().trim_start_matches("echo://").trim_end_matches('/')).await
}

async fn says_back(stream: &mut TcpStream, what: &[u8]) -> Result<()> {
    stream.write_all(what).await?;
    let mut said = vec![0; what.len()];
    timeout(SOON, stream.read_exact(&mut said)).await??;
    ensure!(said == what, "the wire changed the bytes");
    Ok(())
}

#[tokio::test]
async fn bytes_pass_unchanged_until_the_wire_is_cut() -> Result<()> {
    let proxy = echo().await?;
    let mut stream = call(&proxy).await?;
    says_back(&mut stream, &[7; 100_000]).await?;
    proxy.cut();
    let error = timeout(SOON, stream.read_u8()).await?.expect_err("a cut wire carries nothing");
    ensure!(error.kind() == ErrorKind::ConnectionReset, "cut, not closed in good order: {error}");
    says_back(&mut call(&proxy).await?, b"a new one gets through").await
}

#[tokio::test]
async fn a_refusing_proxy_lets_nobody_in_and_keeps_who_is_there() -> Result<()> {
    let proxy = echo().await?;
    let mut stream = call(&proxy).await?;
    says_back(&mut stream, b"in").await?;
    proxy.refuse(true).await?;
    let error = call(&proxy).await.expect_err("nobody listens");
    ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
    says_back(&mut stream, b"still in").await?;
    proxy.refuse(false).await?;
    says_back(&mut call(&proxy).await?, b"in again").await
}

#[tokio::test]
async fn a_paused_wire_holds_the_bytes_and_loses_none() -> Result<()> {
    let proxy = echo().await?;
    let mut stream = call(&proxy).await?;
    proxy.pause();
    stream.write_all(b"held").await?;
    let mut said = [0; 4];
    let held = timeout(Duration::from_millis(200), stream.read_exact(&mut said)).await;
    ensure!(held.is_err(), "a paused wire carried {held:?}");
    proxy.resume();
    timeout(SOON, stream.read_exact(&mut said)).await??;
    ensure!(&said == b"held", "the wire changed the bytes");
    Ok(())
}

#[tokio::test]
async fn a_delay_counts_there_and_back() -> Result<()> {
    let proxy = echo().await?;
    let mut stream = call(&proxy).await?;
    proxy.delay(Duration::from_millis(100));
    let asked = Instant::now();
    says_back(&mut stream, b"slow").await?;
    ensure!(asked.elapsed() >= Duration::from_millis(200), "it took {:?}", asked.elapsed());
    Ok(())
}

#[tokio::test]
async fn an_orderly_end_passes_through_and_connections_are_counted() -> Result<()> {
    let proxy = echo().await?;
    let mut stream = call(&proxy).await?;
    stream.write_all(b"last words").await?;
    stream.shutdown().await?;
    let mut said = Vec::new();
    timeout(SOON, stream.read_to_end(&mut said)).await?.context("a reset instead of an end")?;
    ensure!(said == b"last words", "the end overtook the bytes");
    until("the connection to end", SOON, || async { (proxy.connections() == 0).then_some(()) }).await;
    Ok(())
}

#[tokio::test]
async fn a_throttled_wire_lets_the_bytes_through_by_drips_and_loses_none() -> Result<()> {
    let proxy = echo().await?;
    let mut stream = call(&proxy).await?;
    proxy.throttle(10_000);
    let began = Instant::now();
    says_back(&mut stream, &[7; 2_000]).await?;
    ensure!(began.elapsed() >= Duration::from_millis(190), "2,000 bytes at 10,000 a second took {:?}", began.elapsed());
    proxy.throttle(0);
    says_back(&mut stream, &[8; 100_000]).await
}
