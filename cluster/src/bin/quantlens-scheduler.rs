//! `quantlens-scheduler`: Ballista's scheduler, with quantlens' functions in it.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Parser;
use quantlens_ballista::cluster::{Listen, scheduler};

/// Ballista's scheduler, with quantlens' functions in it.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The address to listen on.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    bind: Ipv4Addr,
    /// The name or address by which other machines reach this one; without it what --bind says.
    #[arg(long)]
    external_host: Option<String>,
    /// The port to listen on.
    #[arg(long, default_value_t = 50050)]
    port: u16,
    /// Listen on an address that other machines reach: whoever reaches it can run queries on the cluster.
    #[arg(long)]
    allow_remote: bool,
    /// An executor that says nothing for so many seconds is taken for dead.
    #[arg(long, default_value_t = 60)]
    executor_timeout_seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    // What Ballista has to say: warnings, or what RUST_LOG asks for.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let Options { bind, external_host, port, allow_remote, executor_timeout_seconds } = Options::parse();
    eprintln!("quantlens-scheduler: will listen on {bind}:{port}");
    match scheduler(Listen { host: bind, port, allow_remote, external_host }, executor_timeout_seconds).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
