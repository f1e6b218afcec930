//! `quantlens-scheduler`: Ballista's scheduler, with quantlens' functions in it.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use clap::Parser;
use quantlens_ballista::cluster::{Listen, scheduler};

/// Ballista's scheduler, with quantlens' functions in it.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
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
    let Options { bind, port, allow_remote, executor_timeout_seconds } = Options::parse();
    eprintln!("quantlens-scheduler: listening on {bind}:{port}");
    match scheduler(Listen { host: bind, port, allow_remote }, executor_timeout_seconds).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
