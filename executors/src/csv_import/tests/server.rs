//! One throwaway PostgreSQL for the test process: its own directory, a Unix socket in it, no port, no fsync.
//! A shell owns it and reads from a pipe that only this process holds, so it ends with the process, however that ends.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

// PostgreSQL refuses to run as root, so root becomes the user that the package made.
const OWN: &str = r#"
dir=$1
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
if [ "$(id -u)" = 0 ]; then
  chown postgres "$dir"
  as="setpriv --reuid postgres --regid postgres --clear-groups"
fi
cd "$dir"
$as "$bin/initdb" -D "$dir/data" -A trust -U postgres --no-sync -E UTF8 --locale C.UTF-8 >initdb.log 2>&1 || exit 1
$as "$bin/pg_ctl" -D "$dir/data" -o "-k '$dir' -h '' -F" -l "$dir/postgres.log" -w -t 60 start >/dev/null || exit 1
echo ready
read -r _
$as "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null
rm -rf "$dir"
"#;

struct Server {
    dir: PathBuf,
    // Its stdin is the pipe: it closes when this process ends.
    _owner: Child,
}

/// How to connect; starts the server at the first call.
pub(super) fn config() -> tokio_postgres::Config {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(start);
    let mut config = tokio_postgres::Config::new();
    config.host_path(&server.dir).user("postgres").dbname("postgres");
    config
}

fn start() -> Server {
    let dir = tempfile::Builder::new().prefix("longshore-csv-").tempdir().unwrap().keep();
    let mut command = Command::new("sh");
    command.args(["-c", OWN, "sh"]).arg(&dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut owner = command.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n", "PostgreSQL did not start; its logs are in {}", dir.display());
    Server { dir, _owner: owner }
}
