//! Contexts, schedulers and executors that know the functions and tables of this crate.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ballista::prelude::SessionContextExt;
use ballista_core::ConfigProducer;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::extension::SessionConfigExt;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::TempDir;

use crate::codec::{LogicalCodec, PhysicalCodec};
use crate::error::{Error, Result};
use crate::functions::register;

/// Rows of a batch: tiles, which are megabytes each. The engine gathers rows up to this number where it filters or shuffles them.
const TILES: usize = 4;

/// Bytes of a message between programs. Where schemes have blocks that run across rows, as `int8-sym-axis1`, the ranges of all blocks of a model travel in
/// one: 22 bytes a block.
const MESSAGE: u32 = 1 << 30;

/// What a session needs: few rows a batch, partitions as the table has them, room for ranges, and our codecs.
fn config(config: SessionConfig) -> SessionConfig {
    config
        .with_ballista_grpc_client_max_message_size(MESSAGE as usize)
        .with_batch_size(TILES)
        .with_round_robin_repartition(false)
        .with_ballista_logical_extension_codec(Arc::new(LogicalCodec::default()))
        .with_ballista_physical_extension_codec(Arc::new(PhysicalCodec::default()))
}

/// A state with the functions.
fn state(of: SessionConfig) -> datafusion::common::Result<SessionState> {
    let mut state = SessionStateBuilder::new().with_config(config(of)).with_default_features().build();
    register(&mut state)?;
    Ok(state)
}

/// A context of Ballista's, which leaves out the functions that the state had.
fn with_functions(context: SessionContext) -> Result<SessionContext> {
    register(&mut *context.state_ref().write())?;
    Ok(context)
}

/// A context of DataFusion alone, in this process: [`crate::report()`] without a cluster.
///
/// # Errors
/// What DataFusion says.
pub fn local() -> Result<SessionContext> {
    Ok(SessionContext::new_with_state(state(SessionConfig::new())?))
}

/// A context whose queries run on a scheduler and an executor of Ballista inside this process: to try things out.
///
/// # Errors
/// What Ballista says.
pub async fn standalone() -> Result<SessionContext> {
    with_functions(SessionContext::standalone_with_state(state(SessionConfig::new_with_ballista())?).await?)
}

/// A context whose queries run on the cluster of the scheduler at this address, as `127.0.0.1:50050`.
///
/// # Errors
/// [`Error::Address`]; what Ballista says where nobody listens there.
pub async fn connect(scheduler: &str) -> Result<SessionContext> {
    let fault = |reason: &str| Error::Address { address: scheduler.to_owned(), reason: reason.to_owned() };
    let (host, port) = scheduler.rsplit_once(':').ok_or_else(|| fault("it has no port"))?;
    let port: u16 = port.parse().map_err(|_| fault("its port is no number up to 65535"))?;
    if host.is_empty() {
        return Err(fault("it has no host"));
    }
    let state = state(SessionConfig::new_with_ballista())?;
    with_functions(SessionContext::remote_with_state(&format!("df://{host}:{port}"), state).await?)
}

/// Where a program listens.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The address, `127.0.0.1` if others on the network are not to reach it. Of IPv4, which is what Ballista can listen on.
    pub host: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// Whether the address may be one that other machines reach.
    pub allow_remote: bool,
    /// The name or address by which others reach it; `host` if there is none.
    pub external_host: Option<String>,
}

impl Listen {
    /// Where it listens, and what others call it.
    fn check(&self) -> Result<(SocketAddr, String)> {
        let address = SocketAddr::new(self.host.into(), self.port);
        if !self.host.is_loopback() && !self.allow_remote {
            return Err(Error::OpenPort { address: address.to_string() });
        }
        match &self.external_host {
            Some(name) => Ok((address, name.clone())),
            None if self.host.is_unspecified() => Err(Error::NoName { address: address.to_string() }),
            None => Ok((address, self.host.to_string())),
        }
    }
}

/// Runs a scheduler until the process ends. An executor that says nothing for `executor_timeout_seconds` is taken for dead, and what it did is done by
/// others.
///
/// # Errors
/// [`Error::OpenPort`]; [`Error::NoName`]; what Ballista says, as where the port is taken.
pub async fn scheduler(listen: Listen, executor_timeout_seconds: u64) -> Result<()> {
    let (address, external_host) = listen.check()?;
    let producer: ConfigProducer = Arc::new(|| config(SessionConfig::new_with_ballista()));
    let config = SchedulerConfig {
        bind_host: listen.host.to_string(),
        bind_port: listen.port,
        external_host,
        grpc_server_max_decoding_message_size: MESSAGE,
        grpc_server_max_encoding_message_size: MESSAGE,
        grpc_client_max_message_size: MESSAGE,
        scheduling_policy: TaskSchedulingPolicy::PushStaged,
        executor_timeout_seconds,
        expire_dead_executor_interval_seconds: (executor_timeout_seconds / 2).clamp(1, 15),
        no_executors_grace_period_seconds: executor_timeout_seconds,
        override_config_producer: Some(producer),
        override_session_builder: Some(Arc::new(state)),
        override_logical_codec: Some(Arc::new(LogicalCodec::default())),
        override_physical_codec: Some(Arc::new(PhysicalCodec::default())),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&config).await?;
    Ok(start_server(cluster, address, Arc::new(config)).await?)
}

/// What an executor is told.
#[derive(Debug, Clone)]
pub struct Executor {
    /// Where others fetch what it has done. The port after this one is used, too, so it is at most 65534.
    pub listen: Listen,
    /// The host of the scheduler.
    pub scheduler_host: String,
    /// Its port.
    pub scheduler_port: u16,
    /// How many partitions it measures at once; each uses the threads of rayon's pool.
    pub tasks: usize,
    /// Where parts of reports wait for who fetches them; a temporary folder if there is none.
    pub work_dir: Option<PathBuf>,
    /// Seconds between two signs of life.
    pub heartbeat_seconds: u64,
}

/// Runs an executor until the process ends, the scheduler stops it, or the scheduler is not there any more.
///
/// # Errors
/// [`Error::OpenPort`]; [`Error::NoName`]; [`Error::Address`] of a port without one after it; what Ballista says, as where no scheduler is.
pub async fn executor(executor: Executor) -> Result<()> {
    let (address, external_host) = executor.listen.check()?;
    let Some(grpc_port) = executor.listen.port.checked_add(1) else {
        let reason = "the port after it is used, too, so it is at most 65534".to_owned();
        return Err(Error::Address { address: address.to_string(), reason });
    };
    // Ballista's own is gone before it begins. Removed at the end.
    let temporary = match executor.work_dir {
        Some(_) => None,
        None => Some(TempDir::with_prefix("quantlens-executor-").map_err(|source| Error::Io {
            what: "a temporary folder could not be made: name one by --work-dir".to_owned(),
            source,
        })?),
    };
    let work_dir = executor.work_dir.or_else(|| Some(temporary.as_ref()?.path().to_owned()));
    let producer: ConfigProducer = Arc::new(|| config(SessionConfig::new_with_ballista()));
    let functions = BallistaFunctionRegistry::from(&state(SessionConfig::new_with_ballista())?);
    let config = ExecutorProcessConfig {
        bind_host: executor.listen.host.to_string(),
        external_host: Some(external_host),
        port: executor.listen.port,
        grpc_port,
        grpc_max_decoding_message_size: MESSAGE,
        grpc_max_encoding_message_size: MESSAGE,
        scheduler_host: executor.scheduler_host,
        scheduler_port: executor.scheduler_port,
        scheduler_connect_timeout_seconds: 20,
        vcores: executor.tasks,
        task_scheduling_policy: TaskSchedulingPolicy::PushStaged,
        work_dir: work_dir.map(|path| path.to_string_lossy().into_owned()),
        // Looks for what is a week old, and takes everything away at the end.
        job_data_clean_up_interval_seconds: 3600,
        executor_heartbeat_interval_seconds: executor.heartbeat_seconds,
        override_config_producer: Some(producer),
        override_function_registry: Some(Arc::new(functions)),
        override_logical_codec: Some(Arc::new(LogicalCodec::default())),
        override_physical_codec: Some(Arc::new(PhysicalCodec::default())),
        ..ExecutorProcessConfig::default()
    };
    Ok(start_executor_process(Arc::new(config)).await?)
}
