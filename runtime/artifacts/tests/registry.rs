//! Against a real registry: what is pushed can be pulled, and every way in
//! which a registry can fail is an error that names it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pintle_artifacts::signature::{SigningKey, Subject, verify};
use pintle_artifacts::{
    ComponentInterface, Credentials, Description, Digest, Limits, Options, Package,
    PulledComponent, Reference, Registry, RegistryError, Step,
};
use pintle_e2e::registry::{Fate, Login, Proxy, Registry as Server, USER};
use pintle_e2e::require_registry;

/// Some hundred kilobytes that do not repeat.
fn component() -> Bytes {
    let mut state: u32 = 1;
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.extend((0..300_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    Bytes::from(bytes)
}

fn package() -> Package {
    let interface = ComponentInterface {
        exports: vec!["pintle:plugin/scheduler@0.1.0".into()],
        imports: Vec::new(),
    };
    let about = Description { title: "scorer".into(), version: "1".into(), ..Default::default() };
    Package::new(component(), interface, &about)
}

fn options() -> Options {
    let limits = Limits {
        connect: Duration::from_secs(60),
        idle: Duration::from_secs(3),
        pull: Duration::from_secs(180),
        upload: Duration::from_secs(180),
        resumptions: 3,
    };
    Options { insecure: true, limits, ..Options::default() }
}

fn client() -> Registry {
    Registry::new(options()).unwrap()
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

async fn pull(text: &str) -> Result<PulledComponent, RegistryError> {
    client().pull(&reference(text), &|_| {}).await
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn what_is_pushed_is_pulled_by_tag_and_by_digest() {
    require_registry!();
    let server = Server::start(Login::None);
    let by_tag = server.reference("team/scorer:1.0");
    let digest = client().push(&reference(&by_tag), &package()).await.unwrap();
    assert_eq!(digest, package().digest());
    assert_eq!(client().resolve(&reference(&by_tag)).await.unwrap(), digest);

    let furthest = AtomicUsize::new(0);
    let step = |step: Step| {
        assert_eq!(step.total, component().len() as u64);
        furthest.store(step.received as usize, Ordering::SeqCst);
    };
    let pulled = client().pull(&reference(&by_tag), &step).await.unwrap();
    assert_eq!(pulled.bytes, component());
    assert_eq!(pulled.manifest_digest, digest);
    assert_eq!(pulled.layer_digest, Digest::of(&component()));
    assert_eq!(pulled.interface.unwrap().exports, ["pintle:plugin/scheduler@0.1.0"]);
    assert_eq!(pulled.annotations["org.opencontainers.image.title"], "scorer");
    assert_eq!(furthest.into_inner(), component().len());
    assert!(pulled.signatures.is_empty());

    let by_digest = reference(&by_tag).pinned(digest).to_string();
    assert_eq!(pull(&by_digest).await.unwrap().bytes, component());
    // Again, when all of it is there.
    client().push(&reference(&by_tag), &package()).await.unwrap();

    let missing = pull(&server.reference("team/scorer:2.0")).await.unwrap_err();
    assert!(chain(&missing).contains("has no 127.0.0.1"), "{}", chain(&missing));
    let wrong = reference(&by_tag).pinned(Digest::of(b"other"));
    assert!(client().push(&wrong, &package()).await.unwrap_err().is_digest_mismatch());
}

#[tokio::test]
async fn signatures_lie_beside_the_artifact() {
    require_registry!();
    let server = Server::start(Login::None);
    let name = server.reference("scorer:1");
    let digest = client().push(&reference(&name), &package()).await.unwrap();
    let (first, _) = SigningKey::generate().unwrap();
    let (second, _) = SigningKey::generate().unwrap();
    for key in [&first, &second] {
        let made = key.sign_manifest(&reference(&name).name(), &digest).unwrap();
        client().push_signature(&reference(&name), &digest, &made).await.unwrap();
    }
    let pulled = pull(&name).await.unwrap();
    assert_eq!(pulled.signatures.len(), 2);
    let subject = Subject { component: &pulled.bytes, manifest: Some(&pulled.manifest_digest) };
    for key in [&first, &second] {
        verify(&[key.public_pem()], subject, &pulled.signatures).unwrap();
    }
    let (stranger, _) = SigningKey::generate().unwrap();
    assert!(verify(&[stranger.public_pem()], subject, &pulled.signatures).is_err());
}

#[tokio::test]
async fn logins_are_asked_for_and_given() {
    require_registry!();
    let server = Server::start(Login::Basic);
    let name = reference(&server.reference("scorer:1"));
    let with = |password: &str| {
        let config = serde_json::json!({"auths": {
            name.registry.clone(): {"username": USER.0, "password": password},
        }});
        let credentials =
            Credentials::from_docker_config(config.to_string().as_bytes(), "a test").unwrap();
        Registry::new(Options { credentials, ..options() }).unwrap()
    };
    with(USER.1).push(&name, &package()).await.unwrap();
    assert_eq!(with(USER.1).pull(&name, &|_| {}).await.unwrap().bytes, component());
    for refused in [client(), with("wrong")] {
        let error = chain(&refused.pull(&name, &|_| {}).await.unwrap_err());
        assert!(error.contains("401") && error.contains("pull secret"), "{error}");
    }
}

#[tokio::test]
async fn tokens_are_fetched_where_the_registry_says() {
    require_registry!();
    let server = Server::start(Login::None);
    let name = server.reference("scorer:1");
    client().push(&reference(&name), &package()).await.unwrap();
    let tokens = Arc::new(AtomicUsize::new(0));
    let own = Arc::new(std::sync::OnceLock::<String>::new());
    let (counted, place) = (tokens.clone(), own.clone());
    let proxy = Proxy::start(server.address, move |head| {
        let head = head.to_ascii_lowercase();
        if head.starts_with("get /token?") {
            let right = head.contains("service=here&scope=repository%3ascorer%3apull ")
                && head.contains("authorization: basic dtpw\r\n");
            counted.fetch_add(1, Ordering::SeqCst);
            let body = if right { r#"{"token":"good"}"# } else { "{}" };
            return Fate::Answer(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}"));
        }
        if head.contains("authorization: bearer good\r\n") {
            return Fate::Forward;
        }
        let realm = format!("http://{}/token", place.get().unwrap());
        Fate::Answer(format!(
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm=\"{realm}\",service=\"here\"\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        ))
    });
    own.set(proxy.address.to_string()).unwrap();
    let config = format!(r#"{{"auths": {{"{}": {{"auth": "dTpw"}}}}}}"#, proxy.address);
    let credentials = Credentials::from_docker_config(config.as_bytes(), "a test").unwrap();
    let registry = Registry::new(Options { credentials, ..options() }).unwrap();
    let through = reference(&format!("{}/scorer:1", proxy.address));
    assert_eq!(registry.pull(&through, &|_| {}).await.unwrap().bytes, component());
    assert_eq!(tokens.load(Ordering::SeqCst), 1, "one token serves all requests");
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    require_registry!();
    let server = Server::start(Login::None);
    let name = server.reference("scorer:1");
    client().push(&reference(&name), &package()).await.unwrap();
    let layer = format!("/blobs/{}", Digest::of(&component()));
    let times = Arc::new(AtomicUsize::new(0));
    let (count, path) = (times.clone(), layer.clone());
    let proxy = Proxy::start(server.address, move |head| {
        if !head.contains(&path) {
            return Fate::Forward;
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Fate::Cut(100_000),
            1 if head.contains("range: bytes=") => Fate::Stall(100_000),
            _ if head.contains("range: bytes=") => Fate::Forward,
            _ => Fate::Cut(0),
        }
    });
    let pulled = pull(&format!("{}/scorer:1", proxy.address)).await.unwrap();
    assert_eq!(pulled.bytes, component());
    assert_eq!(times.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_registry_that_goes_away_is_an_error_that_says_so() {
    require_registry!();
    let server = Server::start(Login::None);
    let name = server.reference("scorer:1");
    client().push(&reference(&name), &package()).await.unwrap();
    let layer = format!("/blobs/{}", Digest::of(&component()));
    let proxy = Proxy::start(server.address, move |head| {
        // After the first piece it never answers again.
        match head.contains(&layer) {
            true if head.contains("range: ") => Fate::Cut(0),
            true => Fate::Cut(100_000),
            false => Fate::Forward,
        }
    });
    let error = pull(&format!("{}/scorer:1", proxy.address)).await.unwrap_err();
    let said = chain(&error);
    assert!(said.contains("vanished after 9") && said.contains("of 300008 bytes"), "{said}");
    assert!(!error.is_about_content());

    // One that stays and sends nothing is left after a while.
    let silent = Proxy::start(server.address, |_| Fate::Stall(10));
    let limits = Limits { pull: Duration::from_millis(300), ..options().limits };
    let hasty = Registry::new(Options { limits, ..options() }).unwrap();
    let through = reference(&format!("{}/scorer:1", silent.address));
    let error = hasty.pull(&through, &|_| {}).await.unwrap_err();
    assert!(chain(&error).contains("does not answer within 0.3 s"), "{}", chain(&error));

    drop(server);
    let error = pull(&name).await.unwrap_err();
    assert!(chain(&error).contains("cannot be reached: Connection refused"), "{}", chain(&error));
}

#[tokio::test]
async fn tampered_and_truncated_layers_are_found_out() {
    require_registry!();
    let server = Server::start(Login::None);
    let name = server.reference("scorer:1");
    client().push(&reference(&name), &package()).await.unwrap();
    let layer = server.blob_file(Digest::of(&component()).as_str());

    let mut tampered = component().to_vec();
    tampered[1000] ^= 1;
    fs::write(&layer, &tampered).unwrap();
    let error = pull(&name).await.unwrap_err();
    assert!(error.is_digest_mismatch() && error.is_about_content(), "{}", chain(&error));

    fs::write(&layer, &component()[..1000]).unwrap();
    let error = pull(&name).await.unwrap_err();
    assert!(error.is_digest_mismatch(), "{}", chain(&error));

    let mut longer = component().to_vec();
    longer.extend([0; 100]);
    fs::write(&layer, &longer).unwrap();
    let error = pull(&name).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{}", chain(&error));

    let manifest = server.blob_file(package().digest().as_str());
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("scorer", "scored")).unwrap();
    let by_digest = reference(&name).pinned(package().digest());
    // The registry itself may notice; nothing wrong may come through.
    client().pull(&by_digest, &|_| {}).await.unwrap_err();
}
