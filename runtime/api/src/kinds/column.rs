//! Columns of `kubectl get`, as a row of the table declares them. What stands
//! in a cell is the row's own business.

/// A column of `kubectl get`. Priority 0 is always shown, 1 with `-o wide`.
/// Types are those Kubernetes declares, which says `string` for some counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub type_: &'static str,
    pub format: &'static str,
    pub description: &'static str,
    pub priority: i32,
}

impl Column {
    pub(super) const fn new(name: &'static str, type_: &'static str) -> Self {
        Self { name, type_, format: "", description: "", priority: 0 }
    }

    pub(super) const fn string(name: &'static str) -> Self {
        Self::new(name, "string")
    }

    pub(super) const fn integer(name: &'static str) -> Self {
        Self::new(name, "integer")
    }

    pub(super) const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    pub(super) const fn help(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    pub(super) const NAME: Self = Self {
        name: "Name",
        type_: "string",
        format: "name",
        description: "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically.",
        priority: 0,
    };
    pub(super) const AGE: Self = Self {
        name: "Age",
        type_: "string",
        format: "",
        description: "CreationTimestamp is a timestamp representing the server time when this object was created, in RFC 3339 form and UTC.",
        priority: 0,
    };

    /// Of workloads: what their template holds.
    pub(super) const CONTAINERS: Self =
        Self::string("Containers").help("Names of each container in the template.");
    pub(super) const IMAGES: Self =
        Self::string("Images").help("Images referenced by each container in the template.");
    pub(super) const POD_SELECTOR: Self =
        Self::string("Selector").wide().help("Label selector for pods.");
}
