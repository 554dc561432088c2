//! Approves the certificate requests of nodes: a client certificate
//! (`kubernetes.io/kube-apiserver-client-kubelet`) for a node is approved when
//! whoever asks for it may
//!
//! - `create certificatesigningrequests/selfnodeclient`, and is that node already
//!   (a renewal), or
//! - `create certificatesigningrequests/nodeclient` (a node that joins),
//!
//! by a ClusterRole that is bound to them, or as a member of `system:masters`.
//! Everything else waits for a person.
//!
//! Watches CertificateSigningRequests, ClusterRoles and ClusterRoleBindings: a
//! request that waits is looked at again when roles change.
//!
//! No configuration.
//!
//! Does not know: authorizers other than roles, and how certificates are signed.
//! Read first: [`recognize::verdict`].

pub mod recognize;

use pintle_sdk::prelude::*;
use pintle_sdk::rbac::View;
use pintle_sdk::scheduler::Delta;
use serde_json::json;

pub struct Plugin;

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let read = &["get", "list", "watch"];
        let why = "who may have certificates of nodes follows from roles and bindings";
        let again = || Enqueue::AllOf(CERTIFICATE_SIGNING_REQUEST);
        Description::new(
            Manifest::new("certificate-approver", env!("CARGO_PKG_VERSION"))
                .needs(
                    CERTIFICATE_SIGNING_REQUEST,
                    &["get", "list", "watch", "patch/approval"],
                    "approves client certificates of nodes",
                )
                .needs(CLUSTER_ROLE, read, why)
                .needs(CLUSTER_ROLE_BINDING, read, why),
        )
        .watch(Watch::of(CERTIFICATE_SIGNING_REQUEST).on(Change::ADDED))
        .watch(Watch::of(CLUSTER_ROLE).when_changed(&["rules"]).enqueue(again()))
        .watch(
            Watch::of(CLUSTER_ROLE_BINDING).when_changed(&["subjects", "roleRef"]).enqueue(again()),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let Some(csr) = request.read::<CertificateSigningRequest>(lister)? else {
            return Ok(Outcome::done());
        };
        let Some(message) = recognize::verdict(&csr, || view(lister)) else {
            return Ok(Outcome::done());
        };
        let mut conditions = csr.status.conditions.clone();
        let mut approved = Condition::new("Approved", "True", "AutoApproved", message);
        approved.last_update_time = Some(context.now());
        conditions::set(&mut conditions, approved, &context.now());
        let body = json!({"metadata": {"uid": csr.uid}, "status": {"conditions": conditions}});
        // Somebody may be denying it at this moment.
        Ok(Outcome::of(Patch::merge(&csr, &body).subresource("approval").at(csr.revision)))
    }
}

/// What holds in the whole cluster.
fn view(lister: &dyn Lister) -> View {
    let mut view = View::default();
    for kind in [CLUSTER_ROLE, CLUSTER_ROLE_BINDING] {
        let fields = ["rules", "subjects", "roleRef"];
        let objects = lister.list_fields(&Query::of(kind), &fields);
        objects.into_iter().for_each(|object| view.take(Delta::Upsert(object)));
    }
    view
}

pintle_sdk::export_controller!(Plugin);
