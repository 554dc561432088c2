//! The role of admission: sees a request after authorization, may change or
//! refuse it.

use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::lister::Lister;
use crate::manifest::Manifest;
use crate::object::{KindRef, ObjectRef};

pub trait Admission: Sized {
    /// `spec.config` of the Plugin object; use `#[serde(deny_unknown_fields, default)]`.
    type Config: DeserializeOwned;

    fn new(config: Self::Config) -> Result<Self, String>;

    fn describe(&self) -> Description;

    fn review(&self, context: &Context, lister: &dyn Lister, request: &Request) -> Response;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations {
    pub create: bool,
    pub update: bool,
    pub delete: bool,
    pub connect: bool,
}

impl Operations {
    pub const CREATE: Operations =
        Operations { create: true, update: false, delete: false, connect: false };
    pub const UPDATE: Operations =
        Operations { create: false, update: true, delete: false, connect: false };
    pub const DELETE: Operations =
        Operations { create: false, update: false, delete: true, connect: false };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Mutating,
    Validating,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// None: every kind.
    pub kind: Option<KindRef>,
    /// Empty: the object itself; `*`: it and all its subresources.
    pub subresource: String,
    pub operations: Operations,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub manifest: Manifest,
    pub mutating: Vec<Rule>,
    pub validating: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub reference: ObjectRef,
    pub subresource: String,
    pub operation: Operations,
    pub phase: Phase,
    pub dry_run: bool,
    pub user: User,
    /// The object as it would be stored; empty on delete.
    pub json: Vec<u8>,
    /// The object as it is stored; empty on create.
    pub old_json: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// A JSON patch (RFC 6902); only in the mutating phase.
    Patch(Vec<u8>),
    /// HTTP code (403 when 0), status reason (`Forbidden` when empty), message.
    Deny {
        code: u16,
        reason: String,
        message: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub verdict: Verdict,
    /// Shown to the person by kubectl.
    pub warnings: Vec<String>,
}

impl Response {
    pub fn allow() -> Self {
        Response { verdict: Verdict::Allow, warnings: Vec::new() }
    }

    pub fn patch(operations: Vec<u8>) -> Self {
        Response { verdict: Verdict::Patch(operations), warnings: Vec::new() }
    }

    pub fn deny(message: impl Into<String>) -> Self {
        let verdict =
            Verdict::Deny { code: 403, reason: "Forbidden".to_owned(), message: message.into() };
        Response { verdict, warnings: Vec::new() }
    }
}
