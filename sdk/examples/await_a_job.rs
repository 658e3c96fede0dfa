//! Submits a `demo.greet` job and awaits its greeting: the whole of what a caller in Rust has to write.
//! It starts no server and no worker, and needs one that runs `demo.greet` (the executor on the SDK's first page).
//! Read `longshore_sdk::client` for options, files and cancellation.
//!
//! ```sh
//! cargo run -p longshore-sdk --example await_a_job -- http://127.0.0.1:8080 Ada
//! ```

use std::process::ExitCode;

use longshore_sdk::client::ClientError;
use longshore_sdk::prelude::*;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Greet {
    name: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Greeting {
    text: String,
}

impl Payload for Greet {
    const KIND: &'static str = "demo.greet";
    type Output = Greeting;
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(name)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: await_a_job <server's address> <name to greet>");
        return ExitCode::from(2);
    };
    match greet(&server, name).await {
        Ok(greeting) => println!("{}", greeting.text),
        Err(error) => return explain(&error),
    }
    ExitCode::SUCCESS
}

async fn greet(server: &str, name: String) -> std::result::Result<Greeting, JobError> {
    let job = Client::new(server)?.submit(&Greet { name }).await?;
    eprintln!("submitted as {}", job.id());
    job.with_progress(|progress| eprintln!("{progress:?}")).await
}

fn explain(error: &JobError) -> ExitCode {
    eprintln!("{error}");
    if let JobError::Client(ClientError::Problem(problem)) = error {
        problem.kinds.iter().flatten().for_each(|kind| eprintln!("the server knows {kind}"));
    }
    ExitCode::FAILURE
}
