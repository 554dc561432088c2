//! Admission plugins: asked within the request, under a short deadline.

mod chain;
mod gate;
mod parked;
mod request;
mod unit;

pub use chain::AdmissionChain;
pub use request::{AdmissionRequest, AdmissionUser, Admitted, Document, Operation, Refusal};
pub(crate) use unit::{AdmissionUnit, ask, sound};
