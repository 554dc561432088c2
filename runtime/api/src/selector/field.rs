//! Field selectors: `path=value` and `path!=value`, joined by commas.

use std::fmt;

use super::SelectorError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldOperator {
    Equals,
    NotEquals,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    pub path: String,
    pub operator: FieldOperator,
    pub value: String,
}

/// `metadata.name=x,spec.nodeName!=y`. Which paths exist is the kind's matter:
/// see `Resource::check_field_selector`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let Some((path, operator, value)) = split_term(part) else {
                return Err(SelectorError::Field {
                    selector: text.to_owned(),
                    part: part.to_owned(),
                });
            };
            requirements.push(FieldRequirement {
                path: path.to_owned(),
                operator,
                value: unescape(value)?,
            });
        }
        Ok(Self { requirements })
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// An absent field compares as the empty string.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let equal = field(&requirement.path).unwrap_or_default() == requirement.value;
            equal == (requirement.operator == FieldOperator::Equals)
        })
    }

    /// Every path that has to equal a value, with the value.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements
            .iter()
            .filter(|requirement| requirement.operator == FieldOperator::Equals)
            .map(|requirement| (requirement.path.as_str(), requirement.value.as_str()))
    }

    /// The value that `path` must equal, if the selector fixes it: the way to an index.
    pub fn required(&self, path: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|requirement| {
                requirement.path == path && requirement.operator == FieldOperator::Equals
            })
            .map(|requirement| requirement.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let operator = if requirement.operator == FieldOperator::Equals { "=" } else { "!=" };
            write!(f, "{}{operator}", requirement.path)?;
            for c in requirement.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            parts.push(&text[start..index]);
            start = index + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(part: &str) -> Option<(&str, FieldOperator, &str)> {
    for (index, _) in part.char_indices() {
        let rest = &part[index..];
        for (text, operator) in [
            ("!=", FieldOperator::NotEquals),
            ("==", FieldOperator::Equals),
            ("=", FieldOperator::Equals),
        ] {
            if let Some(value) = rest.strip_prefix(text) {
                return Some((&part[..index], operator, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => {
                    return Err(SelectorError::Escape(format!(
                        "invalid escape sequence: \\{other}"
                    )));
                }
                None => {
                    return Err(SelectorError::Escape("invalid escape sequence: \\".to_owned()));
                }
            },
            '=' => return Err(SelectorError::Escape(format!("unescaped '=' in value {value:?}"))),
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn field_selectors() {
        let selector = FieldSelector::parse(r"metadata.name=x,spec.nodeName!=y,a==b\,c\=").unwrap();
        assert_eq!(selector.requirements.len(), 3);
        assert_eq!(selector.requirements[2].value, "b,c=");
        assert_eq!(selector.required("metadata.name"), Some("x"));
        assert_eq!(selector.required("spec.nodeName"), None);
        let fields = |path: &str| match path {
            "metadata.name" => Some("x"),
            "a" => Some("b,c="),
            _ => None,
        };
        assert!(selector.matches(fields));
        assert!(FieldSelector::parse("").unwrap().is_everything());
        assert!(FieldSelector::parse("spec.nodeName=").unwrap().matches(|_| None));
        assert_eq!(
            FieldSelector::parse("nonsense").unwrap_err().to_string(),
            "invalid selector: 'nonsense'; can't understand 'nonsense'"
        );
        assert!(FieldSelector::parse(r"a=\x").is_err());
    }

    proptest! {
        #[test]
        fn values_round_trip(value in "[a-z,=\\\\]{0,12}") {
            let selector = FieldSelector {
                requirements: vec![FieldRequirement { path: "a.b".into(), operator: FieldOperator::NotEquals, value }],
            };
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
        }

        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = FieldSelector::parse(&text);
        }
    }
}
