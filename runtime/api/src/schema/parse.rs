//! The reader of the data files: two passes, names first and fields second, so
//! that files may refer to each other in any order.

use super::{
    Extra, Field, FieldType, ListType, Message, MessageId, Package, PatchStrategy, Schema, Shape,
};

/// The schema, and a line for everything in the files that was not understood
/// (and left out). A test holds that the built-in files give none.
pub fn parse(files: &[&'static str]) -> (Schema, Vec<String>) {
    let mut parser = Parser::default();
    for text in files {
        parser.declare(text);
    }
    for text in files {
        parser.define(text);
    }
    parser.flatten();
    let Parser { mut schema, problems } = parser;
    schema.fields.shrink_to_fit();
    schema.messages.shrink_to_fit();
    schema.views.shrink_to_fit();
    (schema, problems)
}

#[derive(Default)]
struct Parser {
    schema: Schema,
    problems: Vec<String>,
}

impl Parser {
    fn problem(&mut self, line: &str, what: &str) {
        self.problems.push(format!("{what}: {line:?}"));
    }

    fn declare(&mut self, text: &'static str) {
        let mut package = Package { name: "", group: "", version: "", openapi: "", messages: 0..0 };
        let number = self.schema.packages.len() as u16;
        let first = self.schema.messages.len();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                _ if line.starts_with("  ") || line.is_empty() => {}
                (Some("package"), Some(name)) => package.name = name,
                (Some("openapi"), Some(prefix)) => package.openapi = prefix,
                (Some("group"), Some(group)) => {
                    package.group = if group == "-" { "" } else { group };
                    package.version = words.next().unwrap_or_default();
                }
                (Some("message"), Some(name)) => {
                    let mut message = Message {
                        name,
                        is_kind: false,
                        atomic: false,
                        package: number,
                        fields: 0..0,
                        view: 0..0,
                    };
                    for flag in words {
                        match flag {
                            "kind" => message.is_kind = true,
                            "struct=atomic" => message.atomic = true,
                            _ => self.problem(line, "unknown flag"),
                        }
                    }
                    self.schema.messages.push(message);
                }
                _ => self.problem(line, "not understood"),
            }
        }
        package.messages = first as u16..self.schema.messages.len() as u16;
        if !self.schema.messages[first..].is_sorted_by_key(|message| message.name) {
            self.problem(package.name, "messages are not sorted by name");
        }
        self.schema.packages.push(package);
    }

    fn define(&mut self, text: &'static str) {
        let mut package = "";
        let mut current: Option<MessageId> = None;
        let mut fields: Vec<Field> = Vec::new();
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("  ") {
                if let Some(field) = self.field(package, line) {
                    fields.push(field);
                }
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("package"), Some(name)) => package = name,
                (Some("message"), Some(name)) => {
                    self.close(current, &mut fields);
                    current = self.schema.message(&format!("{package}.{name}"));
                }
                _ => {}
            }
        }
        self.close(current, &mut fields);
    }

    fn close(&mut self, message: Option<MessageId>, fields: &mut Vec<Field>) {
        let Some(id) = message else { return };
        if self.schema[id].is_kind {
            for name in ["apiVersion", "kind"] {
                let (shape, ty) = (Shape::Single, FieldType::String);
                let field = Field {
                    name,
                    number: 0,
                    shape,
                    ty,
                    pointer: false,
                    required: false,
                    keeps_zero: false,
                    extra: None,
                };
                fields.insert(0, field);
            }
        }
        if !fields.is_sorted_by_key(|field| field.number) {
            let name = self.schema.full_name(id);
            self.problem(&name, "fields are not sorted by number");
        }
        let start = self.schema.fields.len() as u16;
        self.schema.fields.append(fields);
        self.schema.messages[usize::from(id.0)].fields = start..self.schema.fields.len() as u16;
    }

    /// `containers 2 []Container required zero key=name strategy=merge list=map:name`
    fn field(&mut self, package: &str, line: &'static str) -> Option<Field> {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(number), Some(type_text)) =
            (words.next(), words.next(), words.next())
        else {
            self.problem(line, "a field needs a name, a number and a type");
            return None;
        };
        let Ok(number) = number.parse() else {
            self.problem(line, "the number of a field");
            return None;
        };
        let (shape, pointer, type_name) = match type_text {
            text if text.starts_with("[]") => (Shape::Repeated, false, &text[2..]),
            text if text.starts_with("{}") => (Shape::Map, false, &text[2..]),
            text if text.starts_with('*') => (Shape::Single, true, &text[1..]),
            text => (Shape::Single, false, text),
        };
        let Some(ty) = self.field_type(package, type_name) else {
            self.problem(line, "unknown type");
            return None;
        };
        let mut field = Field {
            name: if name == "-" { "" } else { name },
            number,
            shape,
            ty,
            pointer,
            required: false,
            keeps_zero: false,
            extra: None,
        };
        let mut extra = None;
        for flag in words {
            if !self.flag(&mut field, &mut extra, flag) {
                self.problem(line, "unknown flag");
            }
        }
        field.extra = extra.map(Box::new);
        Some(field)
    }

    fn field_type(&self, package: &str, name: &str) -> Option<FieldType> {
        Some(match name {
            "string" => FieldType::String,
            "bool" => FieldType::Bool,
            "int32" => FieldType::Int32,
            "int64" => FieldType::Int64,
            "float64" => FieldType::Float64,
            "bytes" => FieldType::Bytes,
            "Time" => FieldType::Time,
            "MicroTime" => FieldType::MicroTime,
            "Duration" => FieldType::Duration,
            "Quantity" => FieldType::Quantity,
            "IntOrString" => FieldType::IntOrString,
            "RawExtension" => FieldType::RawExtension,
            "FieldsV1" => FieldType::FieldsV1,
            "StringList" => FieldType::StringList,
            "Any" => FieldType::Any,
            _ if name.contains('.') => FieldType::Message(self.schema.message(name)?),
            _ => FieldType::Message(self.schema.message(&format!("{package}.{name}"))?),
        })
    }

    fn flag(&self, field: &mut Field, extra: &mut Option<Extra>, flag: &'static str) -> bool {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match name {
            "required" => field.required = true,
            "zero" => field.keeps_zero = true,
            "inline" => return field.is_inline() && matches!(field.ty, FieldType::Message(_)),
            "key" => extra.get_or_insert_default().merge_key = Some(value),
            "as" => extra.get_or_insert_default().go_type = Some(value),
            "default" => extra.get_or_insert_default().default = Some(value),
            "map" | "struct" => extra.get_or_insert_default().atomic = value == "atomic",
            "strategy" => {
                let mut strategy = PatchStrategy::default();
                for word in value.split(',') {
                    match word {
                        "merge" => strategy.merge = true,
                        "retainKeys" => strategy.retain_keys = true,
                        "replace" => strategy.replace = true,
                        _ => return false,
                    }
                }
                extra.get_or_insert_default().strategy = strategy;
            }
            "list" => {
                let (kind, keys) = value.split_once(':').unwrap_or((value, ""));
                let extra = extra.get_or_insert_default();
                extra.list_keys = keys;
                extra.list_type = match kind {
                    "atomic" => Some(ListType::Atomic),
                    "set" => Some(ListType::Set),
                    "map" => Some(ListType::Map),
                    _ => return false,
                };
            }
            _ => return false,
        }
        true
    }

    /// Builds the JSON views, with the fields of inline messages in their parents.
    fn flatten(&mut self) {
        let mut views = Vec::new();
        for index in 0..self.schema.messages.len() {
            let start = views.len();
            self.collect(MessageId(index as u16), &mut views, 0);
            let fields = &self.schema.fields;
            views[start..].sort_by_key(|at: &u16| {
                let name = fields[usize::from(*at)].name;
                (name.len(), name.as_bytes())
            });
            self.schema.messages[index].view = start as u16..views.len() as u16;
        }
        self.schema.views = views;
    }

    fn collect(&self, id: MessageId, view: &mut Vec<u16>, depth: usize) {
        for index in self.schema[id].fields.clone() {
            let field = &self.schema.fields[usize::from(index)];
            match field.ty {
                FieldType::Message(inner) if field.is_inline() && depth < 4 => {
                    self.collect(inner, view, depth + 1)
                }
                _ => view.push(index),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &'static str, expect: &str) {
        assert_eq!(parse(&[text]).1.join("; "), expect);
    }

    #[test]
    fn complaints_name_the_line() {
        check(
            "package a.v1\ngroup a v1\nopenapi a\n\nmessage A\n  b 1 string\n  c 2 []A key=b\n",
            "",
        );
        check("message A\n  b 1 Nothing\n", "unknown type: \"b 1 Nothing\"");
        check("message A\n  b 1\n", "a field needs a name, a number and a type: \"b 1\"");
        check("message A\n  b x string\n", "the number of a field: \"b x string\"");
        check("message A\n  b 1 string loud\n", "unknown flag: \"b 1 string loud\"");
        check("message B\nmessage A\n", "messages are not sorted by name: \"\"");
        check("what\n", "not understood: \"what\"");
    }
}
