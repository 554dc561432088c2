//! Nobody gives away rights that they do not have: a Role or ClusterRole may
//! only be written by somebody who has all of its rules, or the verb `escalate`
//! on it; a binding only by somebody who has all rules of its role, or the verb
//! `bind` on that.
//!
//! Validating, on the creation and update of roles and bindings. Reads roles and
//! bindings. Administrators (`system:masters`) and plugins, whose grants were
//! checked by the host, are not looked at.
//!
//! No configuration.
//!
//! Does not know: authorizers other than roles. Read first: [`check`].

pub mod check;

use pintle_sdk::Context;
use pintle_sdk::admission::{Admission, Description, Operations, Phase, Request, Response, Rule};
use pintle_sdk::prelude::{
    CLUSTER_ROLE, CLUSTER_ROLE_BINDING, Lister, Manifest, NoConfig, Query, ROLE, ROLE_BINDING,
};
use pintle_sdk::rbac::View;
use pintle_sdk::scheduler::Delta;

pub struct Plugin;

impl Admission for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let why = "what a person has follows from roles and bindings";
        let read = &["get", "list"];
        let manifest = Manifest::new("rbac-escalation", env!("CARGO_PKG_VERSION"))
            .needs(ROLE, read, why)
            .needs(ROLE_BINDING, read, why)
            .needs(CLUSTER_ROLE, read, why)
            .needs(CLUSTER_ROLE_BINDING, read, why);
        let writes = Operations::CREATE.or(Operations::UPDATE);
        [ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING]
            .into_iter()
            .fold(Description::new(manifest), |description, kind| {
                description.validating(Rule::on(kind, writes))
            })
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        if request.phase != Phase::Validating || !request.subresource.is_empty() {
            return Response::allow();
        }
        if check::is_trusted(&request.user) {
            return Response::allow();
        }
        let view = || view(lister, &request.reference.namespace);
        let refused = match &*request.reference.kind.kind {
            "Role" | "ClusterRole" => check::role(request, view),
            _ => check::binding(request, view),
        };
        match refused {
            Ok(()) => Response::allow(),
            Err(why) => Response::forbid(why),
        }
    }
}

/// What holds in the whole cluster and in this namespace.
fn view(lister: &dyn Lister, namespace: &str) -> View {
    let mut queries = vec![Query::of(CLUSTER_ROLE), Query::of(CLUSTER_ROLE_BINDING)];
    if !namespace.is_empty() {
        queries.push(Query::of(ROLE).namespace(namespace));
        queries.push(Query::of(ROLE_BINDING).namespace(namespace));
    }
    let mut view = View::default();
    for query in queries {
        lister.list(&query).into_iter().for_each(|object| view.take(Delta::Upsert(object)));
    }
    view
}

pintle_sdk::export_admission!(Plugin);
