//! Admission plugins: asked within the request, under a short deadline.

mod chain;
mod gate;
mod member;
mod parked;
mod request;
mod rules;
mod unit;

pub use chain::AdmissionChain;
pub(crate) use member::Absent;
pub use request::{AdmissionRequest, AdmissionUser, Admitted, Document, Operation, Refusal};
pub(crate) use rules::reviews;
pub(crate) use unit::{AdmissionUnit, Terms, ask, sound};
