//! Admission plugins: asked within the request, under a short deadline.

pub mod request;

pub use request::{Admitted, AdmissionRequest, AdmissionUser, Document, Operation, Refusal};
