//! Removes certificate requests that nobody needs any more: whoever asked has
//! fetched the certificate, read the refusal, or gone away.
//!
//! | Request | Goes |
//! |---|---|
//! | approved, with a certificate | an hour after the approval, or when the certificate ends |
//! | denied | an hour after that |
//! | failed | an hour after that |
//! | nobody has decided | a day after it was made |
//!
//! Watches CertificateSigningRequests, and wakes up for each when its time has
//! come.
//!
//! No configuration.
//!
//! Does not know: who approves or signs. Read first: [`ends::when`].

pub mod ends;

use pintle_sdk::prelude::*;

pub struct Plugin;

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("certificate-cleaner", env!("CARGO_PKG_VERSION")).needs(
            CERTIFICATE_SIGNING_REQUEST,
            &["get", "list", "watch", "delete"],
            "removes requests that are done or forgotten",
        ))
        .watch(
            Watch::of(CERTIFICATE_SIGNING_REQUEST)
                .on(Change::ADDED.or(Change::MODIFIED))
                .when_changed(&["status"]),
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
        let mut outcome = Outcome::done();
        if csr.metadata.is_being_deleted() {
            return Ok(outcome);
        }
        let Some(end) = ends::when(&csr) else { return Ok(outcome) };
        let left = end.saturating_sub(context.now_unix_ms);
        match u64::try_from(left) {
            Ok(left) if left > 0 => outcome.requeue_after(left),
            // It might just have been approved.
            _ => outcome.push(Delete::this(&csr).at(csr.revision)),
        }
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
