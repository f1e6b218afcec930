//! A real scheduler and real executors, as processes.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use quantlens::Synthetic;
use quantlens_ballista::{ModelTable, Partitions, cluster, report_rows};

use super::models::{SCHEMES, assert_same, expected, model, write_safetensors};

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Process(command.spawn().unwrap())
}

/// A port that nobody uses, with the one after it. Below those that systems give to connections, one of which could take it before it is listened on.
fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 2000) as u16;
    loop {
        let port = 16_000 + (first + TAKEN.fetch_add(1, Ordering::Relaxed)) % 8000 * 2;
        if [port, port + 1].iter().all(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

pub struct Cluster {
    scheduler: Process,
    port: u16,
    executors: Vec<(Process, PathBuf)>,
}

impl Cluster {
    pub fn new(executors: usize, folder: &Path) -> Self {
        let port = free_port();
        let scheduler =
            start(env!("CARGO_BIN_EXE_quantlens-scheduler"), &["--port", &port.to_string(), "--executor-timeout-seconds", "4"]);
        wait_until("the scheduler does not listen", || listens(port));
        let executor = |number| {
            let (own, work) = (free_port(), folder.join(format!("work-{number}")));
            fs::create_dir_all(&work).unwrap();
            let arguments =
                ["--scheduler-port", &port.to_string(), "--port", &own.to_string(), "--tasks", "1", "--heartbeat-seconds", "1"];
            let process = start(
                env!("CARGO_BIN_EXE_quantlens-executor"),
                &[&arguments[..], &["--work-dir", work.to_str().unwrap()]].concat(),
            );
            wait_until("an executor does not listen", || listens(own));
            (process, work)
        };
        Self { scheduler, port, executors: (0..executors).map(executor).collect() }
    }

    pub async fn context(&self) -> datafusion::prelude::SessionContext {
        cluster::connect(&self.address()).await.unwrap()
    }

    /// Of the scheduler.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// The program `quantlens`.
pub fn program() -> PathBuf {
    let name = format!("quantlens{}", std::env::consts::EXE_SUFFIX);
    let program = Path::new(env!("CARGO_BIN_EXE_quantlens-cluster")).with_file_name(name);
    assert!(program.is_file(), "build it, too: --package quantlens --features quantlens/cluster");
    program
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_executors_give_the_report_of_one_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let expected = expected(&path, &SCHEMES);
    let cluster = Cluster::new(2, folder.path());
    let context = cluster.context().await;
    for (name, partitions) in [("whole", Partitions::default()), ("cut", Partitions::PerTensor(4))] {
        let table = ModelTable::open(path.to_str().unwrap(), partitions).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
        assert_same(&report_rows(&context, name, &SCHEMES).await.unwrap(), &expected);
    }
    // One may have known of the cluster too late for the first.
    let start = Instant::now();
    while !cluster.executors.iter().all(|(_, work)| files(work) > 0) {
        assert!(start.elapsed() < Duration::from_secs(60), "one of them does nothing");
        assert_same(&report_rows(&context, "cut", &SCHEMES).await.unwrap(), &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_reports_from_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let cluster = Cluster::new(1, folder.path());
    let program = program();
    let run = |arguments: &[&str]| {
        let scheme = ["report", path.to_str().unwrap(), "--scheme", "int8-sym-axis0,int4-sym-g128", "--tensor", "dense.*"];
        let output = Command::new(&program).args(scheme).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let address = cluster.address();
    let here = folder.path().join("here.csv");
    let there = folder.path().join("there.csv");
    let (status, said, _) = run(&["--output", here.to_str().unwrap()]);
    assert_eq!(status, Some(0));
    let (status, distributed, errors) = run(&["--output", there.to_str().unwrap(), "--cluster", &address]);
    assert_eq!((status, &distributed), (Some(0), &said), "{errors}");
    assert_eq!(fs::read(here).unwrap(), fs::read(there).unwrap());
    // A URL, which only the cluster opens, is the same model.
    let url = format!("file://{}", path.display());
    let scheme = ["report", &url, "--scheme", "int8-sym-axis0,int4-sym-g128", "--tensor", "dense.*", "--cluster", &address];
    let of_url = Command::new(&program).args(scheme).output().unwrap();
    let errors = String::from_utf8_lossy(&of_url.stderr).into_owned();
    assert_eq!((of_url.status.code(), of_url.stdout), (Some(0), distributed.into_bytes()), "{errors}");
    let missing = ["report", "file:///nowhere/at/all", "--cluster", &address];
    let missing = Command::new(&program).args(missing).output().unwrap();
    let errors = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.status.code() == Some(1) && errors.contains("/nowhere/at/all"), "{errors}");
    let (status, _, errors) = run(&["--cluster", "nowhere"]);
    assert!(status == Some(1) && errors.contains("it has no port"), "{errors}");
}

/// Enough work that an executor can be killed in the middle of it.
fn long_model(folder: &Path) -> PathBuf {
    let path = folder.join("long.safetensors");
    let tensor = |number: u64| {
        let normal = Synthetic::normal(0.0, 1.0).seed(number);
        normal.tensor::<f32>(&format!("w{number}"), &[512, 1024]).unwrap()
    };
    write_safetensors(&path, &(0..4).map(tensor).collect::<Vec<_>>());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_killed_costs_time_and_not_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let path = long_model(folder.path());
    let schemes = ["int8-sym", "int4-sym-axis0-mse", "int4-sym-g32-mse", "q4_k", "mxfp4"];
    let expected = expected(&path, &schemes);
    let mut cluster = Cluster::new(2, folder.path());
    let context = cluster.context().await;
    let table = ModelTable::open(path.to_str().unwrap(), Partitions::PerTensor(6)).unwrap();
    context.register_table("model", Arc::new(table)).unwrap();
    let running = tokio::spawn(async move { report_rows(&context, "model", &schemes).await });
    // It has done something that others will miss.
    let (mut killed, work) = cluster.executors.remove(0);
    wait_until("the executor does nothing", || files(&work) > 0);
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    assert!(!running.is_finished(), "the report was done before the executor was killed");
    fs::remove_dir_all(&work).unwrap();
    let rows = tokio::time::timeout(Duration::from_secs(120), running).await.expect("it hangs").unwrap().unwrap();
    assert_same(&rows, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_is_lost_is_an_error_and_no_hang() {
    let folder = tempfile::tempdir().unwrap();
    let path = long_model(folder.path());
    let mut cluster = Cluster::new(1, folder.path());
    let context = cluster.context().await;
    let table = ModelTable::open(path.to_str().unwrap(), Partitions::PerTensor(6)).unwrap();
    context.register_table("model", Arc::new(table)).unwrap();
    let running = tokio::spawn(async move { report_rows(&context, "model", &["int4-sym-axis0-mse", "int4-sym-g32-mse"]).await });
    wait_until("the executor does nothing", || files(&cluster.executors[0].1) > 0);
    cluster.scheduler.0.kill().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it hangs").unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(["onnect", "ransport", "tatus"].iter().any(|word| error.contains(word)), "{error}");
    // Where there never was one.
    let nobody = format!("127.0.0.1:{}", free_port());
    let context = cluster::connect(&nobody).await.unwrap();
    context.register_table("model", Arc::new(ModelTable::open(path.to_str().unwrap(), Partitions::default()).unwrap())).unwrap();
    let asked = report_rows(&context, "model", &["mxfp4"]);
    let error = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it hangs").unwrap_err();
    assert!(error.to_string().contains("onnect"), "{error}");
}

/// What was opened by the client is opened anew by an executor.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_short_is_an_error_that_names_file_tensor_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let path = long_model(folder.path());
    let cluster = Cluster::new(1, folder.path());
    let context = cluster.context().await;
    let table = ModelTable::open(path.to_str().unwrap(), Partitions::default()).unwrap();
    context.register_table("model", Arc::new(table)).unwrap();
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1000).unwrap();
    let error = report_rows(&context, "model", &["int8-sym-axis0"]).await.unwrap_err().to_string();
    assert!(error.contains("long.safetensors, tensor `w3`, byte "), "{error}");
}

#[test]
fn nothing_listens_beyond_this_machine_unless_told_so() {
    for program in [env!("CARGO_BIN_EXE_quantlens-scheduler"), env!("CARGO_BIN_EXE_quantlens-executor")] {
        for (arguments, expected) in [
            (&["--bind", "0.0.0.0", "--port", "1"][..], "give --allow-remote if the network is trusted"),
            (&["--bind", "0.0.0.0", "--port", "1", "--allow-remote"], "say by --external-host"),
            (&["--bind", "::1"], "invalid value '::1'"),
        ] {
            let output = Command::new(program).args(arguments).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && said.contains(expected), "{said}");
        }
    }
}
