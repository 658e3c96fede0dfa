//! Where a webhook may not go, in a network of the story's own (`unshare --net --mount`), where private, metadata and public addresses
//! are real ones that somebody listens at: none but the public are even connected to. A machine on which no such network can be made
//! fails the story: a guard that was not tried is no guard.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use longshore_tests::http::Http;
use longshore_tests::longshore::{Longshore, Ready};
use longshore_tests::names::Names;
use longshore_tests::stage::PATIENCE;
use longshore_tests::until::poll;
use longshore_tests::{longshore, scratch};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Machines that are not for everybody: private, this machine, metadata of clouds, unique local.
const INSIDE: [&str; 5] = ["10.1.2.3", "127.0.0.1", "169.254.169.254", "fd00::1", "192.168.7.7"];
/// Machines that look like the internet's.
const OUTSIDE: [&str; 2] = ["93.184.216.34", "2606:2800:220:1::1"];
const PORT: u16 = 8080;
/// What the story's names lead to.
const HOSTS: &str = "127.0.0.1 localhost\n10.1.2.3 private.example\n169.254.169.254 metadata.example\n127.0.0.1 loop.example\n\
     ::ffff:10.1.2.3 mapped.example\nfd00::1 local.example\n93.184.216.34 mixed.example\n10.1.2.3 mixed.example\n\
     93.184.216.34 public.example\n2606:2800:220:1::1 public-six.example\n";
/// Who is asked for all other names.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
const GOOD: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);

/// Somebody who listens, counts who comes, and answers as a redirect to the metadata would or as a receiver does.
struct Ear {
    address: IpAddr,
    came: Arc<AtomicUsize>,
}

impl Ear {
    async fn at(address: &str) -> Result<Self> {
        let (address, came): (IpAddr, Arc<AtomicUsize>) = (address.parse()?, Arc::default());
        let listener = TcpListener::bind(SocketAddr::from((address, PORT))).await?;
        let counted = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream));
            }
        });
        let ear = Self { address, came };
        // It can be reached, so that nobody comes only because nobody tries.
        let mut stream = TcpStream::connect((ear.address, PORT)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        ensure!(stream.read(&mut [0; 1]).await? == 1);
        ear.came.store(0, Ordering::SeqCst);
        Ok(ear)
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

async fn answer(mut stream: TcpStream) -> Result<()> {
    let mut head = vec![];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut head).await? > 0);
    }
    let away = head.starts_with(b"POST /away ");
    let reply: &[u8] = if away {
        b"HTTP/1.1 307 Away\r\nlocation: http://169.254.169.254:8080/latest/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    } else {
        b"HTTP/1.1 204 Told\r\nconnection: close\r\n\r\n"
    };
    Ok(stream.write_all(reply).await?)
}

/// Starts what it is given with a network and names of its own.
fn walled_in(dir: &Path) -> Result<PathBuf> {
    std::fs::write(dir.join("hosts"), HOSTS)?;
    std::fs::write(dir.join("resolv.conf"), format!("nameserver {}\n", SERVER.ip()))?;
    let addresses = INSIDE.iter().chain(&OUTSIDE).filter(|address| **address != "127.0.0.1");
    let adds: Vec<String> = addresses.map(|address| format!("ip addr add {address} dev lo")).collect();
    let (dir_of_names, longshore) = (dir.display(), longshore::binary()?);
    // The new mount table is private, so the files are laid over for this process alone.
    let inner = format!(
        "ip link set lo up && {} && mount --bind {dir_of_names}/hosts /etc/hosts && \
         mount --bind {dir_of_names}/resolv.conf /etc/resolv.conf && exec {} \"$@\"",
        adds.join(" && "),
        longshore.display()
    );
    let script = dir.join("walled-in");
    let text = format!("#!/bin/sh\nexec unshare --net --mount -- sh -c '{inner}' longshore \"$@\"\n");
    File::create(&script)?.write_all(text.as_bytes())?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// Moves this thread into the network of that process, which is not ours.
fn enter_network_of(pid: u32) -> Result<()> {
    let (theirs, ours) = (format!("/proc/{pid}/ns/net"), "/proc/thread-self/ns/net");
    let apart = std::fs::read_link(&theirs)? != std::fs::read_link(ours)?;
    ensure!(apart, "the server is in this machine's own network");
    let network = File::open(&theirs)?;
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

#[test]
fn no_webhook_leads_inside_whatever_its_address_says() -> Result<()> {
    // A thread is in one network, and every socket of this runtime is of this thread.
    let story = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(story())
    });
    story.join().expect("the story ends by itself")
}

async fn story() -> Result<()> {
    let dir = scratch::dir("walls")?;
    let launch = Longshore::dev(&dir.path().join("data"))?.binary(&walled_in(dir.path())?);
    let launch = launch.env("LONGSHORE_WEBHOOKS_ALLOW_HTTP", "true").env("LONGSHORE_WEBHOOKS_SCHEDULE", "600");
    let started = launch.ready(Ready::Says("working".to_owned())).start().await;
    let dev = started.context(
        "this story needs a network of its own: root (CAP_SYS_ADMIN and CAP_NET_ADMIN), unshare and ip (util-linux, iproute2)",
    )?;
    enter_network_of(dev.process().pid())?;
    let http = dev.http()?;
    let (mut inside, mut outside) = (vec![], vec![]);
    for address in INSIDE {
        inside.push(Ear::at(address).await?);
    }
    for address in OUTSIDE {
        outside.push(Ear::at(address).await?);
    }
    addresses_are_refused_when_they_are_given(&http).await?;
    names_are_refused_when_they_are_resolved(&http).await?;
    ensure!(outside.iter().all(|ear| ear.came() == 0), "a name that leads outside and inside leads nowhere");
    for (host, ear) in ["public.example", "[2606:2800:220:1::1]", "public-six.example"].iter().zip([0, 1, 1]) {
        let before = outside[ear].came();
        let told = try_of(&http, &format!("http://{host}:{PORT}/hook")).await?;
        assert_eq!((&told["status"], outside[ear].came()), (&json!(204), before + 1), "{host}: {told}");
    }
    a_name_that_changes_is_believed_once(&http, &outside[0]).await?;
    let told = try_of(&http, &format!("http://public.example:{PORT}/away")).await?;
    assert_eq!(told["error"], "the receiver answered 307; redirects are not followed");
    let visited: Vec<_> = inside.iter().filter(|ear| ear.came() > 0).map(|ear| ear.address).collect();
    ensure!(visited.is_empty(), "somebody came to {visited:?}");
    Ok(())
}

async fn addresses_are_refused_when_they_are_given(http: &Http) -> Result<()> {
    let inside = INSIDE.map(|address| if address.contains(':') { format!("[{address}]") } else { address.to_owned() });
    let written = [
        "[::ffff:10.1.2.3]",
        "[::ffff:a9fe:a9fe]",
        "[::1]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "127.1",
    ];
    for host in inside.iter().map(String::as_str).chain(written).chain(["localhost", "a.localhost."]) {
        let request = json!({"url": format!("http://{host}:{PORT}/")});
        let problem = http.post("/v1/webhooks", &request).await?.expect(422).context(host.to_owned())?.json()?;
        assert_eq!(problem["errors"][0]["pointer"], "/url", "{problem}");
    }
    Ok(())
}

async fn names_are_refused_when_they_are_resolved(http: &Http) -> Result<()> {
    for name in ["private", "metadata", "loop", "mapped", "local", "mixed"] {
        let told = try_of(http, &format!("http://{name}.example:{PORT}/hook")).await?;
        let error = told["error"].as_str().context("it failed")?;
        let refused = error.starts_with("its name leads to ") && error.contains("which is no public address");
        ensure!(refused && told.get("status").is_none(), "{name}: {told}");
    }
    Ok(())
}

/// Where a name leads may change at any moment: what was judged is what is connected to. Who asked once more would be led inside, which
/// the ears there would hear.
async fn a_name_that_changes_is_believed_once(http: &Http, good: &Ear) -> Result<()> {
    let script = |name: &str, nth: usize| match (name, nth % 2) {
        ("flap.example", 0) => vec![GOOD],
        ("flap.example", _) => vec![PRIVATE],
        ("both.example", _) => vec![GOOD, PRIVATE],
        ("other-way.example", _) => vec![PRIVATE, GOOD],
        _ => vec![],
    };
    let (names, before) = (Names::serve(SERVER, script).await?, good.came());
    for asked in 1..=4 {
        let told = try_of(http, &format!("http://flap.example:{PORT}/hook")).await?;
        let error = told["error"].as_str().unwrap_or_default();
        match asked % 2 {
            1 => assert_eq!(told["status"], 204, "{told}"),
            _ => ensure!(error.starts_with("its name leads to 10.1.2.3, which is no public address"), "{told}"),
        }
        assert_eq!(names.asked("flap.example"), asked, "a name is resolved once a connection");
    }
    assert_eq!(good.came(), before + 2);
    for name in ["both.example", "other-way.example"] {
        let told = try_of(http, &format!("http://{name}:{PORT}/hook")).await?;
        ensure!(told["error"].as_str().is_some_and(|error| error.starts_with("its name leads to 10.1.2.3")), "{told}");
    }
    assert_eq!(good.came(), before + 2, "one bad address is reason enough");
    Ok(())
}

/// The first try of a test event to this address.
async fn try_of(http: &Http, url: &str) -> Result<Value> {
    let made = http.post("/v1/webhooks", &json!({"url": url})).await?.expect(201)?.json()?;
    let id = made["id"].as_str().context("no id")?;
    http.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await?.expect(202)?;
    let path = format!("/v1/webhooks/{id}/deliveries");
    let tried = || async {
        let page = http.get(&path).await.ok()?.json().ok()?;
        Some(page["deliveries"][0]["tries"][0].clone()).filter(Value::is_object)
    };
    poll(&format!("a try to reach {url}"), PATIENCE, tried).await
}
