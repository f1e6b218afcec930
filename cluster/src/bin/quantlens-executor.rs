//! `quantlens-executor`: Ballista's executor, with quantlens' functions in it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use quantlens_ballista::cluster::{Executor, Listen, executor};

/// Ballista's executor, with quantlens' functions in it.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The scheduler's host.
    #[arg(long, default_value = "127.0.0.1")]
    scheduler_host: String,
    /// The scheduler's port.
    #[arg(long, default_value_t = 50050)]
    scheduler_port: u16,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// The port to listen on; the next one is used, too. Each executor of a machine needs two of its own.
    #[arg(long, default_value_t = 50051)]
    port: u16,
    /// Listen on an address that other machines reach: whoever reaches it can run what they like here.
    #[arg(long)]
    allow_remote: bool,
    /// How many partitions are measured at once, each on all threads (RAYON_NUM_THREADS says how many those are).
    #[arg(long, default_value_t = 2)]
    tasks: usize,
    /// The folder where parts of reports wait for who fetches them; without it a temporary one.
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// Seconds between two signs of life to the scheduler.
    #[arg(long, default_value_t = 10)]
    heartbeat_seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Options { scheduler_host, scheduler_port, bind, port, allow_remote, tasks, work_dir, heartbeat_seconds } =
        Options::parse();
    eprintln!("quantlens-executor: listening on {bind}:{port}, for the scheduler at {scheduler_host}:{scheduler_port}");
    let listen = Listen { host: bind, port, allow_remote };
    match executor(Executor { listen, scheduler_host, scheduler_port, tasks, work_dir, heartbeat_seconds }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
