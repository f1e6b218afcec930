//! The same report by the library alone and by 1, 2 and 4 executors of one thread each on this machine: time, bytes of parts that travel, and what a
//! cluster costs beside the library. `cargo bench --package quantlens-ballista`; the model's size in MiB and the schemes may follow after `--`.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quantlens::{Slice, Synthetic, open, quantizer};
use quantlens_ballista::{ModelTable, Partitions, cluster, report_rows};

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[String]) -> std::io::Result<Process> {
    let mut command = Command::new(program);
    command.args(arguments).env("RAYON_NUM_THREADS", "1").stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Process(command.spawn()?))
}

fn free_port() -> std::io::Result<u16> {
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
}

fn wait_for(port: u16) {
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Tensors of 16 MiB in one safetensors file.
fn write_model(path: &Path, mebibytes: usize) -> Result<(), Box<dyn Error>> {
    let tensors = mebibytes.div_ceil(16);
    let entry = |number: usize| {
        let (start, end) = (number << 24, (number + 1) << 24);
        format!(r#""w{number}":{{"dtype":"F32","shape":[1024,4096],"data_offsets":[{start},{end}]}}"#)
    };
    let mut header = format!("{{{}}}", (0..tensors).map(entry).collect::<Vec<_>>().join(","));
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut file = fs::File::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for number in 0..tensors {
        let tensor = Synthetic::normal(0.0, 0.02).seed(number as u64).tensor::<f32>("w", &[1024, 4096])?;
        if let Slice::F32(values) = tensor.as_slice() {
            file.write_all(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Bytes of the files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of_entry = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of_entry).sum()
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mebibytes = arguments.first().map_or(Ok(512), |text| text.parse())?;
    let schemes: Vec<&str> = match arguments.get(1..) {
        Some(names) if !names.is_empty() => names.iter().map(String::as_str).collect(),
        _ => vec!["int8-sym-axis0", "int4-sym-g128", "mxfp4", "nf4-g64"],
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.safetensors");
    write_model(&path, mebibytes)?;
    let place = path.to_string_lossy();
    let tensors = mebibytes.div_ceil(16);
    println!("{tensors} tensors of 16 MiB, under {}", schemes.join(", "));

    let alone = |threads: usize| -> Result<_, Box<dyn Error>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let model = open(&path)?;
        let start = Instant::now();
        let rows = pool.install(|| {
            let quantizers = schemes.iter().map(|name| quantizer(name)).collect::<Result<Vec<_>, _>>()?;
            quantlens::report_rows(&model, &quantizers)
        })?;
        Ok((rows, start.elapsed().as_secs_f64()))
    };
    // Once to have the file in memory.
    let (expected, _) = alone(1)?;
    let mut rows =
        vec![("the library, 1 thread".to_owned(), alone(1)?.1, 0), ("the library, 2 threads".to_owned(), alone(2)?.1, 0)];
    for executors in [1, 2, 4] {
        let port = free_port()?;
        let _scheduler = start(env!("CARGO_BIN_EXE_quantlens-scheduler"), &["--port".to_owned(), port.to_string()])?;
        wait_for(port);
        let mut running = Vec::new();
        for number in 0..executors {
            let (own, work) = (free_port()?, folder.path().join(format!("work-{executors}-{number}")));
            fs::create_dir_all(&work)?;
            let arguments = ["--scheduler-port", &port.to_string(), "--port", &own.to_string(), "--tasks", "1", "--work-dir"];
            let arguments: Vec<String> =
                arguments.map(str::to_owned).into_iter().chain([work.to_string_lossy().into_owned()]).collect();
            running.push((start(env!("CARGO_BIN_EXE_quantlens-executor"), &arguments)?, work));
            wait_for(own);
        }
        let context = cluster::connect(&format!("127.0.0.1:{port}")).await?;
        context.register_table("model", Arc::new(ModelTable::open(&place, Partitions::Bytes(4 << 20))?))?;
        // Once to have everything started.
        report_rows(&context, "model", &schemes[..1]).await?;
        let before: u64 = running.iter().map(|(_, work)| bytes_below(work)).sum();
        let start = Instant::now();
        let found = report_rows(&context, "model", &schemes).await?;
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        let after: u64 = running.iter().map(|(_, work)| bytes_below(work)).sum();
        rows.push((format!("executors of 1 thread: {executors}"), seconds, (after - before) / tensors as u64));
    }
    let one = rows[0].1;
    println!("{:28} {:>9} {:>16} {:>16}", "", "seconds", "of one thread's", "bytes a tensor");
    for (who, seconds, bytes) in rows {
        println!("{who:28} {seconds:9.2} {:16.2} {bytes:16}", seconds / one);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Runtime::new()?.block_on(run())
}
