//! Turns the built binary into a live server on a free port, for as long as the value lives.

use crate::root;
use anyhow::{Context, Result, bail};
use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A `myriad serve` process; killed when dropped, and what it kept deleted.
pub struct Server {
    process: Child,
    /// Its data folder: nobody's own is touched.
    data: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Starts the release binary on a free port and waits until `/health` answers.
    pub fn start(model: &Path, arguments: &[&str]) -> Result<Server> {
        Server::start_as(Command::new(binary()?), model, arguments)
    }

    /// As [`Server::start`], with nothing logged but warnings.
    pub fn start_quiet(model: &Path, arguments: &[&str]) -> Result<Server> {
        let mut command = Command::new(binary()?);
        command.env("MYRIAD_LOG", "warn");
        Server::start_as(command, model, arguments)
    }

    fn start_as(command: Command, model: &Path, arguments: &[&str]) -> Result<Server> {
        let mut server = Server::launch(command, model, arguments)?;
        server.wait_until_healthy(Duration::from_secs(60))?;
        Ok(server)
    }

    /// Starts the release binary, with nothing logged but warnings, and does not wait for it.
    pub fn launch_quiet(model: &Path, arguments: &[&str]) -> Result<Server> {
        let mut command = Command::new(binary()?);
        command.env("MYRIAD_LOG", "warn");
        Server::launch(command, model, arguments)
    }

    fn launch(mut command: Command, model: &Path, arguments: &[&str]) -> Result<Server> {
        let port = free_port()?;
        let data = env::temp_dir().join(format!("myriad-live-{}-{port}", std::process::id()));
        let process = command
            .env("MYRIAD_DATA", &data)
            .env_remove("MYRIAD_STORE")
            .args(["serve".as_ref(), model.as_os_str()])
            .args(["--port", &port.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .context("starting myriad serve")?;
        Ok(Server { process, data, port })
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its memory, where the system says so.
    pub fn resident_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    }

    fn wait_until_healthy(&mut self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.process.try_wait()? {
                bail!("myriad serve ended with {status}");
            }
            if healthy(self.port) {
                return Ok(());
            }
            sleep(Duration::from_millis(50));
        }
        bail!("myriad serve did not answer on port {} in {limit:?}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Whether `GET /health` on 127.0.0.1:`port` answers 200.
pub fn healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let request = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let mut head = [0u8; 12];
    stream.read_exact(&mut head).is_ok() && &head == b"HTTP/1.1 200"
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The release binary, in the target folder that cargo uses here.
pub fn binary() -> Result<PathBuf> {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let binary = target.join("release").join("myriad");
    if !binary.exists() {
        bail!("{} is not there: run `make build` first", binary.display());
    }
    Ok(binary)
}

/// The default model in the user's cache.
pub fn default_model() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let model = cache.join("myriad/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !model.exists() {
        bail!("the default model is not in the cache: run `make model` first");
    }
    Ok(model)
}
