//! The kernel's five sockets: bound where the connection file says, and what the crates for them do not do.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use jupyter_protocol::{ConnectionInfo, Header, JupyterMessage, JupyterMessageContent};
use jupyter_zmq_client::{
    KernelControlConnection, KernelHeartbeatConnection, KernelIoPubXPubConnection, KernelShellConnection, KernelStdinConnection,
    RawMessage, RouterRecvConnection, RuntimeError, create_kernel_control_connection, create_kernel_heartbeat_connection,
    create_kernel_iopub_xpub_connection, create_kernel_shell_connection, create_kernel_stdin_connection,
};
use serde_json::{Map, Value, json};
use zeromq::SocketRecv as _;

/// Every socket listens.
pub struct Sockets {
    pub heartbeat: KernelHeartbeatConnection,
    pub shell: KernelShellConnection,
    pub control: KernelControlConnection,
    pub stdin: KernelStdinConnection,
    pub iopub: KernelIoPubXPubConnection,
}

/// How long a port that somebody else has is tried again. Jupyter chooses the ports, and until we listen another process may get one for
/// a connection of its own, most of which are short. When the kernel gives up, Jupyter starts it again with other ports.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// How long a client may take nothing of what it has subscribed to before it is given up: until then the others wait for it.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// Binds all sockets.
pub async fn listen(connection: &ConnectionInfo, session_id: &str) -> Result<Sockets> {
    let sockets = Sockets {
        heartbeat: bound(connection.hb_port, || create_kernel_heartbeat_connection(connection)).await?,
        shell: bound(connection.shell_port, || create_kernel_shell_connection(connection, session_id)).await?,
        control: bound(connection.control_port, || create_kernel_control_connection(connection, session_id)).await?,
        stdin: bound(connection.stdin_port, || create_kernel_stdin_connection(connection, session_id)).await?,
        iopub: bound(connection.iopub_port, || create_kernel_iopub_xpub_connection(connection, session_id)).await?,
    };
    give_up_silent_readers(connection.iopub_port);
    Ok(sockets)
}

async fn bound<S>(port: u16, bind: impl AsyncFn() -> jupyter_zmq_client::Result<S>) -> Result<S> {
    let start = Instant::now();
    loop {
        match bind().await {
            Ok(socket) => return Ok(socket),
            Err(error) if is_taken(&error) && start.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            Err(error) => bail!("could not listen on port {port}, where the connection file says: {error}"),
        }
    }
}

/// Another process has the port.
fn is_taken(error: &RuntimeError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::AddrInUse;
        }
        source = error.source();
    }
    // Not every layer hands on what was below it.
    error.to_string().contains("in use")
}

/// Connections that come in on this port are closed by the system when their peer takes nothing for [`READER_PATIENCE`]. The publisher
/// sends to one subscriber after the other, so one that never reads would stop the output for all of them.
fn give_up_silent_readers(port: u16) {
    #[cfg(target_os = "linux")]
    for fd in 3..1024 {
        // SAFETY: the number is only asked for what it is, and nothing closes files while the kernel starts.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let address = rustix::net::getsockname(fd).ok().and_then(|address| std::net::SocketAddr::try_from(address).ok());
        if address.is_some_and(|address| address.port() == port) {
            // The connections inherit it. Without it all else works.
            let _ = rustix::net::sockopt::set_tcp_user_timeout(fd, READER_PATIENCE.as_millis() as u32);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = port;
}

/// As the connection's own `read`, but a history request may leave out what the protocol lets it leave out.
pub async fn read_shell(shell: &mut RouterRecvConnection) -> Result<JupyterMessage> {
    let message = shell.socket.recv().await?;
    let raw = RawMessage::from_multipart(message, &shell.mac)?;
    let [header, parent_header, metadata, content] =
        raw.jparts.get(..4).ok_or_else(|| anyhow!("the message has too few parts"))?
    else {
        bail!("the message has too few parts")
    };
    let header: Header = serde_json::from_slice(header)?;
    let mut content: Value = serde_json::from_slice(content)?;
    if header.msg_type == "history_request"
        && let Some(fields) = content.as_object_mut()
    {
        complete_history_request(fields);
    }
    let content = JupyterMessageContent::from_type_and_content(&header.msg_type, content)?;
    Ok(JupyterMessage {
        zmq_identities: raw.zmq_identities,
        header,
        parent_header: serde_json::from_slice(parent_header).ok(),
        metadata: serde_json::from_slice(metadata)?,
        content,
        buffers: raw.jparts.iter().skip(4).cloned().collect(),
        channel: None,
    })
}

/// What a history request that leaves something out means. `null` is left out, too, as `jupyter_client` sends it.
///
/// Source: <https://jupyter-client.readthedocs.io/en/latest/messaging.html#history>
fn complete_history_request(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| !value.is_null());
    let access = fields.entry("hist_access_type").or_insert(json!("range")).as_str().unwrap_or("range");
    let defaults = match access {
        "tail" => json!({ "n": 10 }),
        "search" => json!({ "pattern": "*", "unique": false, "n": i32::MAX }),
        // To the end.
        _ => json!({ "start": 0, "stop": 0 }),
    };
    let common = json!({ "output": false, "raw": true });
    for (name, value) in [defaults, common].into_iter().filter_map(|value| value.as_object().cloned()).flatten() {
        fields.entry(name).or_insert(value);
    }
}
