//! Turns a model into a server with OpenAI's API, until Ctrl-C.

mod banner;

use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use myriad_server::{
    Extractor, Models, Others, Runtime, ServeError, Served, ServerConfig, Tools, Upstreams, bind,
    serve_on,
};
use tokio::net::TcpListener;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::arguments::{self, Draft, Memory, OptionalModel, Threads, Weights};
use crate::library::{self, Library};
use crate::load::{self, Holding, Opened};
use crate::memory;
use crate::models;
use crate::oidc::Issuer;
use crate::screen::{self, advise, note};
use crate::sizes::{self, Sizes, Wishes};
use crate::storage::Place;
use banner::Banner;

const EXAMPLES: &str = "\
Examples:
  myriad serve                                     the default model at http://127.0.0.1:8080/v1
  myriad serve MODEL --port 8081 --parallel 32
  myriad keys create laptop; myriad serve --host 0.0.0.0   for other machines (put TLS in front)
  myriad users create anna; myriad serve --host 0.0.0.0    for people, who sign in to the chat
  myriad serve MODEL --name gpt-4o-mini            under a name that a program insists on
  myriad serve MODEL --draft SMALLER               answers the same, sooner: SMALLER guesses ahead
  myriad serve MODEL --embedding-model MINILM      and a second model for embeddings
  myriad serve MODEL --models /srv/models          and what lies there, loaded when asked for
  myriad serve MODEL --upstreams upstreams.toml    and models of other servers, each named in it
  myriad serve MODEL --tools tools.toml            and tools for the chat: MCP servers, web search
  myriad serve MINILM                              an encoder alone: embeddings and reranking
  myriad serve script:answers.json                 a test double: it answers what a file says

The first Ctrl-C lets running answers finish for a while, the second stops at once. MYRIAD_LOG=debug
says more (or warn: less); logs carry sizes and timings, never content.";

/// Serve a model: a chat for browsers, and the APIs of OpenAI, Anthropic and Ollama for programs.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    model: OptionalModel,
    /// Address to listen at; 0.0.0.0 or :: for other machines.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen at; 0 takes a free one.
    #[arg(long, short = 'p', default_value_t = 8080)]
    port: u16,
    /// Key that each request must carry; may be given several times, or separated by commas.
    #[arg(
        long,
        value_name = "KEY",
        env = "MYRIAD_API_KEY",
        hide_env_values = true,
        value_delimiter = ','
    )]
    api_key: Vec<String>,
    /// Let everyone in who reaches the address, without a key: where something in front of this
    /// server asks who they are.
    #[arg(long)]
    without_key: bool,
    /// Believe the proxy in front what it says of clients: X-Forwarded-For, X-Forwarded-Proto.
    #[arg(long)]
    trust_proxy: bool,
    /// Web page that may call from a browser (`https://chat.example`), besides those of this
    /// machine; may be given several times.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Name to serve the model under; may be given several times. [default: the file's]
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Another model that is served for embeddings and reranking, on half of the threads.
    #[arg(long, value_name = "MODEL")]
    embedding_model: Option<PathBuf>,
    /// Folder of models, or a model, that may be loaded besides, as those of the cache may; may be
    /// given several times. A request that names one loads it, and what was used longest ago is
    /// unloaded where memory is short.
    #[arg(long, value_name = "PATH")]
    models: Vec<PathBuf>,
    /// Memory that all models may take together: 8GB, 1.5GiB. [default: what is free at the start,
    /// less a reserve]
    #[arg(long, value_name = "SIZE", value_parser = arguments::bytes, help_heading = "Resources")]
    models_memory: Option<u64>,
    /// Let no request load a model: whoever runs the server does, in the chat's console.
    #[arg(long, help_heading = "Resources")]
    no_load: bool,
    /// Models of other servers to offer beside it: a TOML file that says where, and where keys are.
    #[arg(long, value_name = "FILE")]
    upstreams: Option<PathBuf>,
    /// Tools that models may call in the chat: a TOML file of MCP servers and of a web search.
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Requests that are computed together; more wait.
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Resources",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    parallel: u32,
    /// Make every answer token by token, also where it repeats what stood before; the answers are
    /// the same.
    #[arg(long, help_heading = "Resources", conflicts_with = "draft")]
    no_speculation: bool,
    /// Lines of batches that are answered at the same time; requests that wait come first.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Resources",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch_lines: u32,
    /// Keep nothing of requests and answers, whatever they ask for.
    #[arg(long, help_heading = "Storage")]
    no_store: bool,
    #[command(flatten)]
    issuer: Issuer,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    memory: Memory,
    #[command(flatten)]
    draft: Draft,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    threads: Threads,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// Lines for programs.
    Json,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    start_log(arguments.log_format)?;
    check_keys(&arguments.api_key)?;
    let tokio = executor()?;
    let storage = tokio.block_on(arguments.place.open(!arguments.no_store))?;
    let keys = !arguments.api_key.is_empty() || tokio.block_on(storage.locked())?;
    let config = ServerConfig {
        host: arguments.host.clone(),
        port: arguments.port,
        api_keys: arguments.api_key.clone(),
        storage: Some(Arc::new(storage)),
        batch_lines: arguments.batch_lines as usize,
        // This program again, in a process of its own.
        extractor: Extractor::Program(std::env::current_exe().context("this program's own path")?),
        trust_proxy: arguments.trust_proxy,
        allowed_origins: arguments.allow_origin.clone(),
        oidc: arguments.issuer.open()?,
        upstreams: Arc::new(upstreams(arguments.upstreams.as_deref())?),
        tools: Arc::new(tools(arguments.tools.as_deref())?),
        ..ServerConfig::default()
    };
    let door = Door { keys, without_key: arguments.without_key };
    let budget = Budget::new(&arguments);
    arguments.models.iter().try_for_each(|place| library::check(place))?;
    if let Some(file) = arguments.model.model.as_deref().and_then(library::script_of) {
        if arguments.draft.draft.is_some() {
            bail!("--draft guesses for a model, and {} is a script", file.display());
        }
        return serve_script(file, config, &arguments, &tokio, door, budget);
    }
    let opened = load::open(arguments.model.model.as_deref(), arguments.weights.holding())?;
    let mtp = !arguments.draft.no_mtp && !arguments.no_speculation;
    let opened = opened.with_draft(arguments.draft.draft.as_deref(), mtp)?;
    let mut sizes = opened.sizes_in(budget.free, wishes(&arguments))?;
    sizes.engine.speculate &= !arguments.no_speculation;
    let names = match &arguments.name[..] {
        [] => vec![models::name_of(&opened.path)],
        names => names.to_vec(),
    };
    let embedder = Embedder::open(&arguments, &names)?;
    // Before the weights: a taken port is found out in a moment, large weights take a minute.
    let listener = listen(&config, &arguments, &tokio, door)?;
    let address = listener.local_addr()?;
    let embedder =
        embedder.map(|embedder| embedder.start(arguments.threads.count())).transpose()?;
    let main = opened.start(arguments.threads.count(), &sizes, names)?;
    let main = served(main, &opened, &sizes);
    let mut loaded = vec![library::whole(&opened.path)];
    let taken = main.about.memory_bytes;
    let taken = taken + embedder.as_ref().map_or(0, |(served, _)| served.about.memory_bytes);
    let embedder = embedder.map(|(served, path)| {
        loaded.push(library::whole(&path));
        served
    });
    let others = others(&arguments, budget, Some(models::folder()?), loaded, taken);
    let models = Models { main, embedder, others: Some(others) };
    let banner = Banner {
        address,
        models: &models,
        opened: &opened,
        sizes: &sizes,
        threads: arguments.threads.count(),
        keys,
    };
    let signals = stop_signals(&tokio)?;
    banner.show(arguments.log_format)?;
    tokio.block_on(serve(listener, models, config, signals, arguments.log_format))
}

/// The other servers of a file; requests go nowhere else.
fn upstreams(file: Option<&Path>) -> Result<Upstreams> {
    let Some(file) = file else { return Ok(Upstreams::default()) };
    let upstreams = Upstreams::read(file).with_context(|| file.display().to_string())?;
    let places = upstreams.places();
    places.for_each(|(name, address)| info!(upstream = name, address, "its chats go there"));
    Ok(upstreams)
}

/// The servers of tools of a file; calls go nowhere else.
fn tools(file: Option<&Path>) -> Result<Tools> {
    let Some(file) = file else { return Ok(Tools::default()) };
    let tools = Tools::read(file).with_context(|| file.display().to_string())?;
    tools.places().for_each(|(name, address)| info!(tools = name, address, "calls go there"));
    Ok(tools)
}

/// The second model, whose header is read.
struct Embedder {
    opened: Opened,
    sizes: Sizes,
    name: String,
}

impl Embedder {
    /// The model that is asked for, if one is; `taken` are the names of the other.
    fn open(arguments: &Arguments, taken: &[String]) -> Result<Option<Embedder>> {
        let Some(model) = &arguments.embedding_model else { return Ok(None) };
        let opened = load::open(Some(model), Holding::default())?;
        let parallel = arguments.parallel as usize;
        let sizes = opened.sizes(Wishes { parallel, ..Wishes::default() })?;
        let name = models::name_of(&opened.path);
        if taken.contains(&name) {
            return Err(advise(
                format!("both models would be served as `{name}`"),
                "give the first one another name: --name NAME",
            ));
        }
        Ok(Some(Embedder { opened, sizes, name }))
    }

    /// Starts it on half of the threads: who reads an answer is not to wait for those who index.
    fn start(self, threads: usize) -> Result<(Served, PathBuf)> {
        let runtime = self.opened.start((threads / 2).max(1), &self.sizes, vec![self.name])?;
        Ok((served(runtime, &self.opened, &self.sizes), self.opened.path))
    }
}

fn executor() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).thread_name("http").enable_all().build()?)
}

/// What one engine should have.
fn wishes(arguments: &Arguments) -> Wishes {
    Wishes {
        context: arguments.memory.context.map(|tokens| tokens as usize),
        kv_memory: arguments.memory.kv_memory,
        kv: arguments.memory.kv.kind,
        parallel: arguments.parallel as usize,
        ..Wishes::default()
    }
}

/// Memory for models, as it is before the first is loaded.
#[derive(Clone, Copy)]
struct Budget {
    /// What the first one may count with; none: the system does not tell.
    free: Option<u64>,
    /// Bytes of all models together.
    bytes: u64,
}

impl Budget {
    fn new(arguments: &Arguments) -> Budget {
        let free = memory::free_bytes();
        match arguments.models_memory {
            Some(bytes) => {
                let most = sizes::free_of(bytes);
                Budget { free: Some(free.map_or(most, |free| free.min(most))), bytes }
            }
            None => Budget { free, bytes: free.map_or(u64::MAX, sizes::budget_of) },
        }
    }
}

fn served(runtime: Arc<Runtime>, opened: &Opened, sizes: &Sizes) -> Served {
    let bytes = sizes.memory_bytes(opened.held_bytes());
    let mut about = opened.describe(runtime.name(), bytes);
    about.context = Some(runtime.context_max());
    Served { runtime, about }
}

/// What may be loaded besides; `taken` are the bytes of those that stay.
fn others(
    arguments: &Arguments,
    budget: Budget,
    cache: Option<PathBuf>,
    loaded: Vec<PathBuf>,
    taken: u64,
) -> Others {
    let library = Library {
        cache,
        places: arguments.models.clone(),
        loaded,
        holding: arguments.weights.holding(),
        // A context that the first model was made for may be more than another's.
        wishes: Wishes {
            kv: arguments.memory.kv.kind,
            parallel: arguments.parallel as usize,
            ..Wishes::default()
        },
        speculate: !arguments.no_speculation,
        mtp: !arguments.draft.no_mtp && !arguments.no_speculation,
        threads: arguments.threads.count(),
        memory_bytes: budget.bytes.saturating_sub(taken),
        read: Mutex::default(),
    };
    let (memory_bytes, on_request) = (budget.bytes, !arguments.no_load);
    Others { loader: Arc::new(library), memory_bytes, on_request }
}

/// Serves a test double, which answers what its script says.
fn serve_script(
    file: &Path,
    config: ServerConfig,
    arguments: &Arguments,
    tokio: &tokio::runtime::Runtime,
    door: Door,
    budget: Budget,
) -> Result<()> {
    let script = library::read_script(file)?;
    let names = match &arguments.name[..] {
        [] => vec!["scripted".to_owned()],
        names => names.to_vec(),
    };
    let listener = listen(&config, arguments, tokio, door)?;
    let address = listener.local_addr()?;
    let bytes = script.load().bytes;
    let mut main: Served = Runtime::start_scripted(script, names)?.into();
    main.about.memory_bytes = bytes;
    let loaded = vec![library::whole(file)];
    // Beside a test double stands what is named, and nothing of the machine's.
    let others = others(arguments, budget, None, loaded, bytes);
    let models = Models { main, embedder: None, others: Some(others) };
    let signals = stop_signals(tokio)?;
    let file = file.display();
    note(format!("Myriad plays {file} at http://{address}: a test double, no model computes here"));
    tokio.block_on(serve(listener, models, config, signals, arguments.log_format))
}

/// Who may come in.
#[derive(Clone, Copy)]
struct Door {
    /// Whether there are keys or accounts.
    keys: bool,
    /// Whether the operator says that none are needed.
    without_key: bool,
}

/// Takes the address. Without keys it must be this machine's own.
fn listen(
    config: &ServerConfig,
    arguments: &Arguments,
    tokio: &tokio::runtime::Runtime,
    door: Door,
) -> Result<TcpListener> {
    let listener = tokio.block_on(bind(config)).map_err(|error| explain(error, arguments))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && !door.keys && !door.without_key {
        return Err(advise(
            format!("other machines could reach {address}, and there are no keys and no accounts"),
            "make an account:  myriad users create NAME\n\
             or a key:  myriad keys create NAME\n\
             or give one in MYRIAD_API_KEY, or mean it:  myriad serve --without-key",
        ));
    }
    Ok(listener)
}

/// To be made before the banner is shown: whoever reads it may press Ctrl-C at once.
fn stop_signals(tokio: &tokio::runtime::Runtime) -> io::Result<StopSignals> {
    let _context = tokio.enter();
    StopSignals::new()
}

async fn serve(
    listener: TcpListener,
    models: Models,
    config: ServerConfig,
    mut signals: StopSignals,
    format: LogFormat,
) -> Result<()> {
    let grace = config.shutdown_grace.as_secs();
    let shutdown = async move {
        signals.next().await;
        match format {
            LogFormat::Json => info!(grace_seconds = grace, "stopping"),
            LogFormat::Text => note(format!(
                "\nstopping: running answers have {grace} s to finish (Ctrl-C again stops at once)"
            )),
        }
        tokio::spawn(async move {
            signals.next().await;
            process::exit(130);
        });
    };
    Ok(serve_on(listener, models, config, shutdown).await?)
}

/// Ctrl-C, and a service manager's wish to stop. Listens from its making on, so that a second
/// signal right after the first is not lost.
struct StopSignals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    #[cfg(unix)]
    fn new() -> io::Result<StopSignals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<StopSignals> {
        Ok(StopSignals {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// An empty key would be a door that looks locked.
fn check_keys(keys: &[String]) -> Result<()> {
    if keys.iter().any(|key| key.trim().is_empty()) {
        return Err(advise(
            "an API key is empty",
            "give --api-key (or MYRIAD_API_KEY) a value, or leave it out to let everyone in",
        ));
    }
    Ok(())
}

fn start_log(format: LogFormat) -> Result<()> {
    let wanted = std::env::var("MYRIAD_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = match &wanted {
        None => EnvFilter::new("info"),
        Some(wanted) => EnvFilter::try_new(wanted)
            .with_context(|| format!("MYRIAD_LOG={wanted}: right would be info, warn, debug …"))?,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(screen::is_fancy()).with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

fn explain(error: ServeError, arguments: &Arguments) -> anyhow::Error {
    let ServeError::Bind { host, port, source } = &error else { return error.into() };
    match source.kind() {
        io::ErrorKind::AddrInUse => advise(
            format!("port {port} of {host} is taken by another program"),
            format!(
                "take another:  myriad serve --port {}\n\
                 or stop that program (another `myriad serve`?)",
                port.checked_add(1).unwrap_or(8080)
            ),
        ),
        io::ErrorKind::PermissionDenied => advise(
            format!("port {port} of {host} may not be taken by you"),
            "take one above 1023, such as --port 8080",
        ),
        io::ErrorKind::AddrNotAvailable => advise(
            format!("{host} is no address of this machine"),
            "take --host 127.0.0.1 for programs here, --host 0.0.0.0 for other machines",
        ),
        _ => anyhow::anyhow!("listening at {}:{port}: {source}", arguments.host),
    }
}
