//! A server without nodes and plugins, for trying the API with kubectl:
//!
//! ```text
//! cargo run -p pintle-apiserver --example serve -- /tmp/pintle 127.0.0.1:6443
//! kubectl --kubeconfig /tmp/pintle/admin.kubeconfig get namespaces
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pintle_api::kinds::Registry;
use pintle_apiserver::pki::{self, Ca, Kubeconfig};
use pintle_apiserver::{
    AdmitAll, ApiServer, BusFacts, NoNodes, Parts, StaticAuthorizer, SystemClock, VersionInfo,
};
use pintle_storage::EngineKind;
use pintle_watch::Bus;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(listen)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve DIR ADDRESS:PORT".into());
    };
    let dir = PathBuf::from(dir);
    std::fs::create_dir_all(&dir)?;
    let store = pintle_storage::open(EngineKind::Sled, &dir.join("db"), Default::default())?;
    let registry = Registry::builtin();
    let bus = Bus::new(registry, pintle_watch::Options::default());
    bus.load(store.clone()).await?;
    let listener = TcpListener::bind(&listen).await?;
    let address = listener.local_addr()?.to_string();
    let facts = Arc::new(BusFacts::new(bus.clone(), registry));
    let api = ApiServer::new(Parts {
        store,
        bus,
        registry,
        admission: Arc::new(AdmitAll),
        authorizer: Arc::new(StaticAuthorizer::new(facts)),
        nodes: Arc::new(NoNodes),
        connector: Arc::new(pintle_apiserver::NoConnections),
        clock: Arc::new(SystemClock),
        info: VersionInfo::of(env!("CARGO_PKG_VERSION"), "unknown", "1970-01-01T00:00:00Z"),
        address: address.clone(),
    });
    api.bootstrap().await?;
    let ca = Ca::load_or_create(&dir.join("pki"))?;
    let names = ["127.0.0.1".to_string(), "localhost".to_string()];
    let tls = pki::server_config(ca.certificate(), &ca.issue_server(&names)?)?;
    let admin = ca.issue_client("admin", &["system:masters"], Duration::from_secs(24 * 3600))?;
    let kubeconfig = dir.join("admin.kubeconfig");
    Kubeconfig::new(&ca, &format!("https://{address}"), "admin", &admin).write(&kubeconfig)?;
    let serving = api.serve(listener, Arc::new(tls), async {
        let _ = tokio::signal::ctrl_c().await;
    });
    println!("ready https://{address}, kubeconfig {}", kubeconfig.display());
    serving.await?;
    Ok(())
}
