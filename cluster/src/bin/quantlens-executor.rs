//! `quantlens-executor`: Ballista's executor, with quantlens' functions in it.

use std::net::Ipv4Addr;
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
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    bind: Ipv4Addr,
    /// The name or address by which other machines reach this one; without it what --bind says.
    #[arg(long)]
    external_host: Option<String>,
    /// The port to listen on; the next one is used, too. Each executor of a machine needs two of its own.
    #[arg(long, default_value_t = 50051)]
    port: u16,
    /// Listen on an address that other machines reach: whoever reaches it can run what they like here.
    #[arg(long)]
    allow_remote: bool,
    /// How many partitions are measured at once, each on all threads (RAYON_NUM_THREADS says how many those are).
    #[arg(long, default_value_t = 2)]
    tasks: usize,
    /// The folder where parts of reports are kept until they are fetched; without it a temporary one.
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// Seconds between two signs of life to the scheduler.
    #[arg(long, default_value_t = 10)]
    heartbeat_seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    // What Ballista has to say: warnings, or what RUST_LOG asks for.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let Options { scheduler_host, scheduler_port, bind, external_host, port, allow_remote, tasks, work_dir, heartbeat_seconds } =
        Options::parse();
    eprintln!("quantlens-executor: will listen on {bind}:{port}, for the scheduler at {scheduler_host}:{scheduler_port}");
    let listen = Listen { host: bind, port, allow_remote, external_host };
    match executor(Executor { listen, scheduler_host, scheduler_port, tasks, work_dir, heartbeat_seconds }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
