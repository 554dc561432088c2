//! `ServiceAccount`: the identity pods run under.

use super::json::{age_cell, items, name_cell};
use super::{Column, Hooks, Resource};

pub(super) const ROW: Resource = Resource {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    columns: &[
        Column::NAME,
        Column::string("Secrets").help("Secrets is a list of the secrets in the same namespace that pods running using this ServiceAccount are allowed to use."),
        Column::AGE,
    ],
    schema: "core.v1.ServiceAccount",
    hooks: Hooks {
        cells: |object, now| {
            vec![name_cell(object), items(object, &["secrets"]).len().into(), age_cell(object, now)]
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};
