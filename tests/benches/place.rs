//! What was measured, on what, and when: the first line of each bench.

use anyhow::Result;

/// The machine, the versions, the commit and the date.
pub(crate) fn place() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default()
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism()?;
    let versions = [
        first_line("rustc", &["--version"]),
        first_line("dpkg-query", &["-W", "-f", "RabbitMQ ${Version}", "rabbitmq-server"]),
        first_line("sh", &["-c", "/usr/lib/postgresql/*/bin/postgres --version"]),
        format!("commit {}", first_line("git", &["rev-parse", "--short", "HEAD"])),
        first_line("date", &["-u", "+%Y-%m-%d"]),
    ];
    Ok(format!("{cores} cores of {cpu}; {}", versions.join("; ")))
}

fn first_line(program: &str, args: &[&str]) -> String {
    let told = std::process::Command::new(program).args(args).output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned());
    told.ok().filter(|line| !line.is_empty()).unwrap_or_else(|| format!("{program} unknown"))
}
