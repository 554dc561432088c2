//! Who may approve and sign certificate requests, and which requests nobody may
//! make (Kubernetes' `CertificateApproval`, `CertificateSigning` and
//! `CertificateSubjectRestriction`).
//!
//! Validating. Through `approval` only somebody may go who has the verb
//! `approve` on the signer; a certificate may be written into the status only by
//! somebody who has `sign` on it. Both are rights on the made-up resource
//! `signers` of `certificates.k8s.io`, by the signer's name or `DOMAIN/*`. A
//! request to `kubernetes.io/kube-apiserver-client` may not name the group
//! `system:masters`, nor one of the server's own (`system:pintle:plugins`).
//!
//! Reads ClusterRoles and their bindings. Administrators (`system:masters`) and
//! plugins, whose grants were checked by the host, may approve and sign.
//!
//! No configuration.
//!
//! Does not know: authorizers other than roles. Read first: [`check`].

pub mod check;

use pintle_sdk::Context;
use pintle_sdk::admission::{Admission, Description, Operations, Phase, Request, Response, Rule};
use pintle_sdk::prelude::{
    CERTIFICATE_SIGNING_REQUEST, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, Lister, Manifest, NoConfig,
    Query,
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
        let why = "who may approve and sign follows from roles and bindings";
        let manifest = Manifest::new("certificate-restriction", env!("CARGO_PKG_VERSION"))
            .needs(CLUSTER_ROLE, &["get", "list"], why)
            .needs(CLUSTER_ROLE_BINDING, &["get", "list"], why);
        let on = |operation| Rule::on(CERTIFICATE_SIGNING_REQUEST, operation);
        Description::new(manifest)
            .validating(on(Operations::CREATE))
            .validating(on(Operations::UPDATE).subresource("approval"))
            .validating(on(Operations::UPDATE).subresource("status"))
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        if request.phase != Phase::Validating {
            return Response::allow();
        }
        let view = || view(lister);
        let verdict = match &*request.subresource {
            "" => check::subject(request),
            "approval" => check::approval(request, view),
            "status" => check::signature(request, view),
            _ => Ok(()),
        };
        match verdict {
            Ok(()) => Response::allow(),
            Err(why) => Response::forbid(why),
        }
    }
}

/// What holds in the whole cluster.
fn view(lister: &dyn Lister) -> View {
    let mut view = View::default();
    for kind in [CLUSTER_ROLE, CLUSTER_ROLE_BINDING] {
        let objects = lister.list_fields(&Query::of(kind), &["rules", "subjects", "roleRef"]);
        objects.into_iter().for_each(|object| view.take(Delta::Upsert(object)));
    }
    view
}

pintle_sdk::export_admission!(Plugin);
