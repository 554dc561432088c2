//! The paths below an object.

/// A subresource of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subresource {
    Status,
    Scale,
    Binding,
    Log,
    Exec,
    Attach,
    PortForward,
    Eviction,
    Finalize,
    /// Who decides about a request writes conditions here.
    Approval,
    /// Answered by whoever knows the kind, not by the store.
    Connect(&'static Connect),
}

/// A subresource that is read as a stream.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Connect {
    /// The path segment.
    pub name: &'static str,
    pub content_type: &'static str,
    /// Name, type and meaning of each query parameter.
    pub parameters: &'static [(&'static str, &'static str, &'static str)],
}

impl Subresource {
    /// The path segment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Binding => "binding",
            Self::Log => "log",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
            Self::Eviction => "eviction",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::Connect(connect) => connect.name,
        }
    }

    /// Group, version and kind of the body where they differ from the object's own.
    pub fn body(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Self::Status | Self::Log | Self::Finalize | Self::Approval | Self::Connect(_) => None,
            Self::Scale => Some(("autoscaling", "v1", "Scale")),
            Self::Binding => Some(("", "v1", "Binding")),
            Self::Exec => Some(("", "v1", "PodExecOptions")),
            Self::Attach => Some(("", "v1", "PodAttachOptions")),
            Self::PortForward => Some(("", "v1", "PodPortForwardOptions")),
            Self::Eviction => Some(("policy", "v1", "Eviction")),
        }
    }

    pub fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Status | Self::Scale | Self::Approval => &["get", "patch", "update"],
            Self::Log | Self::Connect(_) => &["get"],
            Self::Exec | Self::Attach | Self::PortForward => &["create", "get"],
            Self::Binding | Self::Eviction => &["create"],
            Self::Finalize => &["update"],
        }
    }
}
