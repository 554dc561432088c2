//! A registry, by the OCI distribution specification: pull and push of
//! components, and of the signatures beside them.

mod auth;
mod error;
mod pull;
mod push;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Uri};

pub use error::RegistryError;
pub use pull::{PulledComponent, Step};
pub use transport::SystemRootsError;

use crate::credentials::Credentials;
use crate::reference::Reference;
use auth::{Auth, Scope};
use transport::{Answer, Request, Transport};

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect: Duration,
    /// For the first byte of an answer, and for each next one.
    pub idle: Duration,
    /// For a whole component with all that belongs to it.
    pub pull: Duration,
    /// For one blob on its way up.
    pub upload: Duration,
    /// How often a transfer that was cut is taken up where it stopped.
    pub resumptions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            pull: Duration::from_secs(1800),
            upload: Duration::from_secs(600),
            resumptions: 3,
        }
    }
}

#[derive(Clone, Default)]
pub struct Options {
    pub credentials: Credentials,
    /// Plain HTTP.
    pub insecure: bool,
    pub limits: Limits,
}

/// A client. Cheap to make but for the system's root certificates, which are
/// read unless `insecure`.
pub struct Registry {
    transport: Transport,
    auth: Auth,
    insecure: bool,
    limits: Limits,
}

impl Registry {
    pub fn new(options: Options) -> Result<Self, SystemRootsError> {
        let transport = Transport::new(options.insecure, options.limits)?;
        Ok(Self {
            transport,
            auth: Auth::new(options.credentials),
            insecure: options.insecure,
            limits: options.limits,
        })
    }

    fn uri(&self, reference: &Reference, rest: &str) -> Result<Uri, RegistryError> {
        let scheme = if self.insecure { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{rest}", reference.host(), reference.repository)
            .parse()
            .map_err(|source| RegistryError::Address {
                registry: reference.registry.clone(),
                source,
            })
    }

    /// One request, with whatever login the registry turns out to want.
    async fn ask(&self, scope: &Scope<'_>, mut request: Request) -> Result<Answer, RegistryError> {
        // An upload may be sent elsewhere, where a login is nobody's business.
        let own = request.uri.authority().is_some_and(|at| at.as_str() == scope.reference.host());
        request.authorization = if own { self.auth.known(scope) } else { None };
        let answer = self.transport.send(&request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(answer);
        }
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        match self.auth.answer(&self.transport, scope, &challenge).await? {
            // The same again would be refused again.
            None => Ok(answer),
            Some(authorization) => {
                request.authorization = Some(authorization);
                self.transport.send(&request).await
            }
        }
    }

    fn request(&self, method: Method, uri: Uri) -> Request {
        Request { method, uri, headers: Vec::new(), body: Bytes::new(), authorization: None }
    }
}

/// Errors share their causes, which may be told of more than once.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;
