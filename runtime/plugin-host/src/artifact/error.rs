//! Why bytes do not become a component that could run.

use std::path::PathBuf;

use super::{Digest, MAX_COMPONENT_BYTES};
use crate::plugin::Role;

/// Why bytes are not a component of the wanted role.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("the component is empty")]
    Empty,
    #[error("the component has {size} bytes, more than the {MAX_COMPONENT_BYTES} allowed")]
    TooLarge { size: usize },
    #[error("the digest is {actual}, but the Plugin object names {expected}")]
    DigestMismatch { expected: String, actual: Digest },
    #[error("{expected:?} is not a digest; write sha256: and 64 hexadecimal digits")]
    DigestSyntax { expected: String },
    #[error("not WebAssembly: the file starts with `{start}`, not with `\\0asm`")]
    NotWasm { start: String },
    #[error("a core module, not a component; link it with wasm-component-ld")]
    CoreModule,
    #[error("WebAssembly of an unknown kind (version bytes {version})")]
    UnknownLayer { version: String },
    #[error("the component does not compile")]
    Compile(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("compiling the component took longer than {seconds} s")]
    CompileTimeout { seconds: u64 },
    #[error("cannot run the compiler {program}")]
    Compiler {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot keep the compiled component in {directory}")]
    Cache {
        directory: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the component imports {import}, which role {role} does not offer")]
    UngrantedImport { import: String, role: Role },
    #[error("the component exports {found}, but role {role} needs {needed}")]
    WrongRole { role: Role, needed: String, found: String },
}

impl ArtifactError {
    /// One word for status.reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DigestMismatch { .. } | Self::DigestSyntax { .. } => "DigestMismatch",
            Self::Empty | Self::TooLarge { .. } => "BadSize",
            Self::NotWasm { .. } | Self::CoreModule | Self::UnknownLayer { .. } => "NotAComponent",
            Self::Compile(_) => "CompileError",
            Self::CompileTimeout { .. } => "CompileTimeout",
            Self::Compiler { .. } => "CompilerUnavailable",
            Self::Cache { .. } => "CacheUnwritable",
            Self::UngrantedImport { .. } => "UngrantedImport",
            Self::WrongRole { .. } => "WrongRole",
        }
    }
}
