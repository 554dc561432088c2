//! `pintle up`, `server` and `agent`: a process that runs until it is told to stop.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::cli::Run;
use crate::config::{LogFormat, Settings};
use crate::{memory, node, server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    Server,
    Node,
    Both,
}

pub fn start(run: Run, parts: Parts) -> Result<ExitCode> {
    let settings = run.settings.with_file(run.config.as_deref())?;
    if parts != Parts::Node {
        settings.check_server()?;
    }
    if parts != Parts::Server {
        settings.check_node()?;
    }
    logging(&settings)?;
    memory::no_huge_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("pintle")
        // Blocking work is short; threads that idle give their stacks back soon.
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .build()
        .context("the runtime cannot start")?;
    let result = runtime.block_on(serve(settings, parts));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

fn logging(settings: &Settings) -> Result<()> {
    let filter = settings.log.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("the log filter {filter:?} is not valid"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colours).with_target(false).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

async fn serve(settings: Settings, parts: Parts) -> Result<()> {
    let (stop, stopping) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let running = async {
        let mut server = None;
        let mut line = String::from("ready");
        if parts != Parts::Node {
            let started = server::start(&settings, stopping.clone()).await?;
            line.push_str(&format!(
                " https://{} nodes={} kubeconfig={}",
                started.api_address,
                started.node_address,
                started.kubeconfig.display()
            ));
            server = Some(started);
        }
        let mut node = None;
        if parts != Parts::Server {
            let started = node::start(&settings, server.as_ref(), stopping.clone()).await?;
            line.push_str(&format!(" node={}", started.name));
            node = Some(started);
        }
        anyhow::Ok((server, node, line))
    };
    let (server, node, line) = tokio::select! {
        started = running => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    // Scripts wait for this line, so it must not sit in a buffer.
    println!("{line}");
    std::io::stdout().flush()?;
    memory::give_back();
    memory::page_out_files();

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!("stopping; containers go on running");
    let _ = stop.send(true);
    let finish = async {
        if let Some(node) = node {
            node.finish().await;
        }
        if let Some(server) = server {
            server.finish().await;
        }
    };
    tokio::select! {
        () = finish => {}
        // A second signal does not wait for anything.
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
