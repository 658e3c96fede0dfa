//! A RabbitMQ of our own: real broker, own ports, own data, own epmd, killed and restarted at will.
//!
//! It never touches a broker of the system and leaves no epmd behind. Most stories take a virtual host of the broker that
//! the process shares; only a story that harms its broker starts its own, for that takes seconds.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::certificates::Authority;
use crate::process::{Process, run};
use crate::until::poll;
use crate::{ports, procfs, scratch};

/// A boot takes 4 s on a quiet machine and 14 s beside another one under load (measured); a busy CI may need more.
const BOOT: Duration = Duration::from_secs(120);
/// `rabbitmqctl` starts an Erlang machine of its own: a second when all is quiet.
const CTL: Duration = Duration::from_secs(60);
/// A graceful stop takes about a second.
const STOP: Duration = Duration::from_secs(60);
/// Virtual hosts are made by the batch, because the call costs a second and the host itself next to nothing.
const VHOSTS_PER_CALL: usize = 8;

/// One broker with its data. Dropping it kills it and removes the data.
#[derive(Debug)]
pub struct RabbitMq {
    // Dropped from top to bottom: the broker before its epmd, both before their directory.
    broker: Mutex<Arc<Process>>,
    epmd: Arc<Process>,
    home: TempDir,
    ports: Ports,
    scripts: PathBuf,
    vhosts: tokio::sync::Mutex<Vhosts>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    /// For Erlang's own protocol; the default, the AMQP port plus 20000, may not be a port at all.
    dist: u16,
    epmd: u16,
    /// Where it speaks TLS; then nowhere else.
    tls: Option<u16>,
}

impl Ports {
    fn free(epmd: u16) -> Result<Ports> {
        Ok(Ports { amqp: ports::free()?, dist: ports::free()?, epmd, tls: None })
    }
}

#[derive(Debug, Default)]
struct Vhosts {
    made: usize,
    ready: Vec<String>,
}

impl RabbitMq {
    /// A broker with the configuration that production would have, and its AMQP port answering.
    pub async fn start() -> Result<RabbitMq> {
        RabbitMq::start_with("").await
    }

    /// The same with more lines for its `rabbitmq.conf`.
    pub async fn start_with(config: &str) -> Result<RabbitMq> {
        let (home, port) = (scratch::dir("rabbitmq")?, ports::free()?);
        let epmd = Arc::new(epmd(home.path(), port).await?);
        RabbitMq::start_under(epmd, port, home, config).await
    }

    /// One that speaks TLS and nothing else, with a certificate of this authority for 127.0.0.1. Its URL is [`RabbitMq::tls_url`].
    pub async fn start_tls(authority: &Authority) -> Result<RabbitMq> {
        let (home, port, tls) = (scratch::dir("rabbitmq")?, ports::free()?, ports::free()?);
        let issued = authority.issue(&["127.0.0.1"], home.path())?;
        let ca = authority.write(home.path())?;
        // Of two settings of the plain listeners the later wins.
        let config = format!(
            "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{tls}\nssl_options.verify = verify_none\n\
             ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}",
            ca.display(),
            issued.cert.display(),
            issued.key.display()
        );
        let epmd = Arc::new(epmd(home.path(), port).await?);
        RabbitMq::start_at(epmd, Ports { tls: Some(tls), ..Ports::free(port)? }, home, &config).await
    }

    /// One more node of this broker's cluster. A quorum queue has members on the nodes that are there when it is declared.
    pub async fn start_beside(&self) -> Result<RabbitMq> {
        let home = scratch::dir("rabbitmq")?;
        let node = RabbitMq::start_under(Arc::clone(&self.epmd), self.ports.epmd, home, "").await?;
        node.ctl(&["stop_app"]).await?;
        node.ctl(&["join_cluster", &self.node()]).await?;
        node.ctl(&["start_app"]).await?;
        Ok(node)
    }

    async fn start_under(epmd: Arc<Process>, port: u16, home: TempDir, config: &str) -> Result<RabbitMq> {
        RabbitMq::start_at(epmd, Ports::free(port)?, home, config).await
    }

    async fn start_at(epmd: Arc<Process>, ports: Ports, home: TempDir, config: &str) -> Result<RabbitMq> {
        let scripts = scripts()?;
        write_files(home.path(), &ports, config)?;
        let broker = boot(&scripts, home.path(), &ports).await?;
        Ok(RabbitMq { broker: Mutex::new(Arc::new(broker)), epmd, home, ports, scripts, vhosts: Default::default() })
    }

    /// The broker that all the stories of this process share. It dies with the process.
    pub async fn shared() -> Result<&'static RabbitMq> {
        static SHARED: OnceCell<RabbitMq> = OnceCell::const_new();
        SHARED.get_or_try_init(RabbitMq::start).await
    }

    /// The URL of a fresh virtual host, as good as a broker of one's own as long as nobody harms the broker.
    pub async fn vhost(&self) -> Result<String> {
        let mut vhosts = self.vhosts.lock().await;
        if vhosts.ready.is_empty() {
            let numbers = vhosts.made + 1..=vhosts.made + VHOSTS_PER_CALL;
            vhosts.made += VHOSTS_PER_CALL;
            vhosts.ready = numbers.rev().map(|number| format!("v{number}")).collect();
            self.ctl(&["eval", &make_vhosts(&vhosts.ready)]).await?;
        }
        let vhost = vhosts.ready.pop().context("a batch holds more than none")?;
        Ok(format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.ports.amqp))
    }

    /// The URL of the default virtual host.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports.amqp)
    }

    /// The URL of the default virtual host over TLS, and the port; of a broker that speaks it.
    pub fn tls_url(&self) -> Result<(String, u16)> {
        let port = self.ports.tls.context("it does not speak TLS")?;
        Ok((format!("amqps://guest:guest@127.0.0.1:{port}/%2f"), port))
    }

    /// What it is called within its cluster.
    pub fn node(&self) -> String {
        node_name(&self.ports)
    }

    /// The running broker itself, to freeze it, thaw it or read its log. A restart replaces it.
    pub fn process(&self) -> Arc<Process> {
        Arc::clone(&self.broker.lock().expect("no code panics while it holds the broker"))
    }

    /// Every process that belongs to it: the broker, its port programs and its epmd.
    pub fn pids(&self) -> Vec<u32> {
        let broker = self.process().pid();
        [vec![broker, self.epmd.pid()], procfs::descendants(broker)].concat()
    }

    /// Waits until a fresh quorum queue would survive a kill, which is not yet when it has been declared.
    ///
    /// RabbitMQ 3.10 keeps the entry of a new queue in `names.dets` in memory for up to three seconds. Killed before that, it
    /// comes back with a queue that has lost what was *confirmed* and never elects a leader (measured): gets and publishes
    /// run into timeouts for ever.
    pub async fn remembers(&self, queue: &str) -> Result<()> {
        let node = node_name(&self.ports);
        let names = self.home.path().join("mnesia").join(&node).join("quorum").join(&node).join("names.dets");
        let entry = format!("_{queue}").into_bytes();
        let written = || async {
            let bytes = tokio::fs::read(&names).await.unwrap_or_default();
            bytes.windows(entry.len()).any(|here| here == entry).then_some(())
        };
        poll(&format!("{queue} in {}", names.display()), Duration::from_secs(30), written).await
    }

    /// Kills the broker as a power cut would. Gone when this returns; what was confirmed is on the disk.
    pub async fn kill9(&self) -> Result<()> {
        let broker = self.process();
        broker.kill_9();
        broker.wait(STOP).await.map(|_| ())
    }

    /// Starts it again on the same data and ports; one that still runs is stopped in good order before.
    pub async fn restart(&self) -> Result<()> {
        let old = self.process();
        old.sigterm();
        old.wait(STOP).await?;
        let new = boot(&self.scripts, self.home.path(), &self.ports).await?;
        *self.broker.lock().expect("no code panics while it holds the broker") = Arc::new(new);
        Ok(())
    }

    /// Kills it, throws all its data away and starts it again: queues, messages and virtual hosts are gone.
    pub async fn wipe_and_restart(&self) -> Result<()> {
        self.kill9().await?;
        tokio::fs::remove_dir_all(self.home.path().join("mnesia")).await?;
        *self.vhosts.lock().await = Vhosts::default();
        self.restart().await
    }

    /// Runs `rabbitmqctl` against this broker and returns what it printed.
    pub async fn ctl(&self, args: &[&str]) -> Result<String> {
        let mut command = erlang(&self.scripts.join("rabbitmqctl"), self.home.path(), &self.ports);
        command.arg("--quiet").args(args);
        run("rabbitmqctl", command, CTL).await
    }
}

/// The scripts beside the server, not the wrappers in /usr/sbin: those change the user and with it the cookie.
fn scripts() -> Result<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/rabbitmq/lib").context("is rabbitmq-server installed?")?;
    let mut found: Vec<PathBuf> = installed.flatten().map(|entry| entry.path().join("sbin")).collect();
    found.retain(|sbin| sbin.join("rabbitmq-server").exists());
    found.sort();
    found.pop().context("no rabbitmq-server below /usr/lib/rabbitmq/lib")
}

fn write_files(home: &Path, ports: &Ports, config: &str) -> Result<()> {
    let conf = format!(
        "listeners.tcp.1 = 127.0.0.1:{}\nlog.console = true\nlog.console.level = warning\nlog.file = false\n{config}\n",
        ports.amqp
    );
    let files = [
        ("rabbitmq.conf", conf.as_str()),
        ("advanced.config", "[]."),
        ("enabled_plugins", "[]."),
        ("env", ""),
        (".erlang.cookie", "longshoreworld"),
    ];
    for (name, text) in files {
        std::fs::write(home.join(name), text)?;
    }
    // Erlang refuses a cookie that others can read.
    Ok(std::fs::set_permissions(home.join(".erlang.cookie"), Permissions::from_mode(0o400))?)
}

/// Our own epmd in the foreground. Without it the first node starts one as a daemon, shared with the whole machine,
/// and that one outlives everybody.
async fn epmd(home: &Path, port: u16) -> Result<Process> {
    let mut command = Command::new("epmd");
    command.args(["-address", "127.0.0.1", "-port", &port.to_string()]).current_dir(home);
    let epmd = Process::spawn("epmd", command, home)?;
    let answers = || async { TcpStream::connect(("127.0.0.1", port)).await.ok() };
    poll("epmd", Duration::from_secs(20), answers).await.with_context(|| epmd.log_tail())?;
    Ok(epmd)
}

async fn boot(scripts: &Path, home: &Path, ports: &Ports) -> Result<Process> {
    let broker = Process::spawn("rabbitmq", server(scripts, home, ports), home)?;
    // The scripts exit with 0 even when the boot failed, so the port is asked and the exit only ends the wait early.
    let booted = || async { if broker.ended().is_some() { Some(false) } else { is_up(ports).await.then_some(true) } };
    match poll("RabbitMQ to answer", BOOT, booted).await.with_context(|| broker.log_tail())? {
        true => Ok(broker),
        false => bail!("RabbitMQ ended while it booted; {}", broker.log_tail()),
    }
}

/// The server script execs its way to `beam.smp` when input is allowed, so that our child *is* the broker: a kill hits it and
/// not a shell, and the death signal survives. The first two flags take the shell and the break handler away again.
fn server(scripts: &Path, home: &Path, ports: &Ports) -> Command {
    let mut command = erlang(&scripts.join("rabbitmq-server"), home, ports);
    command.env("RABBITMQ_ALLOW_INPUT", "1");
    command.env("RABBITMQ_SERVER_START_ARGS", "-noinput +B i -kernel inet_dist_use_interface {127,0,0,1}");
    for (name, file) in [
        ("RABBITMQ_MNESIA_BASE", "mnesia"),
        ("RABBITMQ_LOG_BASE", "log"),
        ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ("RABBITMQ_PID_FILE", "pid"),
        ("ERL_CRASH_DUMP", "erl_crash.dump"),
    ] {
        command.env(name, home.join(file));
    }
    command
}

fn node_name(ports: &Ports) -> String {
    format!("t{}@localhost", ports.amqp)
}

/// What the server and `rabbitmqctl` must agree on to find each other, and nothing from outside that could confuse them.
fn erlang(script: &Path, home: &Path, ports: &Ports) -> Command {
    let mut command = Command::new(script);
    command.env_clear().envs(std::env::vars().filter(|(name, _)| name == "PATH")).current_dir(home);
    command.env("HOME", home).env("LANG", "C.UTF-8").env("RABBITMQ_CONF_ENV_FILE", home.join("env"));
    command.env("RABBITMQ_NODENAME", node_name(ports));
    command.env("RABBITMQ_NODE_PORT", ports.amqp.to_string()).env("RABBITMQ_DIST_PORT", ports.dist.to_string());
    command.env("ERL_EPMD_PORT", ports.epmd.to_string());
    command
}

async fn is_up(ports: &Ports) -> bool {
    match ports.tls {
        // Who asks has to shake hands first; that the port is open means that all else has been started before it.
        Some(port) => TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
        None => speaks_amqp(ports.amqp).await,
    }
}

/// An open port alone could be anybody's: the broker is up when it answers AMQP's greeting.
async fn speaks_amqp(port: u16) -> bool {
    let hello = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        stream.read_u8().await
    };
    // Method frames are of type 1, and `connection.start` is one.
    hello.await.is_ok_and(|frame| frame == 1)
}

/// Erlang that makes the virtual hosts and lets `guest` do everything in them.
fn make_vhosts(names: &[String]) -> String {
    let list: Vec<String> = names.iter().map(|name| format!("<<\"{name}\">>")).collect();
    let all = "<<\".*\">>";
    format!(
        "lists:foreach(fun(V) -> rabbit_vhost:add(V, <<\"tests\">>), rabbit_auth_backend_internal:set_permissions(\
         <<\"guest\">>, V, {all}, {all}, {all}, <<\"tests\">>) end, [{}]).",
        list.join(", ")
    )
}
