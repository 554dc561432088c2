//! The sentences about messages and fields.

use std::collections::HashMap;

use crate::schema::DESCRIPTIONS;

/// Looked up while one document is made, then dropped.
pub struct Descriptions(HashMap<&'static str, &'static str>);

impl Descriptions {
    pub fn read() -> Self {
        Self(DESCRIPTIONS.lines().filter_map(|line| line.split_once("  ")).collect())
    }

    /// `core.v1.Pod`
    pub fn message(&self, name: &str) -> Option<String> {
        if let Some(text) = self.0.get(name) {
            return Some((*text).to_owned());
        }
        let element = name.strip_suffix("List")?;
        let element = element.rsplit('.').next().filter(|kind| !kind.is_empty())?;
        Some(format!("A list of {element} objects."))
    }

    /// A field of a message, or what fields of that name are everywhere.
    pub fn field(&self, message: &str, field: &str) -> Option<&'static str> {
        let exact = self.0.get(format!("{message}.{field}").as_str());
        exact.or_else(|| self.0.get(format!("*.{field}").as_str())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    /// A description of something that does not exist is a typing error.
    #[test]
    fn every_description_has_its_message_or_field() {
        let schema = Schema::get();
        let mut seen = std::collections::HashSet::new();
        for line in DESCRIPTIONS.lines() {
            let (name, text) =
                line.split_once("  ").unwrap_or_else(|| panic!("two spaces in {line:?}"));
            assert!(seen.insert(name), "{name} is described twice");
            assert!(
                text.ends_with('.') && !text.starts_with(' '),
                "a sentence ends with a full stop: {line:?}"
            );
            if name.starts_with("*.") || schema.message(name).is_some() {
                continue;
            }
            let (message, field) = name.rsplit_once('.').unwrap();
            let id = schema.message(message).unwrap_or_else(|| panic!("no message {message}"));
            assert!(schema.field(id, field).is_some(), "no field {name}");
        }
    }

    /// `kubectl explain` of a kind shows something at its first two levels.
    #[test]
    fn every_served_kind_is_described() {
        let descriptions = Descriptions::read();
        let schema = Schema::get();
        for row in crate::kinds::Registry::builtin().iter() {
            let id =
                schema.message(row.schema).unwrap_or_else(|| panic!("no message {}", row.schema));
            assert!(descriptions.message(row.schema).is_some(), "{}", row.schema);
            for field in schema.json_fields(id) {
                assert!(
                    descriptions.field(row.schema, field.name).is_some(),
                    "{}.{}",
                    row.schema,
                    field.name
                );
            }
        }
    }
}
