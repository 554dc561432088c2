//! The thin client: for machines without kubectl. It prints the server's own
//! tables and passes the server's own errors on.

mod apply;
mod exec;
mod get;
mod http;
mod kubeconfig;
mod logs;
mod out;
mod plugin;
mod pods;
mod table;
mod target;
mod token;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Command, Connection};

pub use self::http::Client;

impl Client {
    pub fn connect(connection: &Connection) -> Result<Self> {
        Self::new(kubeconfig::load(connection)?)
    }
}

/// Runs one client command on a runtime of its own: one thread is enough.
pub fn run(command: Command) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        match command {
            Command::Get(get) => get::run(get).await,
            Command::Apply(apply) => apply::apply(apply).await,
            Command::Delete(delete) => apply::delete(delete).await,
            Command::Logs(logs) => logs::run(logs).await,
            Command::Exec(exec) => return exec::run(exec).await,
            Command::Token(token) => token::run(token).await,
            Command::Plugin(plugin) => return plugin::run(plugin).await,
            Command::Version(connection) => version(&connection).await,
            Command::Up(_)
            | Command::Server(_)
            | Command::Agent(_)
            | Command::Reset(_)
            | Command::Image(_)
            | Command::CompileComponent
            | Command::Completions { .. } => unreachable!("handled by main"),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    // Reading standard input may still block a thread that nobody waits for.
    runtime.shutdown_background();
    code
}

async fn version(connection: &Connection) -> Result<()> {
    println!("pintle: {}", env!("CARGO_PKG_VERSION"));
    match Client::connect(connection) {
        Ok(client) => {
            let version = client.get("/version").await?;
            println!("server: {}", version["gitVersion"].as_str().unwrap_or("unknown"));
        }
        Err(error) if connection.kubeconfig.is_some() => return Err(error),
        Err(error) => println!("server: unknown ({error:#})"),
    }
    Ok(())
}
