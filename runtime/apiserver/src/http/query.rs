//! Query parameters.

use std::borrow::Cow;

use super::path::percent_decode;

/// A parsed query string, in order, names may repeat (`command=a&command=b`).
#[derive(Debug, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A parameter that does not parse; `Display` is the text clients get.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueryError {
    #[error("invalid query parameter {name:?}: {value:?} is not {expected}")]
    Invalid { name: String, value: String, expected: &'static str },
    #[error("the query string is not valid percent-encoded UTF-8: {0:?}")]
    Encoding(String),
    #[error("the query string has more than {MAX_PARAMETERS} parameters")]
    TooMany,
}

/// Far above what any client sends; `exec` commands are the longest.
const MAX_PARAMETERS: usize = 1024;

impl<'a> Query<'a> {
    pub fn parse(query: Option<&'a str>) -> Result<Query<'a>, QueryError> {
        let Some(query) = query.filter(|query| !query.is_empty()) else {
            return Ok(Query::default());
        };
        let mut pairs = Vec::with_capacity(4);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(QueryError::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &'a str| {
                percent_decode(text, true).ok_or_else(|| QueryError::Encoding(text.to_string()))
            };
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Query(pairs))
    }

    /// All parameters, decoded.
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of a parameter; empty values count as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        (!value.is_empty()).then_some(value)
    }

    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// `true`, `1` and their opposites; a bare `?watch` is true.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, QueryError> {
        match self.all(name).next() {
            None => Ok(None),
            Some("" | "1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(Some(false)),
            Some(other) => Err(QueryError::Invalid {
                name: name.to_string(),
                value: other.to_string(),
                expected: "a boolean",
            }),
        }
    }

    pub fn is_set(&self, name: &str) -> Result<bool, QueryError> {
        Ok(self.flag(name)?.unwrap_or(false))
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, QueryError> {
        self.get(name)
            .map(|value| {
                value.parse().map_err(|_| QueryError::Invalid {
                    name: name.to_string(),
                    value: value.to_string(),
                    expected: "an integer",
                })
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        let query =
            Query::parse(Some("a=1&command=ls&command=-l+%2Ftmp&watch&limit=5&empty=")).unwrap();
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["ls", "-l /tmp"]);
        assert_eq!(query.flag("watch"), Ok(Some(true)));
        assert_eq!(query.integer("limit"), Ok(Some(5)));
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.flag("absent"), Ok(None));
    }

    #[test]
    fn bad_parameters_are_named() {
        let query = Query::parse(Some("watch=maybe&limit=ten")).unwrap();
        let text = query.flag("watch").unwrap_err().to_string();
        assert_eq!(text, r#"invalid query parameter "watch": "maybe" is not a boolean"#);
        let text = query.integer("limit").unwrap_err().to_string();
        assert_eq!(text, r#"invalid query parameter "limit": "ten" is not an integer"#);
        assert!(Query::parse(Some("a=%f")).is_err());
        let long = "a&".repeat(MAX_PARAMETERS + 1);
        assert_eq!(Query::parse(Some(&long)).unwrap_err(), QueryError::TooMany);
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_decoded(name in "[a-z]{1,8}", value in "\\PC*") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let text = format!("{name}={encoded}");
            let query = Query::parse(Some(&text)).unwrap();
            proptest::prop_assert_eq!(query.all(&name).next(), Some(value.as_str()));
        }

        #[test]
        fn no_query_makes_the_server_panic(text in "\\PC*") {
            let _ = Query::parse(Some(&text));
        }
    }
}
