//! A PostgreSQL of our own: real server, fsync on, own port, own data, killed and restarted at will.
//!
//! It never edits a data directory to get a server up again: after a kill it tries until the orphaned backends are gone,
//! as an operator must. Most stories take a database of the server that the process shares.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::certificates::Authority;
use crate::process::{Process, run, tail};
use crate::until::poll;
use crate::{ports, procfs, scratch};

/// A start after kill -9 takes 1.6 to 2.8 s (measured), more with a long log to replay.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
/// Of the account of a server that asks for one.
const PASSWORD: &str = "quay";

/// What differs from the defaults. Nothing here makes it less durable: what it confirms survives a kill.
const SETTINGS: [&str; 5] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "fsync=on",
    "log_min_messages=warning",
];

/// One server with its data. Dropping it stops it and removes the data.
#[derive(Debug)]
pub struct Postgres {
    // Dropped from top to bottom: the server before its directory.
    server: Mutex<Arc<Process>>,
    home: TempDir,
    port: u16,
    /// What differs from [`SETTINGS`].
    settings: Vec<String>,
    databases: AtomicU64,
}

impl Postgres {
    /// A fresh server that answers queries.
    pub async fn start() -> Result<Postgres> {
        Postgres::start_with(&[]).await
    }

    /// The same with more settings, which win, such as `fsync=off`.
    pub async fn start_with(settings: &[&str]) -> Result<Postgres> {
        let home = scratch::dir("postgres")?;
        Postgres::start_in(home, settings.iter().map(|setting| (*setting).to_owned()).collect()).await
    }

    /// One that takes no connection without TLS, with a certificate of this authority for 127.0.0.1; its only account has a password.
    /// Its URL is [`Postgres::tls_url`].
    pub async fn start_tls(authority: &Authority) -> Result<Postgres> {
        let home = scratch::dir("postgres")?;
        let issued = authority.issue(&["127.0.0.1"], home.path())?;
        std::fs::set_permissions(&issued.key, Permissions::from_mode(0o600))?;
        [&issued.cert, &issued.key].into_iter().try_for_each(|path| Account::ours()?.own(path))?;
        let file = |name: &str, path: &Path| format!("{name}={}", path.display());
        let (cert, key) = (file("ssl_cert_file", &issued.cert), file("ssl_key_file", &issued.key));
        let server = Postgres::start_in(home, vec!["ssl=on".to_owned(), cert, key]).await?;
        let client = connect(&server.url()).await?;
        client.batch_execute(&format!("ALTER ROLE longshore PASSWORD '{PASSWORD}'")).await?;
        let rule = "hostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data(server.home.path()).join("pg_hba.conf"), rule)?;
        client.batch_execute("SELECT pg_reload_conf()").await?;
        let refused = || async { connect(&server.url()).await.is_err().then_some(()) };
        poll("PostgreSQL to refuse what is not encrypted", START, refused).await?;
        Ok(server)
    }

    async fn start_in(home: TempDir, settings: Vec<String>) -> Result<Postgres> {
        let port = ports::free()?;
        Account::ours()?.own(home.path())?;
        copy(template().await?, &data(home.path())).await?;
        let server = Mutex::new(Arc::new(launch(home.path(), port, &settings).await?));
        Ok(Postgres { server, home, port, settings, databases: AtomicU64::new(0) })
    }

    /// The server that all the stories of this process share. It dies with the process.
    pub async fn shared() -> Result<&'static Postgres> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Postgres::start).await
    }

    /// The URL of a fresh, empty database.
    pub async fn database(&self) -> Result<String> {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let client = connect(&self.url()).await?;
        client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        Ok(url(self.port, &name))
    }

    /// The URL of the database every server is born with.
    pub fn url(&self) -> String {
        url(self.port, "postgres")
    }

    /// The URL of the same database over TLS, of a server that speaks it, with the host called so.
    pub fn tls_url(&self, host: &str, sslmode: &str) -> String {
        format!("postgres://longshore:{PASSWORD}@{host}:{}/postgres?sslmode={sslmode}", self.port)
    }

    /// The postmaster itself, to freeze it, thaw it or read its log. A restart replaces it.
    pub fn process(&self) -> Arc<Process> {
        Arc::clone(&self.server.lock().expect("no code panics while it holds the server"))
    }

    /// Every process that belongs to it: the postmaster and its backends.
    pub fn pids(&self) -> Vec<u32> {
        let postmaster = self.process().pid();
        [vec![postmaster], procfs::descendants(postmaster)].concat()
    }

    /// Kills the postmaster and its backends as a power cut would. What was committed is on the disk.
    pub async fn kill9(&self) -> Result<()> {
        let server = self.process();
        // The postmaster first, or it would notice a dead backend and restart the others by itself.
        server.kill_9();
        server.wait(STOP).await?;
        // A new postmaster asks whether the old one's number lives, and a zombie's does.
        server.bury();
        self.kill_backends().await
    }

    /// Until none is left, found by where they work: one that was born while the postmaster died is nobody's child, and waits for ever
    /// for a lock of the dead (seen once in a storm: no new postmaster starts while it does).
    async fn kill_backends(&self) -> Result<()> {
        let data = data(self.home.path()).canonicalize()?;
        let gone = || async {
            let left = procfs::at_work_in(&data);
            for backend in left.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
                let _ = rustix::process::kill_process(backend, Signal::KILL);
            }
            left.is_empty().then_some(())
        };
        poll("the backends to be gone", STOP, gone).await
    }

    /// Stops it in good order: connections are cut, everything is written.
    pub async fn stop(&self) -> Result<()> {
        let server = self.process();
        server.signal(Signal::INT);
        server.wait(STOP).await?;
        server.bury();
        Ok(())
    }

    /// Starts it again on the same data and port; one that still runs is stopped in good order before.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        let server = launch(self.home.path(), self.port, &self.settings).await?;
        *self.server.lock().expect("no code panics while it holds the server") = Arc::new(server);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Not SIGKILL at once: that would leave one of the machine's few shared memory segments behind for good.
        let server = self.process();
        server.signal(Signal::QUIT);
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while server.ended().is_none() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Opens a connection that lives as long as the client.
pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Starts the server until it stays: right after a kill it refuses while orphaned backends hold its shared memory.
async fn launch(home: &Path, port: u16, settings: &[String]) -> Result<Process> {
    let started = poll("PostgreSQL to start", START, || async { try_launch(home, port, settings).await.transpose() });
    started.await.with_context(|| tail(&home.join("postgres.log")))?
}

/// One start: a server that answers, or none because it gave up.
async fn try_launch(home: &Path, port: u16, settings: &[String]) -> Result<Option<Process>> {
    let server = Process::spawn_dying_of(Signal::QUIT, "postgres", postmaster(home, port, settings)?, home)?;
    let up = || async { if server.ended().is_some() { Some(false) } else { answers(port).await.then_some(true) } };
    Ok(poll("PostgreSQL to answer", START, up).await?.then_some(server))
}

fn postmaster(home: &Path, port: u16, settings: &[String]) -> Result<Command> {
    let mut command = program("postgres")?;
    command.arg("-D").arg(data(home)).args(["-p", &port.to_string()]);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting])).current_dir(home);
    command.args(settings.iter().flat_map(|setting| ["-c", setting]));
    Ok(command)
}

async fn answers(port: u16) -> bool {
    let asked =
        async { connect(&url(port, "postgres")).await?.batch_execute("SELECT 1").await.map_err(anyhow::Error::from) };
    asked.await.is_ok()
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://longshore@127.0.0.1:{port}/{database}")
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

/// A data directory that never ran. `initdb` costs seconds and its result can be copied, so it runs once per process.
async fn template() -> Result<&'static Path> {
    static TEMPLATE: OnceCell<TempDir> = OnceCell::const_new();
    let made = TEMPLATE.get_or_try_init(|| async {
        let home = scratch::dir("initdb")?;
        Account::ours()?.own(home.path())?;
        let mut command = program("initdb")?;
        command.args(["--username=longshore", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        command.arg("-D").arg(data(home.path())).current_dir(home.path());
        run("initdb", command, START).await?;
        anyhow::Ok(home)
    });
    Ok(made.await?.path())
}

async fn copy(template: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command.arg("-a").arg(data(template)).arg(to);
    run("cp", command, START).await.map(|_| ())
}

/// A program of the newest PostgreSQL installed, to be run as [`Account::ours`].
fn program(name: &str) -> Result<Command> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").context("is postgresql installed?")?;
    let versions = installed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().context("no PostgreSQL below /usr/lib/postgresql")?;
    let mut command = Command::new(format!("/usr/lib/postgresql/{newest}/bin/{name}"));
    if let Account::Other { uid, gid } = Account::ours()? {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

/// Who runs the server: PostgreSQL refuses root, so root lends it the account its package made.
#[derive(Clone, Copy)]
enum Account {
    Myself,
    Other { uid: u32, gid: u32 },
}

impl Account {
    fn ours() -> Result<Account> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account::Myself);
        }
        let accounts = std::fs::read_to_string("/etc/passwd")?;
        let postgres = accounts.lines().find(|line| line.starts_with("postgres:")).context("no account `postgres`")?;
        let mut numbers = postgres.split(':').skip(2).map(str::parse);
        let (Some(Ok(uid)), Some(Ok(gid))) = (numbers.next(), numbers.next()) else {
            bail!("the account `postgres` has no numbers in /etc/passwd");
        };
        Ok(Account::Other { uid, gid })
    }

    fn own(self, dir: &Path) -> Result<()> {
        match self {
            Account::Myself => Ok(()),
            Account::Other { uid, gid } => Ok(std::os::unix::fs::chown(dir, Some(uid), Some(gid))?),
        }
    }
}
